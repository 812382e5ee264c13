"""The search behind the default learning rates of the methods that learn from pairs; the page is written by it.

    python benchmarks/pilot_learning_rates.py run --method sft
    python benchmarks/pilot_learning_rates.py page

`run` takes up where it stopped: it asks the rule which cell (method, rate, draw) is wanted next, trains and measures
it, and appends one line to the results, until the rule has decided. A line that does not carry the seal of its inputs
(questions, answers, settings, budget, lengths, model) is not read. `page` writes the rule's table into
docs/log/learning-rates.md, where the rule stands in words.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from harness.contracts import Completion, FewShot, HarnessError, Lengths, Pair, Prompt, Regime, budget_for, user
from harness.util.hashes import content_hash

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "log" / "learning-rates.md"
RESULTS = ROOT / "benchmarks" / "learning_rates.jsonl"
BEGIN, END = "<!-- search: begin -->", "<!-- search: end -->"
MODEL = "smollm2-135m-instruct"
LENGTHS = Lengths(prompt=128, completion=80, new_tokens=64, sample_prompts=2)
LABELS = 32
SERIES = tuple(round(figure * 10.0**power, 9) for power in range(-7, 0) for figure in (1, 2, 5))
"""The rates that there are: neighbours are next to each other here."""
COARSE = (2e-4, 1e-3, 5e-3)
DRAWS = {"likelihood": (0, 1, 2), "contrast": (3, 4, 5)}
"""Draws 0 and 1 of `contrast` were run under the rule's first wording, which they led to amend: they decide nothing."""
FAMILY = {
    **dict.fromkeys(("sft", "orpo", "irpo"), "likelihood"),
    **dict.fromkeys(("dpo", "ipo", "simpo", "kto"), "contrast"),
}


# ---------------------------------------------------------------- the pool

LEVELS = ("emergency", "today", "this week", "self-care")
HELD_OUT = 24
"""Complaints of which one question each is held out; labels are of the other complaints."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """One complaint at one level: an argument for the level, things to watch for, and two patients' questions."""

    complaint: str
    level: str
    why: str
    watch: tuple[str, ...]
    questions: tuple[str, ...]


@cache
def complaints() -> tuple[tuple[Scenario, ...], ...]:
    """The complaints that care_protocol's pool is made from, four scenarios each, in an order by hash."""
    lines = (ROOT / "tools" / "care_protocol" / "pool.jsonl").read_text(encoding="utf-8").splitlines()
    rows = sorted(map(json.loads, lines), key=lambda row: content_hash("learning rates", row["complaint"]))
    return tuple(
        tuple(
            Scenario(row["complaint"], one["level"], one["why"], tuple(row["watch"]), tuple(one["questions"]))
            for one in row["scenarios"]
        )
        for row in rows
    )


def answer(why: str, watch: Sequence[str], level: str) -> str:
    """The form that is taught: an argument, one line of what to watch for, and the closing line."""
    return f"{why}\nWatch for {watch[0]} and {watch[1]}.\nFinal Answer: {level}"


def broken(why: str, watch: Sequence[str], level: str, way: int) -> str:
    """The same content in one of three wrong forms."""
    if way == 0:
        return f"Final Answer: {level}\nWatch for {watch[0]} and {watch[1]}.\n{why}"
    if way == 1:
        return f"{why}\n- {watch[0]}\n- {watch[1]}\nFinal Answer: {level}"
    return f"{why} Watch for {watch[0]} and {watch[1]}. In short, the answer is {level}."


def make_pair(group: Sequence[Scenario], level: str, which: int, *, wrong_level: bool) -> Pair:
    """A patient's question; rejected is the argument for another level in the same form, or the right one misshapen."""
    by_level = {one.level: one for one in group}
    scenario = by_level[level]
    question = scenario.questions[which]
    rng = random.Random(content_hash("learning rates", question))
    watch = rng.sample(scenario.watch, 2)
    other = by_level[rng.choice([name for name in LEVELS if name != level])]
    rejected = (
        answer(other.why, watch, other.level) if wrong_level else broken(scenario.why, watch, level, rng.randrange(3))
    )
    return Pair(content_hash(question)[:16], user(question), answer(scenario.why, watch, level), rejected)


