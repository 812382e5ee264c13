"""Does a task keep the promises of `contracts.Task`? Checks for its author's own tests.

    from harness.conformance.tasks import parametrize_tasks_with_checks

    @parametrize_tasks_with_checks([MyTask], source, pool=MyPool(), expected_failures={"limit": "why it cannot pass"})
    def test_conformance(check):
        check()

The task is scored on a toy that answers by hashes of what it is asked: it can do everything and knows nothing. A task
about a pool's items or groups is given `pool`; one that is judged, a judge that prefers the longer answer.
"""

from __future__ import annotations

import hashlib
import json
import math
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

from harness.conformance.checks import Check, CheckFailed, Outcome, known, outcomes, parametrized
from harness.conformance.edits import Watched, edits, outcome
from harness.contracts import (
    Aligned,
    Capability,
    ChooseRequest,
    Completion,
    EvalContext,
    FollowsPool,
    GenerateRequest,
    HarnessError,
    HasFallingMetrics,
    HasGradedMetrics,
    HasRelativeMetrics,
    HasUnits,
    Judged,
    JudgedOnRequest,
    JudgeItem,
    Loglik,
    LoglikRequest,
    NamesMetricsLater,
    Pool,
    Preference,
    PreferRequest,
    Ratings,
    Scores,
    Source,
    Task,
    Verdict,
    WritesOnRequest,
)
from harness.run.scores import returned

LIMIT = 4
"""Items of an evaluation that a check may cut short."""
METHODS: Mapping[Capability, str] = {name: name for name in ("generate", "loglik", "choose", "prefer")}
SAYINGS = ("The answer is 4.", "Final Answer: 12", "I do not know.", "#### 7", "It depends on the patient.")


class Toy:
    """A fitted model that answers by hashes of `seed` and of what it is asked, and notes nothing."""

    max_length = 2048

    def __init__(self, seed: int = 0) -> None:
        from harness.conformance.toy import tiny_tokenizer

        self.seed = seed
        self.tokenizer: Any = tiny_tokenizer()

    def save(self, folder: Path) -> None:
        """Nothing: a toy is made anew."""

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """One of a few sayings."""
        return [
            [Completion(self._say(request, n), (1, 2, 3), "stop") for n in range(request.n)] for request in requests
        ]

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Up to 5 nats a token."""
        return [Loglik(-self._share(r) * 5 * len(r.continuation), len(r.continuation), False) for r in requests]

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Normalised log-probabilities."""
        return [self._chosen(request) for request in requests]

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """By two log-probabilities."""
        return [self._preferred(request) for request in requests]

    def _share(self, *parts: Any) -> float:
        """A figure in 0.05..0.95 from a hash."""
        digest = hashlib.sha256(repr((self.seed, *parts)).encode()).digest()
        return 0.05 + 0.9 * int.from_bytes(digest[:6], "big") / 2**48

    def _say(self, request: GenerateRequest, sample: int) -> str:
        return SAYINGS[int(self._share(request, sample) * 1000) % len(SAYINGS)]

    def _chosen(self, request: ChooseRequest) -> list[float]:
        weights = [self._share(request.prompt, request.group, option) for option in request.options]
        return [math.log(weight / math.fsum(weights)) for weight in weights]

    def _preferred(self, request: PreferRequest) -> Preference:
        a, b = (-10 * self._share(request.prompt, text) for text in (request.a, request.b))
        return Preference(1 / (1 + math.exp(b - a)), (a, 5), (b, 5))


def only(model: Toy, capabilities: frozenset[Capability]) -> Aligned:
    """The model as far as these capabilities go: nothing else can be asked of it."""
    methods = {METHODS[name]: getattr(model, METHODS[name]) for name in capabilities}
    made: Any = SimpleNamespace(tokenizer=model.tokenizer, max_length=model.max_length, save=model.save, **methods)
    part: Aligned = made
    return part


