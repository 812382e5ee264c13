"""Tables as Markdown, for reading: rounded, narrow, one section per table.

Every text of a record goes through `md` or `code`: names and reasons are strangers' words and show as they are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.contracts import BASE
from harness.stats import Estimate
from harness.util.safe_text import code
from harness.util.safe_text import markdown as md
from leaderboards import columns
from leaderboards.settings import apart_from_namesakes
from leaderboards.table import GAINED, Cost, JudgeFigure, MethodRow, Metric, Setting, Table, Versus

CHANCE = "chance"
"""Note with the main metric's value for a model that guesses."""
SHORTCUTS = ("length_only", "bag_of_words")
"""Notes whose name contains one of these stand beside the metrics they question; the rest stand in the JSON only."""
FLOORS = ("uniform", "mean_of_groups")
"""The same of answers that no context of a group was read for."""
_FLOP_UNITS = ((1e15, "PFLOPs"), (1e12, "TFLOPs"), (1e9, "GFLOPs"))
_HASHES = ("task_revision", "pool_revision", "weights_hash", "pairs_hash", "model_hash", "judge_hash")


def markdown(tables: Sequence[Table]) -> str:
    """All tables, each under a title that no other has."""
    return "\n".join(_section(table, title) for table, title in zip(tables, _titles(tables), strict=True))