def held_out() -> tuple[Pair, ...]:
    """One pair of each held-out complaint; levels, and what is wrong with the rejected answer, in equal parts."""
    return tuple(
        make_pair(group, LEVELS[place % 4], 0, wrong_level=place // 4 % 2 == 0)
        for place, group in enumerate(complaints()[:HELD_OUT])
    )


def labels(draw: int) -> tuple[Pair, ...]:
    """The 32 pairs of a draw, of 32 complaints, again in equal parts."""
    groups = random.Random(f"learning rates, draw {draw}").sample(complaints()[HELD_OUT:], LABELS)
    return tuple(
        make_pair(group, LEVELS[place % 4], draw % 2, wrong_level=place // 4 % 2 == 0)
        for place, group in enumerate(groups)
    )


# ---------------------------------------------------------------- what is measured

_CLOSING = re.compile(rf"Final Answer: (?:{'|'.join(LEVELS)})\.?")


def has_form(text: str) -> bool:
    """Three lines: an argument of four words or more, "Watch for ...", and the closing line with one of the levels."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != 3 or len(lines[0].split()) < 4 or "final answer" in lines[0].lower():
        return False
    return lines[1].startswith("Watch for ") and len(lines[1].split()) >= 3 and bool(_CLOSING.fullmatch(lines[2]))


def loops(text: str) -> bool:
    """Three words in a row come three times."""
    words = re.findall(r"\w+", text.lower())
    return any(count >= 3 for count in Counter(zip(words, words[1:], words[2:], strict=False)).values())


@dataclass(frozen=True, slots=True)
class Cell:
    """What a model that was trained by a method, at a rate, on a draw makes of each held-out question."""

    method: str
    rate: float
    draw: int
    form: tuple[float, ...]
    """1 where the greedy answer has the form of the chosen ones, ends by itself and does not loop."""
    accuracy: tuple[float, ...]
    """1 where the log-ratio to the base model is higher for chosen than for rejected, 0.5 where equal."""
    loss: tuple[float, ...]
    """Mean of -log p of the chosen answer's tokens, in nats."""


Found = Mapping[tuple[float, int], Cell]


# ---------------------------------------------------------------- the rule


def standard_error(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    """Of the mean difference of two tables (draws x questions): over questions or over draws, whichever is larger."""
    differences = [[a - b for a, b in zip(x, y, strict=True)] for x, y in zip(first, second, strict=True)]
    by_question = [fmean(values) for values in zip(*differences, strict=True)]
    by_draw = [fmean(values) for values in differences]
    return max(error_of_mean(by_question), error_of_mean(by_draw))


def error_of_mean(values: Sequence[float]) -> float:
    return stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0


def table(found: Found, rate: float, draws: Sequence[int], name: str) -> list[Sequence[float]]:
    return [getattr(found[rate, draw], name) for draw in draws]


def mean(found: Found, rate: float, draws: Sequence[int], name: str) -> float:
    return fmean(map(fmean, table(found, rate, draws, name)))


def level_with_best(
    found: Found, rates: Iterable[float], draws: Sequence[int], name: str, errors: float
) -> list[float]:
    """The rates within so many standard errors of the one with the highest mean."""
    rates = sorted(rates)
    best = max(rates, key=lambda rate: mean(found, rate, draws, name))
    top, at_best = mean(found, best, draws, name), table(found, best, draws, name)
    return [
        rate
        for rate in rates
        if top - mean(found, rate, draws, name)
        <= errors * standard_error(at_best, table(found, rate, draws, name)) + 1e-12
    ]


def choose(found: Found, rates: Iterable[float], draws: Sequence[int], base: Sequence[float]) -> float:
    """Written answers, then accuracy, then the lowest loss, which must not be above base's."""
    left = level_with_best(found, rates, draws, "form", 1)
    left = level_with_best(found, left, draws, "accuracy", 1)
    return min(unharmed(found, left, draws, base) or left, key=lambda rate: (mean(found, rate, draws, "loss"), rate))


def unharmed(found: Found, rates: Iterable[float], draws: Sequence[int], base: Sequence[float]) -> list[float]:
    """The rates whose held-out loss of chosen answers is not above base's by more than a standard error."""
    at_base = [base for _ in draws]
    return [
        rate
        for rate in rates
        if mean(found, rate, draws, "loss") - fmean(base) <= standard_error(table(found, rate, draws, "loss"), at_base)
    ]


def neighbours(rate: float) -> tuple[float, float]:
    place = SERIES.index(rate)
    return SERIES[place - 1], SERIES[place + 1]


def wanted(found: Found, draws: Sequence[int], base: Sequence[float]) -> list[tuple[float, int]]:
    """The next cells that the rule needs; empty once it has decided.

    The first draw of the coarse rates, then of the neighbours of the best of them until the best has both; then the
    other draws of the best and its neighbours, until the best of those with all draws has all draws of both neighbours.
    """
    first = draws[:1]
    if missing := [(rate, first[0]) for rate in COARSE if (rate, first[0]) not in found]:
        return missing
    tried = sorted({rate for rate, draw in found if draw == first[0]})
    best = choose(found, tried, first, base)
    if missing := [(rate, first[0]) for rate in neighbours(best) if (rate, first[0]) not in found]:
        return missing
    kept = sorted({best, *neighbours(best), *complete(found, draws)})
    if missing := [(rate, draw) for draw in draws for rate in kept if (rate, draw) not in found]:
        return missing
    best = choose(found, complete(found, draws), draws, base)
    return [(rate, draw) for draw in draws for rate in neighbours(best) if (rate, draw) not in found]


def complete(found: Found, draws: Sequence[int]) -> list[float]:
    """The rates that every draw was run at."""
    return sorted({rate for rate, _ in found if all((rate, draw) in found for draw in draws)})


# ---------------------------------------------------------------- running a cell


def regime() -> Regime:
    return Regime(budget_for(LABELS).model_copy(update={"selection": "last"}), LENGTHS, "cpu", "fp32")


@cache
def registry() -> Any:
    from harness.plugins.registry import load as load_registry

    return load_registry(plugins=False)


def configured(method: str, rate: float) -> Any:
    """The aligner with this learning rate and its defaults."""
    kind = registry().aligner(method)
    return kind(kind.Config.model_validate({"learning_rate": rate}))


def seal(method: str, rate: float, draw: int) -> str:
    """Hash of all that a cell follows from, but for the program."""
    from harness.config import Lora

    settings = {} if method == "base" else configured(method, rate).config
    pairs = () if method == "base" else labels(draw)
    return content_hash("learning rates 1", method, settings, draw, pairs, held_out(), regime(), Lora(), MODEL)


def make_bench(folder: Path, seed: int) -> Any:
    from harness.config import Lora
    from harness.fit.bench import LocalBench
    from harness.meter import Meter
    from harness.models.find import resolve
    from harness.models.load import load

    files = resolve(MODEL, registry_models=registry().models)
    model, tokenizer = load(files, device="cpu", precision="fp32")
    return LocalBench.create(
        model, tokenizer, regime=regime(), meter=Meter(), seed=seed, workdir=folder, lora=Lora(), checkpoint_steps=1000
    )


def run_cell(method: str, rate: float, draw: int, base: Mapping[str, Any]) -> dict[str, Any]:
    """Train (`base`: do not) and measure; a line of the results."""
    from harness.fit.fitting import fit

    started = time.process_time()
    line: dict[str, Any] = {"method": method, "rate": rate, "draw": draw, "seal": seal(method, rate, draw)}
    with tempfile.TemporaryDirectory() as folder:
        bench = make_bench(Path(folder), draw)
        if method != "base":
            aligner = configured(method, rate)
            line["version"] = aligner.version
            fit(aligner, bench, FewShot(labels(draw), prompts(draw)))
        line |= measure(bench, base)
    return line | {"cpu_seconds": round(time.process_time() - started)}


def prompts(draw: int) -> tuple[Prompt, ...]:
    """Unlabelled questions, for whoever takes them: those of the labelled scenarios' other patients."""
    return tuple(Prompt(f"u{pair.id}", pair.prompt) for pair in labels(draw + 1))


def measure(bench: Any, base: Mapping[str, Any]) -> dict[str, Any]:
    """Written answers, log-ratios and losses on the held-out questions."""
    pairs = held_out()
    asked = [pair.prompt for pair in pairs]
    written: list[Completion] = [group[0] for group in bench.generate(asked, temperature=0.0, seed=0)]
    scored = bench.score(asked, [(pair.chosen, pair.rejected) for pair in pairs])
    sums = [[float(one.total) for one in both] for both in scored]
    before = base.get("sums", sums)
    margins = [(a - b) - (x - y) for (a, b), (x, y) in zip(sums, before, strict=True)]
    shaped = [has_form(one.text) and one.finish == "stop" and not loops(one.text) for one in written]
    return {
        "form": [float(value) for value in shaped],
        "accuracy": [0.5 if margin == 0 else float(margin > 0) for margin in margins],
        "loss": [round(-both[0].total / both[0].logprobs.size, 5) for both in scored],
        "sums": [[round(value, 4) for value in both] for both in sums],
        "looping": fmean(loops(one.text) for one in written),
        "cut off": fmean(one.finish != "stop" for one in written),
        "answers": [one.text for one in written[:3]],
    }


# ---------------------------------------------------------------- results and page


def read(results: Path) -> list[dict[str, Any]]:
    """The lines whose seal is that of the present inputs."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    rows = [json.loads(line) for line in lines if line.strip()]
    return [row for row in rows if row["seal"] == seal(row["method"], row["rate"], row["draw"])]


def cells(rows: Iterable[Mapping[str, Any]], method: str) -> dict[tuple[float, int], Cell]:
    names = ("form", "accuracy", "loss")
    return {
        (row["rate"], row["draw"]): Cell(method, row["rate"], row["draw"], *(tuple(row[name]) for name in names))
        for row in rows
        if row["method"] == method
    }


def base_row(rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((row for row in rows if row["method"] == "base"), {})


def append(results: Path, row: Mapping[str, Any]) -> None:
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    shares = "  ".join(f"{name} {fmean(row[name]):.3f}" for name in ("form", "accuracy", "loss"))
    print(f"{row['method']} {row['rate']:.0e} draw {row['draw']}  {shares}", flush=True)


def search(method: str, results: Path, limit: int) -> None:
    """Run what the rule wants, at most `limit` cells."""
    if not base_row(read(results)):
        append(results, run_cell("base", 0.0, 0, {}))
    for _ in range(limit):
        rows = read(results)
        base = base_row(rows)
        missing = wanted(cells(rows, method), DRAWS[FAMILY[method]], base["loss"])
        if not missing:
            return
        append(results, run_cell(method, *missing[0], base))


def page_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Every cell that was run, a row a rate, and what the rule says of each method."""
    base = base_row(rows)
    if not base:
        return "No cell has been run yet."
    head = "| method | rate | draws | form | accuracy | loss | looping | cut off |\n|---|---|---|---|---|---|---|---|"
    lines = [head, _line("base", "", "", [base])]
    said: list[str] = []
    for method in (name for name in FAMILY if any(row["method"] == name for row in rows)):
        found, mine = cells(rows, method), [row for row in rows if row["method"] == method]
        draws = DRAWS[FAMILY[method]]
        decided = not wanted(found, draws, base["loss"])
        best = choose(found, rates, draws, base["loss"]) if (rates := complete(found, draws)) else None
        for counts, rate in sorted({(row["draw"] in draws, row["rate"]) for row in mine}):
            at_rate = [row for row in mine if row["rate"] == rate and (row["draw"] in draws) == counts]
            mark = "**" if decided and counts and rate == best else ""
            numbers = ", ".join(str(draw) for draw in sorted(row["draw"] for row in at_rate))
            shown = numbers if counts else f"({numbers})"
            lines.append(_line(method, f"{mark}{_short(rate)}{mark}", shown, at_rate))
        said.append(_verdict(method, found, draws, base["loss"], decided=decided, best=best))
    return "\n".join([*lines, "", *said])


def _line(method: str, rate: str, draws: str, rows: Sequence[Mapping[str, Any]]) -> str:
    means = [fmean(fmean(row[name]) for row in rows) for name in ("form", "accuracy", "loss")]
    more = [fmean(row[name] for row in rows) for name in ("looping", "cut off")]
    return f"| {method} | {rate} | {draws} | " + " | ".join(f"{value:.3f}" for value in (*means, *more)) + " |"


def _verdict(
    method: str, found: Found, draws: Sequence[int], base: Sequence[float], *, decided: bool, best: float | None
) -> str:
    if not decided or best is None:
        return f"- `{method}`: not decided yet."
    harm = "" if unharmed(found, [best], draws, base) else "; its loss is above base's, as that of all that were level"
    return f"- `{method}`: {_short(best)}{harm}."


def _short(rate: float) -> str:
    mantissa, exponent = f"{rate:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def with_table(page: str, written: str) -> str:
    """The page with the table between its marks replaced. Raises HarnessError where the marks are missing."""
    if BEGIN not in page or END not in page:
        raise HarnessError(f"the page of learning rates has no marks {BEGIN} and {END} around its table")
    before, after = page.split(BEGIN, maxsplit=1)[0], page.split(END)[1]
    return f"{before}{BEGIN}\n{written}\n{END}{after}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=("run", "page"))
    parser.add_argument("--method", choices=FAMILY, default="sft")
    parser.add_argument("--results", type=Path, default=RESULTS, help="lines of finished cells (%(default)s)")
    parser.add_argument("--limit", type=int, default=1000, help="cells to run at most")
    options = parser.parse_args()
    if options.command == "page":
        written = with_table(PAGE.read_text(encoding="utf-8"), page_table(read(options.results)))
        PAGE.write_text(written, encoding="utf-8")
        return
    import torch

    from harness.run.plan import thread_count

    torch.set_num_threads(thread_count())
    search(options.method, options.results, options.limit)


if __name__ == "__main__":
    main()
