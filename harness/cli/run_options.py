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
TaskName = Annotated[str | None, typer.Option(help="What is scored; see `list tasks`.", show_default=False)]
ModelName = Annotated[
    str | None, typer.Option(help="Built-in name, hub id or folder; see `models`.", show_default=False)
]
ModelRevision = Annotated[str | None, typer.Option(help="Revision on the hub.", show_default=False)]
Data = Annotated[
    str | None,
    typer.Option(metavar="auto|hub|sample|PATH", help="Where data come from; else HARNESS_DATA, else auto."),
]
TrainOn = Annotated[
    str | None, typer.Option(metavar="POOL", help="Labels come from this pool instead of the task's own.")
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="OURS=YOURS,...", help="Columns of your own pairs: prompt=question,chosen=better,..."),
]
SplitFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Names the held-out rows of your own pairs.")]
Folds = Annotated[
    int | None,
    typer.Option(metavar="N", help="Hold out every one of your own pairs once, by N fits; 1: divide them once."),
]
Control = Annotated[
    bool | None,
    typer.Option(
        "--control/--no-control",
        help="Beside each method the same on shuffled labels, which a verdict on pairs needs; on for your own pairs.",
        show_default=False,
    ),
]
Budgets = Annotated[
    str | None, typer.Option(metavar="N[,N]|max", help="How many labelled pairs: any number, or all there are.")
]
Track = Annotated[str | None, typer.Option(metavar="labels|labels+compute|parity", help="How compute is treated.")]
CapFlops = Annotated[float | None, typer.Option(metavar="X", help="The cap of track labels+compute.")]
Tune = Annotated[int | None, typer.Option(metavar="N", help="Compare N trials of hyper-parameters, inside the budget.")]
Seeds = Annotated[
    list[str] | None, typer.Option(metavar="N[,N]", help="Training seed; one cell each.", show_default=False)
]
DrawSeed = Annotated[int | None, typer.Option(metavar="N", help="Which pairs are drawn.", show_default=False)]
ShuffleLabels = Annotated[
    bool, typer.Option("--shuffle-labels", help="Control: swap the answers of half of the labelled pairs.")
]
Limit = Annotated[int | None, typer.Option(metavar="N", help="Evaluate the first N items.", show_default=False)]
NumFewshot = Annotated[
    int | None, typer.Option(metavar="K", help="Own labelled pairs shown in the prompt.", show_default=False)
]
Device = Annotated[str | None, typer.Option(metavar="auto|cpu|cuda", show_default=False)]
Precision = Annotated[
    str | None,
    typer.Option(metavar="auto|fp32|bf16", help="Of base weights and products.", show_default=False),
]
FastPaths = Annotated[
    str | None,
    typer.Option(metavar="auto|on|off", help="Shared prefixes and fused LoRA; off: plain TRL.", show_default=False),
]
Backend = Annotated[
    str | None,
    typer.Option(metavar="auto|hf|vllm", help="What answers; auto: as measured (doctor).", show_default=False),
]
JudgeName = Annotated[str | None, typer.Option(metavar="NAME", help="For judged tasks.", show_default=False)]
Baseline = Annotated[
    str | None,
    typer.Option(metavar="reference|base|RUN", help="Whose answers are judged against.", show_default=False),
]
Folder = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Where runs are kept (runs).")]
ConfigFile = Annotated[Path | None, typer.Option(metavar="FILE.yaml", help="Settings; options override it.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="aligner.lambda=0.4, budget.batch=8, lora.r=8, lengths.prompt=256"),
]
TrustRemoteCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run the model repository's own code.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")]
Force = Annotated[bool, typer.Option("--force", help="Compute again; what is there is kept aside, in .aside.")]
NoTexts = Annotated[bool, typer.Option("--no-texts", help="Keep hashes instead of texts of data and answers.")]
IncludePath = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Your own lm-eval tasks in YAML, for --task lm_eval:NAME.", show_default=False),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would run, at what cost; the same as `plan`.")]
Show = Annotated[
    int, typer.Option(metavar="N", min=0, help="Write answers to N held-out prompts, to be read; see `samples`.")
]