def _section(table: Table, title: str) -> str:
    parts = [
        f"## {title}",
        _opening(table),
        _main_table(table),
        _judge(table),
        _other_table(table),
        _beside(table, SHORTCUTS, "Shortcut classifiers on the held-out pairs"),
        _beside(table, FLOORS, "Without reading a group's own answers"),
        "\n".join(f"- {fact}" for fact in _facts(table)),
        "\n".join(f"- **note** {md(warning)}" for warning in table.warnings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


# ---------------------------------------------------------------- what a table is about


def _titles(tables: Sequence[Table]) -> list[str]:
    """Task, opponent, labels, model; where that is several tables', what tells them apart behind it."""
    plain = [_title(table.setting) for table in tables]
    found: list[str] = []
    for table, title, apart in zip(tables, plain, apart_from_namesakes(tables, plain), strict=True):
        own = ", ".join(f"{md(name.replace('_', ' '))} {_setting_value(table.setting, name)}" for name in apart)
        found.append(f"{title} ({own})" if own else title)
    return found


def _title(s: Setting) -> str:
    return f"{md(s.asked)}: {s.labels} labels, {md(s.model)}"


def _setting_value(s: Setting, name: str) -> str:
    value = getattr(s, name)
    if name in _HASHES:
        return code(_short(value or "none"))
    if isinstance(value, Mapping):
        return _pairs(value)
    return md(_list(value)) if isinstance(value, tuple) else md(str(value))


def _opening(table: Table) -> str:
    """What was measured, on how much, and what a model that guesses would score."""
    main = table.setting.main_metric
    direction = "lower" if main in table.lower_is_better else "higher"
    text = f"{code(main)}, {direction} is better, {table.n_units} independent units."
    if CHANCE in table.notes:
        text += f" Chance: {_span(*table.notes[CHANCE])}."
    if table.setting.main_metric == GAINED:
        text += f" {BASE} has 0.500 by definition, for it is what the gain is read against."
    if table.setting.folds:
        text += (
            f" Every pair was held out once: a row is the mean of {table.setting.folds} fits a seed; the fits share "
            "pairs, so that units count half."
        )
    if _all_at_chance(table):
        text += " Every interval contains the chance level: on this task these models cannot be told from guessing."
    return text


def _all_at_chance(table: Table) -> bool:
    chance, _ = table.notes.get(CHANCE, (None, None))
    main = [row.metrics[table.setting.main_metric] for row in table.rows if table.setting.main_metric in row.metrics]
    ranges = [metric.score.ci95 for metric in main]
    return chance is not None and bool(ranges) and all(r is not None and r[0] <= chance <= r[1] for r in ranges)


def _judge(table: Table) -> str:
    """How far the table's judge agrees with people, or how to find out."""
    judge = table.setting.judge
    if judge is None:
        return ""
    if not table.judge:
        return f"Agreement of judge {code(judge)} with people: not measured: python -m harness judge check {md(judge)}"
    return f"Agreement of judge {code(judge)} with labelled pairs [95 % CI]: {'; '.join(map(_agreement, table.judge))}."


def _agreement(found: JudgeFigure) -> str:
    share = "no verdict" if found.agreement is None else _score(found.agreement)
    fails = "".join(f", **fails: {md(fault)}**" for fault in found.fails)
    by = f"{found.answered} of {found.pairs} pairs, labelled by {md(found.labelled_by)}"
    return f"{md(found.set)} {share} ({', '.join([by, *_leanings(found)])}){fails}"


def _leanings(found: JudgeFigure) -> Iterator[str]:
    """What a judge's verdicts follow beside the better answer."""
    if found.null_win_rate is not None:
        yield f"a constant answer wins {found.null_win_rate:.3f}"
    if found.first_position is not None:
        yield f"the answer shown first wins {found.first_position:.3f}"
    if found.flips is not None:
        yield f"{found.flips:.3f} change with the order"
    if found.longer is not None:
        people = "" if found.longer_people is None else f" and {found.longer_people:.3f} of people's"
        yield f"the longer answer wins {found.longer:.3f}{people}"


def _beside(table: Table, words: Sequence[str], what: str) -> str:
    """What something that understands nothing reaches on the same items."""
    found = [
        f"{md(name.replace('_', ' '))} {_span(*span)}"
        for name, span in table.notes.items()
        if any(word in name for word in words)
    ]
    return f"{what}: {', '.join(found)}." if found else ""


# ---------------------------------------------------------------- rows


def _main_table(table: Table) -> str:
    scale, unit = _flop_unit(table.rows)
    beside = table.headline
    head = (
        *("aligner", "seeds", f"{md(table.setting.main_metric)} [95 % CI]", f"Δ {BASE} [95 % CI]"),
        *(["Δ labels shuffled [95 % CI]"] if table.setting.null_by else []),
        "p (Holm)",
        *(f"{md(name)} [95 % CI]" for name in beside),
        *("labels", "steps", unit, "fit s", "GiB", "status", "verdict"),
    )
    rows = (_main_cells(table, row, scale, beside) for row in table.rows)
    return _grid(head, rows, left=(0, len(head) - 2, len(head) - 1))


def _main_cells(table: Table, row: MethodRow, scale: float, beside: Sequence[str]) -> tuple[str, ...]:
    metric = row.metrics.get(table.setting.main_metric)
    return (
        md(row.label),
        columns.seeds(row),
        _score(metric.score) if metric else "",
        _difference(metric.versus_base if metric else None),
        *([_difference(row.versus_control)] if table.setting.null_by else []),
        _p(row.p_holm),
        *(_score(row.metrics[name].score) if name in row.metrics else "" for name in beside),
        *_costs(row.cost, scale),
        md(columns.status(row)),
        columns.verdict(table, row),
    )


def _costs(cost: Cost | None, scale: float) -> tuple[str, ...]:
    """Labels (behind a plus those of other groups), steps, FLOPs, seconds, memory; of what is not known nothing."""
    if cost is None:
        return ("",) * 5
    return (
        columns.labels(cost),
        f"{cost.optimizer_steps:g}",
        f"{cost.flops / scale:.1f}",
        f"{cost.fit_seconds:.0f}",
        f"{cost.peak_memory_bytes / 2**30:.1f}",
    )


def _other_table(table: Table) -> str:
    """The metrics beside the main one; their p is not adjusted, and no verdict follows from it."""
    names = columns.other_metrics(table)
    if not names:
        return ""
    rows = (
        _other_cells(columns.directed(name, table.lower_is_better), row, row.metrics[name])
        for name in names
        for row in table.rows
        if name in row.metrics
    )
    head = ("metric", "aligner", "value [95 % CI]", f"Δ {BASE} [95 % CI]", "p (not adjusted)")
    return _grid(head, rows, left=(0, 1))


def _other_cells(name: str, row: MethodRow, metric: Metric) -> tuple[str, ...]:
    versus = metric.versus_base
    return md(name), md(row.label), _score(metric.score), _difference(versus), _p(versus.p if versus else None)


# ---------------------------------------------------------------- what stands below a table


def _facts(table: Table) -> Iterator[str]:
    s, made = table.setting, table.provenance
    items = "all items" if s.limit is None else f"first {s.limit} items"
    against = f" against {md(s.baseline)}" if s.baseline else ""
    judge = f", judge {md(s.judge)} (version {md(str(s.judge_version))}){against}" if s.judge else ""
    wrote = ", answers written" if s.generate else ""
    yield f"task {md(s.task)}, revision {code(_short(s.task_revision))}, {items}, {s.num_fewshot} shots{judge}{wrote}"
    pairs = f", pairs {code(_short(s.pairs_hash))}" if s.pairs_hash else ""
    pool = f"pool {md(s.pool)}, revision {code(_short(s.pool_revision))}"
    yield f"data {md(s.source)}, {pool}, draws {_list(s.draw_seeds)}{pairs}"
    machine = ", ".join(map(md, (s.precision, s.device, s.backend)))
    yield f"model {md(s.model)}, weights {code(_short(s.weights_hash))}, {machine}"
    yield f"adapter {_pairs(s.lora)}; lengths {_pairs(s.lengths)}"
    yield _budget(s)
    commits = _list(code(_commit(commit)) for commit in made.commits)
    yield f"made by commit {commits} on {_list(map(md, made.devices))}, threads {_list(made.threads)}"
    mixed = [f"{md(name)} {_list(map(md, versions))}" for name, versions in made.packages.items() if len(versions) > 1]
    if mixed:
        yield f"rows differ in library versions: {'; '.join(mixed)}"
    for row in table.rows:
        if row.role == "outputs":
            yield (
                f"{md(row.label)}: outputs of another model, from a file whose sha256 begins with "
                f"{code(row.changed['file'])}; what that model cost is not known, and the row is no part of the tests"
            )
    yield from _controls(table)
    yield from _detectable(table)


def _controls(table: Table) -> Iterator[str]:
    """What the methods are held against beside base, and where it is shown that they can learn at all."""
    if all(row.role == "base" for row in table.rows):
        return
    named = [md(row.label) for row in table.rows if row.role == "control"]
    missing = "none; `--aligner random,NAME[labels=shuffled]` adds two"
    yield (
        f"negative controls: {_list(named) or missing}; positive control: a required closing phrase, which the "
        "conformance kit (`harness.conformance`) has the methods learn from 32 pairs"
    )


def _detectable(table: Table) -> Iterator[str]:
    """What the tests could have shown."""
    if not table.family:
        return
    tests = f"{table.family} test{'s' if table.family > 1 else ''}"
    if table.mdd is None:
        yield f"{tests} on {table.n_units} units: no difference, however large, would be found four times in five"
    else:
        yield (
            f"smallest detectable difference: {table.mdd:.3f} (largest of the rows; found four times in five at the "
            f"first step of Holm's method over {tests}): a smaller true difference may well go unseen"
        )


def _budget(s: Setting) -> str:
    cap = f", cap {s.cap_flops:.3g} FLOPs" if s.cap_flops is not None else ""
    profile = f", profile {md(s.profile)}" if s.profile else ""
    trials = f" ({s.tune} trials)" if s.tune else ""
    return (
        f"budget {md(s.preset)}: {s.labels} labels, {s.prompts} prompts, batch {s.batch}, "
        f"at least {s.min_steps} steps, selection {md(s.selection)}{trials}, track {md(s.track)}{cap}{profile}"
    )


# ---------------------------------------------------------------- pieces


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]], *, left: Sequence[int]) -> str:
    """A table of cells that are Markdown already."""
    rule = [":--" if i in left else "--:" for i in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def _score(score: Estimate) -> str:
    return _interval(score.mean, score.ci95, ".3f")


def _difference(versus: Versus | None) -> str:
    return _interval(versus.difference, versus.ci95, "+.3f") if versus else ""


def _interval(mean: float, ci95: tuple[float, float] | None, spec: str) -> str:
    return f"{mean:{spec}}" + (f" [{ci95[0]:{spec}}, {ci95[1]:{spec}}]" if ci95 else "")


def _span(low: float, high: float) -> str:
    return f"{low:.3f}" if math.isclose(low, high, abs_tol=5e-4) else f"{low:.3f} to {high:.3f}"


def _p(p: float | None) -> str:
    if p is None:
        return ""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _flop_unit(rows: Iterable[MethodRow]) -> tuple[float, str]:
    most = max((row.cost.flops for row in rows if row.cost is not None), default=0.0)
    return next((unit for unit in _FLOP_UNITS if most >= unit[0]), _FLOP_UNITS[-1])


def _commit(commit: str) -> str:
    name, _, dirty = commit.partition(" ")
    return f"{_short(name)} {dirty}".strip()


def _short(digest: str) -> str:
    return digest[:10]


def _list(values: Iterable[object]) -> str:
    return ", ".join(str(value) for value in values)


def _pairs(values: Mapping[str, object]) -> str:
    return _list(f"{md(name)} {md(str(value))}" for name, value in sorted(values.items()))
