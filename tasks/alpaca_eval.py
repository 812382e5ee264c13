"""AlpacaEval: the model follows instructions, and a judge compares its answers with a baseline's.

The baseline is the data set's reference outputs (`gpt4_1106_preview`, as in AlpacaEval 2; `alpaca_eval:OUTPUTS` takes
others), or another run's answers (`--baseline base|RUN_ID`). Answers are greedy, at most `NEW_TOKENS` tokens, to the
bare instruction as the user's only turn. Equal answers are a tie and no judge is asked, as in the alpaca_eval package.
What the package computes from verdicts is computed by it (`tasks.measures.length_control`) or checked against it (win
rates: `benchmarks/parity_alpaca_eval.py`).

Li et al. 2023, "AlpacaEval: An Automatic Evaluator of Instruction-following Models"; Dubois et al. 2024,
"Length-Controlled AlpacaEval", arXiv:2404.04475. Data CC BY-NC 4.0. The sample: Apache-2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from harness.contracts import (
    Aligned,
    Capability,
    Completion,
    Dataset,
    EvalContext,
    GenerateRequest,
    HarnessError,
    Judge,
    JudgeItem,
    Messages,
    SampleRow,
    Scores,
    Source,
    Task,
    Verdict,
    Whole,
    able_to,
    user,
)
from harness.hookspecs import hookimpl
from harness.util.hashes import content_hash
from tasks.measures.length_control import Comparisons, Gamed, length_controlled, read_gamed, require_package

DATASET = Dataset(folder="alpaca_eval", hub="tatsu-lab/alpaca_eval", splits={})
"""Splits go by the names of files: the hub's data set is plain files behind a loading script."""
REFERENCE = "gpt4_1106_preview"
"""The reference outputs of AlpacaEval 2: the default baseline, and what judges are shown as the reference answer."""
HUB_FILES: Mapping[str, str] = {REFERENCE: "alpaca_eval_gpt4_baseline.json", "text_davinci_003": "alpaca_eval.json"}
NEW_TOKENS = 512
"""Longest answer. The references have some 450 tokens on average; what is cut counts in `truncated`."""
SHOWN = 60
"""Characters of an instruction that a message quotes."""
_NAME = re.compile(r"[\w.-]+")

LengthMetric = Literal["lc_win_rate", "lc_estimate", "lc_minimal"]


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction with the two answers that come with the data."""

    id: str
    position: int
    """Its place in the data set: what the length-controlled fit calls `index`."""
    instruction: str
    reference: str
    baseline: str
    """Equal to `reference` unless the task was asked for other outputs."""

    @property
    def prompt(self) -> Messages:
        """The instruction as the user's only turn."""
        return user(self.instruction)


@dataclass(frozen=True, slots=True)
class Comparison:
    """An answer, what it was compared with, and what the judge said."""

    item: Instruction
    answer: Completion
    baseline: str
    verdict: Verdict

    @property
    def delta(self) -> int:
        """Characters of the baseline's answer less those of the model's."""
        return len(self.baseline) - len(self.answer.text)


