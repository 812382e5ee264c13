"""A table in plain words: what it can and cannot show, and the smallest difference that it could have seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.contracts import BASE
from harness.stats import ALPHA
from harness.util.safe_text import line
from leaderboards.between import MOST_METHODS
from leaderboards.controls import NO_RUN, NO_SOUND_RUN
from leaderboards.table import GAINED, HEADLINE, Between, MethodRow, OnFigure, Table, Versus

UNFIT = ("degenerate", "over_cap", "failed")
"""States whose reason stands among a row's remarks, behind the state's name."""
ADVICE = (
    ("equal once cut", "raise --set lengths.completion"),
    ("by the marker", "let samples end: raise --set lengths.new_tokens, the rate of fine-tuning, or --budget"),
    ("samples were cut off", "let samples end: raise --set lengths.new_tokens"),
    ("no unlabelled prompts", "take a pool with more prompts than the labels use, or a smaller --budget"),
    ("the cap", "raise --cap-flops"),
)
"""What to change, by what the reason says."""
OTHERWISE = "raise --budget"
SHORTCUTS = {"length_only": "length alone", "bag_of_words": "a bag of words"}
EASY = 0.8
"""Share of held-out pairs beyond which something that does not read tells pairs apart too well."""
MOST_NAMED = 5
"""Rows whose interval for new draws is told."""
MOST_SPREAD = 3
"""Rows whose spread over their runs is told."""
END = 0.02
"""How near to 0 or 1 base has no room."""


def closing(table: Table) -> list[str]:
    """Sentences for whoever reads the table: findings, their limit, rows that are none, draws."""
    found = (
        *_findings(table),
        *_controls(table),
        *_own_controls(table),
        *_on_other_figures(table),
        *_pairs(table),
        *_written(table),
        *_limit(table),
        *_shortcuts(table),
        *_ends_of_the_scale(table),
        *_ties(table),
        *_unfit(table),
        *_draws(table),
    )
    return [line(text) for text in found]


def nothing_told_apart(table: Table) -> bool:
    """Whether no method differs from base by more than chance makes it."""
    return not any(row.verdict in ("better", "worse") for row in table.rows)


def _findings(table: Table) -> Iterator[str]:
    metric = table.setting.main_metric
    tested = [row for row in table.rows if row.verdict is not None]
    alone, beside_unfit = ([row.label for row in table.rows if told in row.remarks] for told in (NO_RUN, NO_SOUND_RUN))
    if alone:
        yield (
            f"Beside {_few(alone)} there is no run on shuffled labels, which says what is reached without learning "
            "from the labels, so that there is no verdict; to get one, run again with --control."
        )
    if beside_unfit:
        run = f"The run of {_few(beside_unfit)} on shuffled labels"
        yield f"{run} is no result of its method, so that there is no verdict."
    if not tested:
        if not alone and not beside_unfit:
            yield f"No method in this table is compared with {BASE}, so that it shows nothing about methods."
        return
    for word in ("better", "worse"):
        named = [_named(row, metric) for row in tested if row.verdict == word]
        if named:
            yield f"On {metric}, {word} than {_rivals(table)}: {', '.join(named)}."
    open_ = [row.label for row in tested if row.verdict == "cannot tell"]
    if nothing_told_apart(table):
        rivals = _rivals(table)
        yield f"Nothing in this table can be told apart from {rivals}: {_few(open_)} may be better, worse or the same."
    elif open_:
        yield f"The table cannot tell {_few(open_)} from {_rivals(table)}."


def _controls(table: Table) -> Iterator[str]:
    """Rows that are better than base and have no control of their own, where another's does as well."""
    metric = table.setting.main_metric
    sign = -1 if metric in table.lower_is_better else 1
    beside = [row for row in table.rows if row.role == "control" and not row.degenerate and metric in row.metrics]
    for row in table.rows:
        if row.verdict != "better":
            continue
        reached = sign * row.metrics[metric].score.mean
        own = [found.second for found in _own(table, row) if not table.row(found.second).ablation]
        if own:  # whose test says more than the mean of another method's control
            continue
        equal = [one.label for one in beside if sign * one.metrics[metric].score.mean >= reached and not one.ablation]
        if equal:
            are = "a control, does" if len(equal) == 1 else "controls, do"
            yield (
                f"{_few(equal)}, {are} as well on {metric}, and {row.label} has no control of its own here: what it "
                f"gains over {BASE} is not shown to come from its labels."
            )