class Longer:
    """A judge that prefers the longer answer."""

    name: ClassVar[str] = "longer"
    version: ClassVar[str] = "1"

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]:
        """0.9 for the longer answer of every item."""
        found = [0.5 if len(item.a) == len(item.b) else 0.1 + 0.8 * (len(item.a) > len(item.b)) for item in items]
        return [Verdict(p, (p,), "", 0, 0.0) for p in found]


@dataclass
class TaskLab:
    """One task, made anew for every evaluation, with what it reads."""

    make: Callable[[], Task]
    source: Source
    pool: Pool | None

    @property
    def name(self) -> str:
        """The task's."""
        return self.make().name

    @property
    def follows(self) -> bool:
        """Whether the task's items are a pool's."""
        return isinstance(self.make(), FollowsPool)

    def task(self) -> Task:
        """A new one, on the pool's items where it follows one."""
        task = self.make()
        return task.for_pool(self.pool) if isinstance(task, FollowsPool) and self.pool is not None else task

    def evaluate(
        self,
        aligned: Aligned | None = None,
        *,
        limit: int | None = LIMIT,
        source: Source | None = None,
        paired: bool = False,
    ) -> Scores:
        """The task's scores of a toy; `paired` brings held-out pairs to a task that has items of its own."""
        source = source or self.source
        pool = self.pool if paired or self.follows else None
        groups, auxiliary = _bought(pool.groups(source) if pool is not None else {})
        context = EvalContext(
            source=source,
            limit=limit,
            num_fewshot=0,
            seed=0,
            pool=pool,
            judge=Longer() if isinstance(self.make(), Judged | JudgedOnRequest) else None,
            generate=paired and isinstance(self.make(), WritesOnRequest),
            groups=groups,
            auxiliary=auxiliary,
        )
        return self.task().evaluate(aligned or Toy(), context)