class AlpacaEval:
    """Instructions of many kinds; the share of them on which the model's answer beats the baseline's."""

    name: ClassVar[str] = "alpaca_eval"
    paper: ClassVar[str] = "2404.04475"
    licence: ClassVar[str] = "CC BY-NC 4.0 (public rows), Apache-2.0 (shipped sample)"
    main_metric: ClassVar[str] = "win_rate"
    metrics: ClassVar[Mapping[str, str]] = {
        "win_rate": "mean P(the model's answer is better than the baseline's) by the judge",
        "discrete_win_rate": "share of instructions where that P is above 0.5 (0.5 counts one half)",
        "lc_win_rate": "the win rate at equal length, by AlpacaEval's fit with its df_gamed.csv",
        "lc_estimate": "the same with an estimate in place of that file (df_gamed_ESTIMATE.csv)",
        "lc_minimal": "the same without that file: a length term only, far from AlpacaEval's figure for weak models",
        "length": "characters of the answer",
        "truncated": f"share of answers that were cut at {NEW_TOKENS} tokens; lower is better",
    }
    lower_is_better: ClassVar[frozenset[str]] = frozenset({"truncated"})
    default_pool: ClassVar[str] = "ultrafeedback"
    default_judge: ClassVar[str] = "similarity"
    requires: ClassVar[frozenset[Capability]] = frozenset({"generate"})
    accepts: ClassVar[frozenset[Capability]] = frozenset()
    outputs: ClassVar[str] = REFERENCE
    """Whose outputs are the baseline."""

    @classmethod
    def named(cls, argument: str) -> type[AlpacaEval]:
        """The task with other outputs of the data set as its baseline: `alpaca_eval:text_davinci_003`."""
        if not _NAME.fullmatch(argument):
            raise HarnessError(
                f"{argument!r} is not a name of outputs; a name such as {REFERENCE} or text_davinci_003 was expected"
            )
        return type("Named", (cls,), {"name": f"{cls.name}:{argument}", "outputs": argument})

    def revision(self, source: Source) -> str:
        """Hash of instructions, outputs and difficulties, and of how answers are asked for."""
        asked = [[asdict(item), [asdict(turn) for turn in item.prompt]] for item in read_items(source, self.outputs)]
        metric, gamed = difficulty(source, self.outputs)
        return content_hash(asked, NEW_TOKENS, metric, None if gamed is None else asdict(gamed))

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """Every evaluated instruction."""
        return {item.id: item.instruction for item in read_items(source, self.outputs)[:limit]}

    def prompts(self, source: Source, limit: int | None) -> Mapping[str, Messages]:
        """Every evaluated instruction as it is asked."""
        return {item.id: item.prompt for item in read_items(source, self.outputs)[:limit]}

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores:
        """One row per instruction; those that the judge gave no verdict on have lengths only, and are counted.

        Raises HarnessError without a judge, without a baseline answer to an instruction, and where the judge gave no
        verdict at all; FloatingPointError where a verdict is no probability.
        """
        if ctx.judge is None:
            raise HarnessError("alpaca_eval compares answers: a judge was expected, name one with --judge")
        writer = able_to("generate", aligned, by=self.name)
        require_package()
        items = read_items(ctx.source, self.outputs)[: ctx.limit]
        baseline = _baseline(items, ctx.baseline)
        requests = [GenerateRequest(item.prompt, max_new_tokens=NEW_TOKENS) for item in items]
        answers = [completions[0] for completions in writer.generate(requests)]
        compared = compare(ctx.judge, items, answers, baseline)
        # The file's difficulties and rewritings are about the reference outputs: another baseline has none.
        plain: tuple[LengthMetric, None] = ("lc_minimal", None)
        metric, gamed = plain if ctx.baseline is not None else difficulty(ctx.source, self.outputs)
        found = _length_controlled(compared, gamed, ctx)
        return Scores(tuple(map(_row, compared)), _notes(compared), {} if found is None else {metric: found})


# ---------------------------------------------------------------- data


def read_items(source: Source, outputs: str = REFERENCE) -> list[Instruction]:
    """Every instruction with the reference's output and that of `outputs`, in the order of the data.

    Raises HarnessError naming an instruction that stands twice, has no output, or is missing on one of the two sides.
    """
    references = _outputs(source, REFERENCE)
    chosen = references if outputs == REFERENCE else _outputs(source, outputs)
    for here, there, name in ((references, chosen, outputs), (chosen, references, REFERENCE)):
        missing = [text for text in here if text not in there]
        if missing:
            raise HarnessError(f"outputs {name!r} lack {len(missing)} instructions, first {_short(missing[0])}")
    return [
        Instruction(content_hash(text)[:16], position, text, reference, chosen[text])
        for position, (text, reference) in enumerate(references.items())
    ]


def difficulty(source: Source, outputs: str) -> tuple[LengthMetric, Gamed | None]:
    """What the length-controlled fit can use of the data, and the name of the metric that says so.

    `df_gamed.csv` is about the instructions and the reference outputs of AlpacaEval 2, so other outputs and the sample
    go without. A file that is there but broken raises HarnessError.
    """
    if outputs != REFERENCE or source.kind == "sample":
        return "lc_minimal", None
    files: tuple[tuple[LengthMetric, str], ...] = (("lc_win_rate", "df_gamed"), ("lc_estimate", "df_gamed_ESTIMATE"))
    for metric, name in files[:1] if source.kind == "hub" else files:
        try:
            rows = source.rows(DATASET, f"{name}.csv" if source.kind == "hub" else name)
        except HarnessError:  # neither there nor to be had
            continue
        return metric, read_gamed(rows)
    return "lc_minimal", None


def _split(source: Source, outputs: str) -> str:
    """The split's name under the source. Raises HarnessError where it has no such outputs."""
    if source.kind == "folder":
        return f"outputs/{outputs}"
    known = HUB_FILES if source.kind == "hub" else {REFERENCE: "eval"}
    if outputs not in known:
        raise HarnessError(f"the {source.kind} has no outputs {outputs!r}; it has {', '.join(known)}")
    return known[outputs]


def _outputs(source: Source, outputs: str) -> dict[str, str]:
    """Output by instruction. Raises HarnessError naming the row that is malformed or repeats an instruction."""
    found: dict[str, str] = {}
    for number, row in enumerate(source.rows(DATASET, _split(source, outputs)), start=1):
        instruction, output = row.get("instruction"), row.get("output")
        if not isinstance(instruction, str) or not instruction.strip():
            raise HarnessError(f"row {number} of outputs {outputs!r} has no instruction; a text was expected")
        if not isinstance(output, str):
            raise HarnessError(f"outputs {outputs!r} have no output for {_short(instruction)}; a text was expected")
        if instruction in found:
            raise HarnessError(f"outputs {outputs!r} hold {_short(instruction)} twice (again in row {number})")
        found[instruction] = output
    return found


