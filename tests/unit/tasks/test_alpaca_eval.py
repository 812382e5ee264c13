"""AlpacaEval's rows: what is compared with what, what a verdict becomes, and which data are refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import pytest

import tasks.alpaca_eval
from harness.contracts import (
    Completion,
    Dataset,
    EvalContext,
    Family,
    GenerateRequest,
    HarnessError,
    Judged,
    JudgeItem,
    SampleRow,
    Task,
    Verdict,
    Whole,
)
from harness.run.recording import summarise
from tasks.alpaca_eval import NEW_TOKENS, REFERENCE, AlpacaEval, difficulty, harness_tasks, read_items, win_rates
from tasks.measures.length_control import Comparisons, Gamed

N = 6
Row = Mapping[str, Any]


def outputs(text: str = "reference", *, without: Sequence[int] = (), **changes: Any) -> list[Row]:
    return [
        {"instruction": f"Do thing {n}.", "output": f"{text} {n}", "dataset": "made_up", **changes}
        for n in range(N)
        if n not in without
    ]


class Files:
    """A source whose files are `held` by name."""

    def __init__(self, kind: str = "folder", **held: Sequence[Row]) -> None:
        self.kind = kind
        names = {"folder": f"outputs/{REFERENCE}", "hub": "alpaca_eval_gpt4_baseline.json", "sample": "eval"}
        self.held = {names[kind]: outputs(), **held}

    def rows(self, dataset: Dataset, split: str) -> Sequence[Row]:
        if dataset.folder != "alpaca_eval" or split not in self.held:
            raise HarnessError(f"no {split}")
        return self.held[split]


class Answers:
    """Says `answer n` to instruction n; cut short where n is odd."""

    def __init__(self, text: str = "answer") -> None:
        self.text = text
        self.asked: list[GenerateRequest] = []

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        self.asked = list(requests)
        return [[Completion(f"{self.text} {n}", (1,), "length" if n % 2 else "stop")] for n, _ in enumerate(requests)]


class Says:
    """A judge whose verdicts are given by place: P(a better), or a status where there is none."""

    name: ClassVar[str] = "says"
    version: ClassVar[str] = "1"

    def __init__(self, *given: float | str) -> None:
        self.given = given
        self.items: list[JudgeItem] = []

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        self.items = list(items)
        return [
            Verdict(0.5, (), "", 3, 0.25, given) if isinstance(given, str) else Verdict(given, (given,), "m", 3, 0.25)
            for given in self.given
        ]


@pytest.fixture(autouse=True)
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Comparisons, Gamed | None]]:
    """What is given to the length-controlled fit, which has tests of its own."""
    given: list[tuple[Comparisons, Gamed | None]] = []

    def record(comparisons: Comparisons, gamed: Gamed | None, **_: Any) -> Whole:
        given.append((comparisons, gamed))
        return Whole(0.25, (0.1, 0.4), len(comparisons.deltas))

    monkeypatch.setattr(tasks.alpaca_eval, "length_controlled", record)
    monkeypatch.setattr(tasks.alpaca_eval, "require_package", lambda: None)
    return given


def context(judge: Any = None, **changes: Any) -> EvalContext:
    start = EvalContext(source=Files(), limit=None, num_fewshot=0, seed=0, judge=judge or Says(*[0.5] * N))  # type: ignore[arg-type]
    return replace(start, **changes)


def evaluate(ctx: EvalContext, aligned: Any = None, task: type[AlpacaEval] = AlpacaEval) -> Any:
    return task().evaluate(aligned or Answers(), ctx)


def run_of(texts: Sequence[Any]) -> dict[str, SampleRow]:
    items = read_items(Files())  # type: ignore[arg-type]
    return {item.id: SampleRow(item.id, item.id, {}, {"output": text}) for item, text in zip(items, texts, strict=True)}


# ---------------------------------------------------------------- rows


@pytest.mark.core
@pytest.mark.parametrize(("p", "discrete"), [(0.0, 0.0), (0.4999, 0.0), (0.5, 0.5), (0.5001, 1.0), (1.0, 1.0)])
def test_what_a_verdict_becomes(p: float, discrete: float) -> None:
    assert win_rates(p) == {"win_rate": p, "discrete_win_rate": discrete}


def test_win_rates_are_the_packages() -> None:
    from alpaca_eval.metrics import winrate

    verdicts = [0.0, 0.1, 0.5, 0.5, 0.50001, 0.9, 1.0, 0.3]
    theirs = winrate.get_winrate([{"preference": 1 + p} for p in verdicts])
    for name in ("win_rate", "discrete_win_rate"):
        ours = sum(win_rates(p)[name] for p in verdicts) / len(verdicts)
        assert ours * 100 == pytest.approx(theirs[name], abs=1e-12)


@pytest.mark.core
def test_rows_hold_verdict_lengths_and_texts() -> None:
    judge, aligned = Says(0.9, 0.5, 0.1, 0.2, 0.3, 1.0), Answers()
    scores = evaluate(context(judge), aligned)
    first, second = scores.rows[:2]
    assert first.values == {"win_rate": 0.9, "discrete_win_rate": 1.0, "length": 8.0, "truncated": 0.0}
    assert second.values["discrete_win_rate"] == 0.5
    assert second.values["truncated"] == 1.0
    assert first.unit == first.id
    assert first.detail == {
        "instruction": "Do thing 0.",
        "output": "answer 0",
        "baseline": "reference 0",
        "lengths": {"output": 8, "baseline": 11},
        "finish": "stop",
        "verdict": {"p_a": 0.9, "per_order": [0.9], "raw": "m", "tokens": 3, "cost": 0.25, "status": "ok"},
    }
    assert scores.notes == {"judge_tokens": 18.0, "judge_cost": 1.5, "unjudged": 0.0, "equal_answers": 0.0}
    asked = judge.items[0]
    assert (asked.id, asked.a, asked.b, asked.reference) == (first.id, "answer 0", "reference 0", "reference 0")
    request = aligned.asked[0]
    assert (request.temperature, request.max_new_tokens, request.n) == (0.0, NEW_TOKENS, 1)
    assert [(turn.role, turn.content) for turn in request.context] == [("user", "Do thing 0.")]


@pytest.mark.core
def test_a_verdict_that_failed_is_counted_and_is_no_tie(fits: list[Any]) -> None:
    scores = evaluate(context(Says(0.9, "refused", 0.1, "timeout", 0.3, 1.0)))
    assert scores.notes["unjudged"] == 2
    assert [row.id for row in scores.rows if "win_rate" not in row.values] == [scores.rows[1].id, scores.rows[3].id]
    assert scores.rows[1].detail["verdict"]["status"] == "refused"
    assert set(scores.rows[1].values) == {"length", "truncated"}
    assert fits[0][0].positions == [0, 2, 4, 5]
    assert summarise(scores)["win_rate"].mean == pytest.approx((0.9 + 0.1 + 0.3 + 1.0) / 4)


@pytest.mark.core
def test_equal_answers_are_a_tie_that_no_judge_sees() -> None:
    judge = Says(*[0.1] * (N - 1))
    answers = run_of(["answer 0", *["other"] * (N - 1)])
    scores = evaluate(context(judge, baseline=answers))
    assert len(judge.items) == N - 1
    assert scores.rows[0].values["win_rate"] == 0.5
    assert scores.notes["equal_answers"] == 1
    same = evaluate(context(Says(), baseline=run_of([f"answer {n}" for n in range(N)])))
    assert [row.values["win_rate"] for row in same.rows] == [0.5] * N


# ---------------------------------------------------------------- baselines and names of the length-controlled figure

GAMED = [
    {"index": str(n), "std_delta_len": "1", "instruction_difficulty": "-1", "preference": "0.1", "model": "m"}
    for n in range(N)
]


@pytest.mark.core
@pytest.mark.parametrize(
    ("source", "metric"),
    [
        (Files(), "lc_minimal"),
        (Files(df_gamed_ESTIMATE=GAMED), "lc_estimate"),
        (Files(df_gamed=GAMED, df_gamed_ESTIMATE=GAMED), "lc_win_rate"),
        (Files("hub"), "lc_minimal"),
        (Files("hub", **{"df_gamed.csv": GAMED}), "lc_win_rate"),
        (Files("sample", df_gamed=GAMED), "lc_minimal"),
    ],
)
def test_the_length_controlled_figure_is_called_by_what_it_rests_on(source: Any, metric: str, fits: list[Any]) -> None:
    scores = evaluate(context(source=source))
    assert scores.whole == {metric: Whole(0.25, (0.1, 0.4), N)}
    assert metric in AlpacaEval.metrics
    assert (fits[0][1] is None) == (metric == "lc_minimal")
    summary = summarise(scores)[metric]
    assert (summary.mean, summary.ci95, summary.whole) == (0.25, (0.1, 0.4), True)


@pytest.mark.core
def test_another_runs_answers_as_the_baseline(fits: list[Any]) -> None:
    judge = Says(*[0.7] * N)
    scores = evaluate(context(judge, source=Files(df_gamed=GAMED), baseline=run_of([f"run {n}!" for n in range(N)])))
    assert [item.b for item in judge.items] == [f"run {n}!" for n in range(N)]
    assert [item.reference for item in judge.items] == [f"reference {n}" for n in range(N)]
    assert scores.rows[0].detail["baseline"] == "run 0!"
    assert list(scores.whole) == ["lc_minimal"]
    assert fits[0][0].deltas == [-2] * N


@pytest.mark.core
def test_other_outputs_of_the_data_as_the_baseline() -> None:
    task = AlpacaEval.named("text_davinci_003")
    source = Files(**{"outputs/text_davinci_003": outputs("davinci")}, df_gamed=GAMED)
    judge = Says(*[0.7] * N)
    scores = evaluate(context(judge, source=source), task=task)
    assert task.name == "alpaca_eval:text_davinci_003"
    assert (judge.items[2].b, judge.items[2].reference) == ("davinci 2", "reference 2")
    assert list(scores.whole) == ["lc_minimal"]
    assert task().revision(source) != AlpacaEval().revision(source)  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match="sample has no outputs 'text_davinci_003'; it has gpt4_1106_preview"):
        evaluate(context(source=Files("sample")), task=task)
    with pytest.raises(HarnessError, match="is not a name of outputs"):
        AlpacaEval.named("../x")


# ---------------------------------------------------------------- refusals


@pytest.mark.core
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (outputs(instruction=" "), "row 1 of outputs 'gpt4_1106_preview' has no instruction"),
        (outputs(output=None), "have no output for 'Do thing 0.'"),
        ([*outputs(), outputs()[2]], "hold 'Do thing 2.' twice \\(again in row 7\\)"),
    ],
)
def test_broken_rows_are_refused_by_name(rows: Sequence[Row], message: str) -> None:
    source = Files(**{f"outputs/{REFERENCE}": rows})
    with pytest.raises(HarnessError, match=message):
        AlpacaEval().questions(source, None)  # type: ignore[arg-type]


@pytest.mark.core
@pytest.mark.parametrize(
    ("other", "message"),
    [
        (outputs(without=[1, 4]), "outputs 'other' lack 2 instructions, first 'Do thing 1.'"),
        (
            [*outputs(), {"instruction": "More.", "output": ""}],
            "'gpt4_1106_preview' lack 1 instructions, first 'More.'",
        ),
    ],
)
def test_outputs_that_do_not_align_are_refused_by_name(other: Sequence[Row], message: str) -> None:
    with pytest.raises(HarnessError, match=message):
        read_items(Files(**{"outputs/other": other}), "other")  # type: ignore[arg-type]


@pytest.mark.core
@pytest.mark.parametrize("missing", ["row", "output"])
def test_a_baseline_run_with_gaps_is_refused_by_name(missing: str) -> None:
    rows = run_of([f"run {n}" for n in range(N)])
    hit = list(rows)[3]
    if missing == "row":
        del rows[hit]
    else:
        rows[hit] = replace(rows[hit], detail={})
    aligned = Answers()
    with pytest.raises(HarnessError, match="no answer to 1 of 6 instructions, first 'Do thing 3"):
        evaluate(context(baseline=rows), aligned)
    assert aligned.asked == [], "refused before anything is generated"


@pytest.mark.core
def test_judges_that_fail_are_refused() -> None:
    with pytest.raises(HarnessError, match="a judge was expected, name one with --judge"):
        evaluate(replace(context(), judge=None))
    with pytest.raises(HarnessError, match="judge says gave 2 verdicts on 6 pairs"):
        evaluate(context(Says(0.1, 0.2)))
    with pytest.raises(HarnessError, match="no verdict on any of 6 instructions; the first says: no key"):
        evaluate(context(Says(*["no key"] * N)))
    with pytest.raises(FloatingPointError, match="no probability"):
        evaluate(context(Says(0.1, 0.2, float("nan"), 0.3, 0.4, 0.5)))


# ---------------------------------------------------------------- identity


@pytest.mark.core
def test_items_limit_and_questions() -> None:
    source: Any = Files()
    items = read_items(source)
    assert [item.position for item in items] == [*range(N)]
    assert AlpacaEval().questions(source, 2) == {item.id: item.instruction for item in items[:2]}
    judge = Says(0.2, 0.3)
    assert len(evaluate(context(judge, limit=2)).rows) == 2


@pytest.mark.core
@pytest.mark.parametrize(
    "changed",
    [
        Files(**{f"outputs/{REFERENCE}": outputs("another")}),
        Files(**{f"outputs/{REFERENCE}": outputs()[::-1]}),
        Files(df_gamed_ESTIMATE=GAMED),
    ],
)
def test_the_revision_covers_outputs_order_and_difficulties(changed: Any) -> None:
    start: Any = Files()
    assert AlpacaEval().revision(start) == AlpacaEval().revision(Files())  # type: ignore[arg-type]
    assert AlpacaEval().revision(changed) != AlpacaEval().revision(start)


@pytest.mark.core
def test_a_broken_difficulty_file_is_not_passed_over() -> None:
    broken: Any = Files(df_gamed=[{"index": "0"}])
    with pytest.raises(HarnessError, match="df_gamed row 1 is malformed"):
        difficulty(broken, REFERENCE)


@pytest.mark.core
def test_the_task_keeps_its_contracts() -> None:
    (task,) = harness_tasks()
    assert isinstance(task(), Task)
    assert isinstance(task(), Judged)
    assert isinstance(task, Family)
    assert task.main_metric in task.metrics
