"""The options of `run`, each with its help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AlignerNames = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[,NAME]|all",
        help="The methods; see `list aligners`. Settings of one row: gem[weights=random].",
        show_default=False,
    ),
]
TaskName = Annotated[
    str | None, typer.Option(help="The task that scores the fitted model; see `list tasks`.", show_default=False)
]
ModelName = Annotated[
    str | None,
    typer.Option(
        help="The base model: a built-in name, an id on the hub, or a folder; see `models`.", show_default=False
    ),
]
ModelRevision = Annotated[
    str | None, typer.Option(help="Branch, tag or commit of a model on the hub.", show_default=False)
]
Data = Annotated[
    str | None,
    typer.Option(
        metavar="auto|hub|sample|PATH",
        help="Where the data come from: PATH is a folder, a file of your own pairs, or hub:OWNER/NAME. If it is not "
        "given: HARNESS_DATA, or auto.",
    ),
]
TrainOn = Annotated[
    str | None,
    typer.Option(
        metavar="POOL", help="Take the labels from this pool instead of the task's default pool; see `list pools`."
    ),
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="OURS=YOURS,...", help="Columns of your own pairs: prompt=question,chosen=better,..."),
]
SplitFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="A file with the ids or prompts of the rows of your own pairs that are held out."
    ),
]
Folds = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Make N fits, so that each of your own pairs is held out once; 1: a single fit, and a fifth held out.",
    ),
]
Control = Annotated[
    bool | None,
    typer.Option(
        "--control/--no-control",
        help="Also train each method on shuffled labels (a verdict on pairs needs it); the default for your own pairs.",
        show_default=False,
    ),
]
Budgets = Annotated[
    str | None, typer.Option(metavar="N[,N]|max", help="The number of labelled pairs; max: as many as there are.")
]
Track = Annotated[
    str | None,
    typer.Option(
        metavar="labels|labels+compute|parity",
        help="labels: compute is only recorded; labels+compute: it is capped; parity: the format of another tool.",
    ),
]
CapFlops = Annotated[
    float | None, typer.Option(metavar="X", help="FLOPs that a fit may take on the track labels+compute.")
]
Tune = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Search hyper-parameters with N trials, by cross-validation over the budget's labels."
    ),
]
Seeds = Annotated[
    list[str] | None, typer.Option(metavar="N[,N]", help="Training seeds; each makes a cell.", show_default=False)
]
DrawSeed = Annotated[
    int | None,
    typer.Option(metavar="N", help="Seed of the draw: which pairs are taken out of the pool.", show_default=False),
]
ShuffleLabels = Annotated[
    bool, typer.Option("--shuffle-labels", help="Control: swap the answers of half of the labelled pairs.")
]
Limit = Annotated[
    int | None, typer.Option(metavar="N", help="Evaluate only the first N items of the task.", show_default=False)
]
NumFewshot = Annotated[
    int | None,
    typer.Option(
        metavar="K", help="Show K of the cell's labelled pairs before each question of the task.", show_default=False
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        metavar="auto|cpu|cuda",
        help="The device that fits and evaluates; auto: a GPU if there is one.",
        show_default=False,
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        metavar="auto|fp32|bf16", help="Number format of the base weights and of matrix products.", show_default=False
    ),
]
FastPaths = Annotated[
    str | None,
    typer.Option(
        metavar="auto|on|off",
        help="The project's faster training step; off: the step of TRL and PEFT.",
        show_default=False,
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        metavar="auto|NAME",
        help="The engine that runs the model in the evaluation; see `list backends`. auto: the fastest by `doctor`.",
        show_default=False,
    ),
]
JudgeName = Annotated[
    str | None, typer.Option(metavar="NAME", help="The judge of a judged task; see `list judges`.", show_default=False)
]
Baseline = Annotated[
    str | None,
    typer.Option(
        metavar="reference|base|RUN",
        help="The answers with which the model's answers are compared: the task's, base's, or another run's.",
        show_default=False,
    ),
]
Folder = Annotated[Path | None, typer.Option(metavar="FOLDER", help="The folder of runs (default: runs).")]
ConfigFile = Annotated[
    Path | None, typer.Option(metavar="FILE.yaml", help="A file with settings; options override it.")
]
OutputFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--outputs",
        metavar="FILE",
        help="Outputs of another model (model_outputs.json), scored as a separate row. May be repeated.",
        show_default=False,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set anything else: aligner.lambda=0.4, budget.batch=8, lora.r=8, lengths.prompt=256",
    ),
]
Generate = Annotated[
    bool, typer.Option("--generate", help="Have answers to questions with options written, too, and check their end.")
]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Allow the Python code in the model's repository to run.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress, only the result.")]
Force = Annotated[
    bool,
    typer.Option(
        "--force", help="Compute the cells again; earlier results are moved to the folder .aside of the store."
    ),
]
NoTexts = Annotated[bool, typer.Option("--no-texts", help="Store hashes in place of the texts of data and answers.")]
IncludePath = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="A folder of your own lm-eval tasks in YAML, for --task lm_eval:NAME.",
        show_default=False,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Say what would run and what it would cost, and compute nothing; the same as `plan`."
    ),
]
Show = Annotated[
    int,
    typer.Option(metavar="N", min=0, help="Also write answers to the first N items, for you to read; see `samples`."),
]