def _baseline(items: Sequence[Instruction], rows: Mapping[str, SampleRow] | None) -> list[str]:
    """What each answer is compared with: the data's outputs, or those of another run's rows.

    Raises HarnessError naming the first instruction that the run did not answer.
    """
    if rows is None:
        return [item.baseline for item in items]
    given = [rows[item.id].detail.get("output") if item.id in rows else None for item in items]
    missing = [item for item, output in zip(items, given, strict=True) if not isinstance(output, str)]
    if missing:
        raise HarnessError(
            f"the baseline run has no answer to {len(missing)} of {len(items)} instructions, "
            f"first {_short(missing[0].instruction)}; evaluate it on the same items"
        )
    return [str(output) for output in given]


def _short(instruction: str) -> str:
    text = " ".join(instruction.split())
    return repr(text if len(text) <= SHOWN else f"{text[:SHOWN]}...")


# ---------------------------------------------------------------- judging


def compare(
    judge: Judge, items: Sequence[Instruction], answers: Sequence[Completion], baseline: Sequence[str]
) -> list[Comparison]:
    """The judge's verdict on every answer (as `a`) against the baseline's (as `b`); equal answers are a tie unasked.

    Raises HarnessError when the judge gave too few verdicts or none that counts, FloatingPointError for one that is no
    probability.
    """
    differ = [n for n, answer in enumerate(answers) if answer.text != baseline[n]]
    asked = [JudgeItem(items[n].id, items[n].prompt, answers[n].text, baseline[n], items[n].reference) for n in differ]
    given = judge.compare(asked) if asked else []
    if len(given) != len(asked):
        raise HarnessError(f"judge {judge.name} gave {len(given)} verdicts on {len(asked)} pairs; one each expected")
    verdicts = dict(zip(differ, given, strict=True))
    tie = Verdict(0.5, (), "equal answers", 0, 0.0)
    found = [
        Comparison(item, answers[n], baseline[n], _checked(verdicts.get(n, tie), item)) for n, item in enumerate(items)
    ]
    if not any(one.verdict.status == "ok" for one in found):
        raise HarnessError(
            f"judge {judge.name} gave no verdict on any of {len(found)} instructions; the first says: "
            f"{found[0].verdict.status}"
        )
    return found


def _checked(verdict: Verdict, item: Instruction) -> Verdict:
    if verdict.status == "ok" and not 0.0 <= verdict.p_a <= 1.0:  # also where it is not a number
        raise FloatingPointError(f"instruction {item.id}: P(model better) is {verdict.p_a}, no probability")
    return verdict


def _length_controlled(compared: Sequence[Comparison], gamed: Gamed | None, ctx: EvalContext) -> Whole | None:
    judged = [one for one in compared if one.verdict.status == "ok"]
    comparisons = Comparisons(
        preferences=[one.verdict.p_a for one in judged],
        deltas=[one.delta for one in judged],
        positions=[one.item.position for one in judged],
    )
    return length_controlled(comparisons, gamed, progress=ctx.progress)


def win_rates(p: float) -> dict[str, float]:
    """The two win rates of one verdict, P(model better)."""
    return {"win_rate": p, "discrete_win_rate": 0.5 if p == 0.5 else float(p > 0.5)}


def _row(one: Comparison) -> SampleRow:
    values = {"length": float(len(one.answer.text)), "truncated": float(one.answer.finish == "length")}
    if one.verdict.status == "ok":
        values |= win_rates(one.verdict.p_a)
    detail = {
        "instruction": one.item.instruction,
        "output": one.answer.text,
        "baseline": one.baseline,
        "lengths": {"output": len(one.answer.text), "baseline": len(one.baseline)},
        "finish": one.answer.finish,
        "verdict": {**asdict(one.verdict), "per_order": list(one.verdict.per_order)},
    }
    return SampleRow(one.item.id, one.item.id, values, detail)


def _notes(compared: Sequence[Comparison]) -> dict[str, float]:
    return {
        "judge_tokens": float(sum(one.verdict.tokens for one in compared)),
        "judge_cost": float(sum(one.verdict.cost for one in compared)),
        "unjudged": float(sum(one.verdict.status != "ok" for one in compared)),
        "equal_answers": float(sum(one.answer.text == one.baseline for one in compared)),
    }


@hookimpl
def harness_tasks() -> list[type[Task]]:
    """The task of this module."""
    return [AlpacaEval]