def _own(table: Table, row: MethodRow) -> list[Between]:
    return [found for found in table.between if found.own_control and found.first == row.label]


def _own_controls(table: Table) -> Iterator[str]:
    """Of rows that are better than base, which of their own controls they beat, tested on the same items."""
    metric = table.setting.main_metric
    sign = -1 if metric in table.lower_is_better else 1
    beaten: list[str] = []
    for row in table.rows:
        if row.verdict != "better":
            continue
        for found in _own(table, row):
            if sign * found.versus.difference > 0 and found.versus.p is not None and found.versus.p < ALPHA:
                beaten.append(f"{row.label} than {found.second} ({found.versus.difference:+.3f})")
            else:
                yield f"{_not_better(found, metric)}: {_not_shown(table.row(found.second))}."
    if beaten:
        yield f"On {metric}, better than an own control (paired, p not adjusted): {', '.join(beaten)}."


def _on_other_figures(table: Table) -> Iterator[str]:
    """In which other figures a method's own labels, or its own context, make a difference."""
    by_rows: dict[tuple[str, str], list[OnFigure]] = {}
    for one in table.on_other_figures:
        if not table.row(one.between.second).ablation:
            by_rows.setdefault((one.between.first, one.between.second), []).append(one)
    for (first, second), figures in by_rows.items():
        apart = [one for one in figures if one.between.p_holm is not None and one.between.p_holm < ALPHA]
        ordered = sorted(apart, key=lambda one: (one.between.versus.p or 0.0, one.metric))
        named = [f"{one.metric} ({one.between.versus.difference:+.3f})" for one in ordered[:MOST_NAMED]]
        more = "" if len(apart) <= MOST_NAMED else f" and {len(apart) - MOST_NAMED} more"
        if named:
            yield (
                f"{first} and {second} differ by more than chance on other figures "
                f"(Holm's method over {len(figures)} of them): {', '.join(named)}{more}."
            )


def _not_shown(control: MethodRow) -> str:
    """What does not follow where this control of a method does as well."""
    if control.ablation:
        return "nothing that it gains is shown to come from the part left out"
    source = "its own context" if "context" in control.changed else "its labels"
    return f"what it gains over {BASE} is not shown to come from {source}"


def _not_better(found: Between, metric: str) -> str:
    ends = "" if found.versus.ci95 is None else f" [{found.versus.ci95[0]:+.3f}, {found.versus.ci95[1]:+.3f}]"
    told = f"{found.first} is not shown to be better on {metric} than {found.second}"
    return f"{told} ({found.versus.difference:+.3f}{ends})"


def _pairs(table: Table) -> Iterator[str]:
    """Which methods differ from each other."""
    pairs = [found for found in table.between if not found.own_control]
    if sum(row.in_family for row in table.rows) > MOST_METHODS:
        yield f"With more than {MOST_METHODS} methods, they are not tested against each other."
    if not pairs:
        return
    metric = table.setting.main_metric
    sign = -1 if metric in table.lower_is_better else 1
    apart = [found for found in pairs if found.p_holm is not None and found.p_holm < ALPHA]
    if not apart:
        one = f"{pairs[0].first} and {pairs[0].second} cannot"
        none = one if len(pairs) == 1 else f"None of the {len(pairs)} pairs of methods can"
        yield f"{none} be told apart on {metric}."
        return
    ordered = sorted(apart, key=lambda found: -abs(found.versus.difference))
    named = [_over(found, sign) for found in ordered[:MOST_NAMED]]
    more = "" if len(apart) <= MOST_NAMED else f" and {len(apart) - MOST_NAMED} more"
    open_ = [f"{found.first} and {found.second}" for found in pairs if found not in apart]
    rest = f"; not told apart: {', '.join(open_)}" if 0 < len(open_) <= MOST_NAMED else ""
    beyond = "by more than chance (paired, Holm's method over the pairs)"
    if len(pairs) == 1:
        yield f"{pairs[0].first} and {pairs[0].second} differ on {metric} by more than chance (paired): {named[0]}."
    else:
        count = f"{len(apart)} differ" if len(apart) > 1 else "1 differs"
        yield f"Of the {len(pairs)} pairs of methods, {count} on {metric} {beyond}: {', '.join(named)}{more}{rest}."
    yield from _lasting(ordered, sign)