def _bought(opinions: Ratings) -> tuple[Ratings, Ratings]:
    """Targets with two bought ratings each, on other questions than the next group's, so that some questions are seen.

    The group in the middle is no target: half of its ratings are auxiliary.
    """
    names = sorted(opinions)
    given = names[len(names) // 2 : len(names) // 2 + 1] if len(names) > 2 else []
    starts = {name: 2 * place % max(1, len(opinions[name]) - 2) for place, name in enumerate(names)}
    targets = {name: opinions[name][starts[name] :][:2] for name in names if name not in given}
    return targets, {name: opinions[name][: len(opinions[name]) // 2] for name in given}


def task_checks(task: Callable[[], Task], source: Source, *, pool: Pool | None = None) -> Iterator[Check]:
    """All checks of one task, in order."""
    lab = TaskLab(task, source, pool)
    for check in CHECKS:
        yield Check(_name(check), partial(check, lab))


def check_task(
    task: Callable[[], Task],
    source: Source,
    *,
    pool: Pool | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> tuple[Outcome, ...]:
    """Run every check. Raises NotConformant listing all failures; HarnessError for an unknown name in the mapping."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return outcomes(f"task {task().name!r}", task_checks(task, source, pool=pool), expected)


def parametrize_tasks_with_checks(
    tasks: Sequence[Callable[[], Task]],
    source: Source,
    *,
    pool: Pool | None = None,
    expected_failures: Mapping[str, str] | None = None,
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that runs a pytest test function once per task and check, given as its argument `check`."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return parametrized({task().name: task_checks(task, source, pool=pool) for task in tasks}, expected)


def _name(check: Callable[[TaskLab], str]) -> str:
    return check.__name__.removeprefix("check_")


def _require(promise: bool, failure: str) -> None:
    if not promise:
        raise CheckFailed(failure)


def _rows(scores: Scores) -> list[dict[str, Any]]:
    return [asdict(row) for row in scores.rows]


# ---------------------------------------------------------------- checks: what comes out


def check_metrics_declared(lab: TaskLab) -> str:
    """Every metric that is returned is declared, and the main metric is among them."""
    task, found = lab.task(), returned(lab.evaluate(paired=True))
    unknown = sorted(found - set(task.metrics))
    named = not unknown or isinstance(task, NamesMetricsLater)
    _require(named, f"{lab.name} returns {', '.join(unknown)}, which it does not declare")
    _require(task.main_metric in found, f"{lab.name} never returns its main metric {task.main_metric!r}")
    falling = sorted(task.lower_is_better - set(task.metrics)) if isinstance(task, HasFallingMetrics) else []
    _require(not falling, f"{lab.name} says that less of {', '.join(falling)} is better, which it does not declare")
    relative = sorted(task.relative_to_base - set(task.metrics)) if isinstance(task, HasRelativeMetrics) else []
    _require(not relative, f"{lab.name} reads {', '.join(relative)} against base, which it does not declare")
    graded = sorted(task.graded_metrics - set(task.metrics)) if isinstance(task, HasGradedMetrics) else []
    _require(not graded, f"{lab.name} gives degrees of {', '.join(graded)}, which it does not declare")
    return ""


def check_metrics_returned(lab: TaskLab) -> str:
    """Every declared metric has a meaning and is returned for some item or for the whole set."""
    metrics = lab.task().metrics
    empty = [name for name, meaning in metrics.items() if not meaning.strip()]
    _require(not empty, f"{lab.name} does not say what {', '.join(empty)} means")
    missing = sorted(set(metrics) - returned(lab.evaluate(limit=None, paired=True)))
    _require(not missing, f"{lab.name} declares {', '.join(missing)} and never returns it")
    return ""


def check_ids_unique(lab: TaskLab) -> str:
    """Every row has a unit and an id of its own, and every question of the leak gate belongs to a row or a unit.

    Rows have the units that the task states.
    """
    scores, ids = lab.evaluate(limit=None, paired=True), set[str]()
    for row in scores.rows:
        _require(bool(row.id and row.unit), f"{lab.name} has a row without an id or a unit")
        _require(row.id not in ids, f"{lab.name} gives several rows the id {row.id!r}")
        ids.add(row.id)
    reached = ids | {row.unit for row in scores.rows}
    lost = [identity for identity in lab.task().questions(lab.source, None) if identity not in reached]
    _require(not lost, f"{lab.name} has no row for {len(lost)} of its questions, first {lost[:1]}")
    task = lab.task()
    if isinstance(task, HasUnits):
        found, stated = {row.id: row.unit for row in scores.rows}, task.units(lab.source, None)
        wrong = [identity for identity, unit in stated.items() if found.get(identity) != unit]
        _require(
            not wrong, f"{lab.name} states other units than its rows have for {len(wrong)} items, first {wrong[:1]}"
        )
    return f"{len(ids)} rows"


def check_values_finite(lab: TaskLab) -> str:
    """Every value of rows, notes and whole sets is a finite number, and what is kept beside them is JSON."""
    scores = lab.evaluate(paired=True)
    figures = [(row.id, name, value) for row in scores.rows for name, value in row.values.items()]
    figures += [("a note", name, value) for name, value in scores.notes.items()]
    figures += [("the whole set", name, whole.value) for name, whole in scores.whole.items()]
    for where, name, value in figures:
        _require(math.isfinite(value), f"{lab.name}: {name} of {where} is {value}")
    try:
        json.dumps([dict(row.detail) for row in scores.rows])
    except (TypeError, ValueError) as error:
        raise CheckFailed(f"{lab.name}: a row's detail is no JSON ({error})") from error
    return ""


def check_model_matters(lab: TaskLab) -> str:
    """Another model's answers give other rows."""
    first, second = (_rows(lab.evaluate(Toy(seed), limit=None)) for seed in (0, 1))
    _require(first != second, f"{lab.name} gives two models that answer differently the same rows")
    return ""


def check_same_twice(lab: TaskLab) -> str:
    """A new instance gives the same rows, the same revision and the same questions."""
    _require(lab.evaluate() == lab.evaluate(), f"{lab.name} gives other scores when asked again")
    for what in ("revision", "questions"):
        arguments = (lab.source,) if what == "revision" else (lab.source, None)
        first, second = (getattr(lab.task(), what)(*arguments) for _ in range(2))
        _require(first == second, f"{lab.name} has another {what} when asked again")
    return ""


# ---------------------------------------------------------------- checks: what goes in


def check_limit(lab: TaskLab) -> str:
    """With a limit of 2 there are at most two units, and they are asked as they are without a limit."""
    few, everything = lab.evaluate(limit=2), {row.id: row for row in lab.evaluate(limit=None).rows}
    units = {row.unit for row in few.rows}
    _require(0 < len(units) <= 2, f"{lab.name} scores {len(units)} units with a limit of 2")
    asked = lab.task().questions(lab.source, 2)
    _require(len(asked) <= 2, f"{lab.name} names {len(asked)} questions with a limit of 2")
    for row in few.rows:
        same = row.id in everything and row.detail.get("prompt") == everything[row.id].detail.get("prompt")
        _require(same, f"{lab.name}: row {row.id!r} is another with a limit than without")
    return ""


def check_requires_honest(lab: TaskLab) -> str:
    """What `requires` names is enough, or any of `accepts` where it is empty; a model without it is refused.

    What is accepted beside a requirement may be there or not.
    """
    task = lab.task()
    anyway: frozenset[Capability] = frozenset(task.requires)
    each: list[frozenset[Capability]] = [frozenset({one}) for one in sorted(task.accepts)]
    for given in [anyway, *(anyway | one for one in each)] if anyway or not each else each:
        try:
            lab.evaluate(only(Toy(), given))
        except (HarnessError, AttributeError) as error:
            listed = ", ".join(sorted(given)) or "nothing"
            raise CheckFailed(f"{lab.name} says that {listed} is enough, and it is not: {error}") from error
    for missing in filter(None, [frozenset({name}) for name in sorted(anyway)] or [frozenset(task.accepts)]):
        offered = frozenset(METHODS) - missing
        try:
            lab.evaluate(only(Toy(), offered))
        except HarnessError:
            continue
        except AttributeError as error:
            raise CheckFailed(f"{lab.name} crashes for a model that cannot {', '.join(sorted(missing))}") from error
        raise CheckFailed(f"{lab.name} asks for {', '.join(sorted(missing))} and does without")
    return ""


def check_revision_follows_data(lab: TaskLab) -> str:
    """Every change of the rows that changes what is asked or scored changes the revision."""
    watched = Watched(lab.source)
    before = _rows(lab.evaluate(source=watched, limit=None))
    revision, moved = lab.task().revision(watched), 0
    if not watched.read:
        raise unittest.SkipTest("the task reads no rows: its items are its code's")
    for key, rows in list(watched.read.items()):
        for what, edit in edits(rows):
            changed = Watched(lab.source, {key: edit})
            found = outcome(partial(_scored_and_named, lab, changed))
            if found is None or found[0] == before:
                continue
            moved += 1
            _require(found[1] != revision, f"{lab.name}: {what} changes its scores, and its revision stays")
    _require(moved > 0, f"{lab.name}: no change of its rows changes its scores")
    return f"{moved} changes noticed"


def check_pool_split_unread(lab: TaskLab) -> str:
    """Without few-shot examples, the rows that methods train on are not read."""
    watched = Watched(lab.source)
    lab.evaluate(source=watched)
    lab.task().revision(watched)
    read = sorted(folder for folder, split in watched.read if split == "pool")
    _require(not read, f"{lab.name} reads the rows that methods train on, of {', '.join(read)}")
    return ""


def _scored_and_named(lab: TaskLab, source: Source) -> tuple[list[dict[str, Any]], str]:
    return _rows(lab.evaluate(source=source, limit=None)), lab.task().revision(source)


CHECKS: tuple[Callable[[TaskLab], str], ...] = (
    check_metrics_declared,
    check_metrics_returned,
    check_ids_unique,
    check_values_finite,
    check_model_matters,
    check_same_twice,
    check_limit,
    check_requires_honest,
    check_revision_follows_data,
    check_pool_split_unread,
)