def _lasting(apart: Sequence[Between], sign: int) -> Iterator[str]:
    """Which differences between methods reach beyond the draws that were seen."""
    known = [found for found in apart if found.new_draws_ci95 is not None]
    named = [_over(found, sign) for found in known if (ends := found.new_draws_ci95) and ends[0] * ends[1] > 0]
    more = "" if len(named) <= MOST_NAMED else f" and {len(named) - MOST_NAMED} more"
    interval = "95 % interval for new draws and questions (not adjusted over the pairs)"
    if named:
        yield f"The {interval} leaves out 0 for {', '.join(named[:MOST_NAMED])}{more}."
    elif known:
        yield f"For none of these differences the {interval} leaves out 0."


def _over(found: Between, sign: int) -> str:
    """The better of the two first."""
    difference = found.versus.difference
    better, other = (found.first, found.second) if sign * difference > 0 else (found.second, found.first)
    return f"{better} over {other} ({sign * abs(difference):+.3f})"


def _written(table: Table) -> Iterator[str]:
    """Of rows that are better, what they write beside what base writes: a gain says nothing of that."""
    for name in table.headline:
        for row in table.rows:
            versus = row.metrics[name].versus_base if name in row.metrics else None
            if row.verdict != "better" or versus is None or versus.p is None:
                continue
            told = "and chance may have made that" if versus.p >= ALPHA else "more than chance makes it"
            yield f"What {row.label} writes scores {versus.difference:+.3f} on {name} against {BASE}'s answers, {told}."


def _limit(table: Table) -> Iterator[str]:
    """The smallest difference; only where a row is tested."""
    if not table.family:
        return
    kind = "items that share their models" if table.setting.folds else "independent items"
    items = f"{table.n_units} {kind}"
    if table.mdd is None:
        yield f"No difference in {table.setting.main_metric}, however large, would have been seen reliably on {items}."
    else:
        yield (
            f"The smallest difference in {table.setting.main_metric} that it would have seen four times in five is "
            f"{table.mdd:.3f}, on {items}; a smaller difference may be there all the same."
        )


def _unfit(table: Table) -> Iterator[str]:
    for row in table.rows:
        for remark in row.remarks:
            if remark.startswith(UNFIT):
                advice = _advice(remark)
                yield f"{row.label}: {remark}. Such a run is no result of its method; to change that, {advice}."


def _draws(table: Table) -> Iterator[str]:
    rows = [row for row in table.rows if row.role in ("method", "control") and row.n_scored]
    draws = len(table.setting.draw_seeds)
    if rows and draws > 1:
        yield (
            f"Intervals and p are for new questions on these {draws} draws of the labels, not for new draws."
            f"{_between(rows, table.setting.main_metric)}"
        )
        yield from _new_draws(rows, table.setting.main_metric)
    if rows and draws == 1:
        seeds = max(row.n_scored for row in rows)
        and_seed = ", and one training seed nothing of other seeds" if seeds == 1 else ""
        yield f"All rows learnt from one draw of the labels: it says nothing of other draws{and_seed}."


def _new_draws(rows: Sequence[MethodRow], metric: str) -> Iterator[str]:
    """How far the methods' differences reach where the draws count as a sample, too."""
    known = [(row.label, row.new_draws_ci95) for row in rows if row.verdict is not None and row.new_draws_ci95]
    told = [f"[{ends[0]:+.3f}, {ends[1]:+.3f}] for {label}" for label, ends in known[:MOST_NAMED]]
    if told:
        others = "" if len(known) <= MOST_NAMED else f" and {len(known) - MOST_NAMED} more rows"
        yield (
            f"For new draws and questions, the 95 % interval of the difference in {metric} to {BASE} is "
            f"{', '.join(told)}{others}."
        )


def _between(rows: Sequence[MethodRow], metric: str) -> str:
    """The rows whose runs differ most from each other; degenerate runs are none of their method."""
    told_of = [row for row in rows if metric in row.metrics and not row.degenerate]
    spread = {row.label: row.metrics[metric].seed_sd or 0.0 for row in told_of}
    widest = [name for name in sorted(spread, key=lambda name: (-spread[name], name)) if spread[name] > 0][:MOST_SPREAD]
    told = ", ".join(f"{name} ({spread[name]:.3f})" for name in widest)
    return f" From run to run, {metric} varies most for {told}, by its standard deviation." if told else ""


def _shortcuts(table: Table) -> Iterator[str]:
    """What something that understands nothing tells apart, where that is nearly everything."""
    if table.setting.main_metric != GAINED:
        return
    shown = {name: table.notes.get(name, (0.0, 0.0))[1] for name in SHORTCUTS}
    told = [f"{SHORTCUTS[name]} ({share:.2f})" for name, share in shown.items() if share > EASY]
    if not told:
        return
    better = [row.label for row in table.rows if row.verdict == "better"]
    meaning = (
        f"{_few(better)} may have learnt that and nothing else"
        if better
        else "a method that learnt it would have been seen, so that more labels, steps or a higher rate come first"
    )
    advice = (
        "make both answers of a pair equally long, and read pref_gain_token"
        if shown["length_only"] > EASY
        else "look at the words that tell them apart, and collect pairs that differ in substance alone"
    )
    yield f"These pairs are told apart without reading, by {' and by '.join(told)}: {meaning}; to learn more, {advice}."


def _ends_of_the_scale(table: Table) -> Iterator[str]:
    """A base that is at an end of a headline metric's scale leaves no room on that side."""
    base = next((row for row in table.rows if row.role == "base"), None)
    names = [
        name for name in (table.setting.main_metric, *HEADLINE.get(table.setting.main_metric, ())) if name != GAINED
    ]
    for name in names if base else ():
        metric = base.metrics.get(name) if base else None
        values = [row.metrics[name].score.mean for row in table.rows if name in row.metrics]
        if metric is None or not all(0.0 <= value <= 1.0 for value in values):
            continue
        mean, falling = metric.score.mean, name in table.lower_is_better
        best, worst = ("floor", "ceiling") if falling else ("ceiling", "floor")
        room = mean if falling else 1.0 - mean
        if room <= END:
            yield (
                f"{BASE} has {mean:.3f} on {name}, the {best}: at most {room:.3f} is left to be gained here, so "
                "that no method can look good; take items that the base model fails on."
            )
        elif room >= 1.0 - END:
            yield (
                f"{BASE} has {mean:.3f} on {name}, the {worst}: nothing can be worse here, and a method that moves "
                "nothing looks like one that does harm; take easier items or a larger --model."
            )


def _ties(table: Table) -> Iterator[str]:
    """Rows on which every held-out pair is as it was under base."""
    if table.setting.main_metric != GAINED:
        return
    tied = [row.label for row in table.rows if row.role in ("method", "control") and _ties_everywhere(row)]
    if tied:
        yield (
            f"Every held-out pair ties under {_few(tied)}: the answers are as likely as under {BASE}, so that nothing "
            "was learnt that shows here; raise --budget or the learning rate, or see whether the adapter was trained."
        )


def _ties_everywhere(row: MethodRow) -> bool:
    """Whether no unit differs from base: then its test has no interval, however many units there are."""
    versus = _versus(row, GAINED)
    return versus is not None and versus.n_units > 1 and versus.difference == 0.0 and versus.ci95 is None


def _versus(row: MethodRow, metric: str) -> Versus | None:
    main = row.metrics.get(metric)
    return main.versus_base if main else None


def _rivals(table: Table) -> str:
    """What a method has to be told apart from."""
    return f"{BASE} and its own shuffled labels" if table.setting.null_by else BASE


def _named(row: MethodRow, metric: str) -> str:
    """A row with its difference to base, and to its control where it has one."""
    both = [versus.difference for versus in (_versus(row, metric), row.versus_control) if versus]
    return f"{row.label} ({' and '.join(f'{difference:+.3f}' for difference in both)})"


def _few(labels: Sequence[str]) -> str:
    """The names, or how many there are beyond three."""
    return ", ".join(labels) if len(labels) <= 3 else f"{len(labels)} methods"


def _advice(remark: str) -> str:
    return next((advice for part, advice in ADVICE if part in remark), OTHERWISE)
