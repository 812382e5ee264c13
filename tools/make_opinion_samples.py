"""Make the shipped samples of `opinionqa` and `global_opinions`: opinions of invented groups on original questions.

    python tools/make_opinion_samples.py            # writes tasks/samples/{opinionqa,global_opinions}/pool.jsonl

Nobody was asked anything: the opinions are drawn, and say nothing about people. The same bytes come out each time.

Every group has a profile z on four axes (normal draws, centred and scaled over the groups). A question's loadings a
were written by hand, from its meaning: `opinion_questions/*.jsonl`. For an answer o of question q in group g

    P(o) = softmax(base_qo + STRENGTH x_qo . z_g + noise_gqo)

with x_qo = t_o a_q on a scale, whose options have places t from 1 to -1, and UNORDERED times the option's own loadings
where options have no order. On a scale base_qo = t_o (lean_q + surprise_q) + MIDDLE (1 - |t_o|) and
noise_gqo = t_o noise_gq; else base and noise are drawn for each option. (Anderson 1984, the stereotype model, and the
multinomial logit.) A few respondents of each group give no opinion where a scale allows for it. A group's distribution
is that of 150 to 400 respondents drawn from P, as shares with four digits.

Whether a scale is listed from its most to its least end or the other way round is chosen question by question, so that
loadings and leans sum to about 0 along the list: the place of an option then tells nothing about what it means.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.util.files import write_atomic
from tasks.datasets.opinions import lettered

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parent / "tasks" / "samples"
SEED = "invented groups 1"
STRENGTH = 0.28
"""Logits for a loading of 1 and a profile of 1 at the end of a scale."""
UNORDERED = 2.0
"""How many times as much a loading counts where options have no order and each is one among three or four."""
SURPRISE = 0.9
"""Spread of what all groups think of a question beyond its hand-written lean."""
NOISE = 0.2
"""Spread of what a group thinks of a question beyond its profile."""
MIDDLE = 0.4
"""Logits by which the middle of a scale is likelier than its ends."""
RESPONDENTS = (150, 400)
UNDECIDED = (0.02, 0.1)
WAVES = 4

SCALES: Mapping[str, tuple[tuple[str, ...], str | None]] = {
    "trust": (("A great deal", "A fair amount", "Not too much", "Not at all"), None),
    "worried": (("Very worried", "Somewhat worried", "Not too worried", "Not at all worried"), None),
    "often": (("Very often", "Sometimes", "Rarely", "Never"), None),
    "agree": (("Strongly agree", "Agree", "Disagree", "Strongly disagree"), None),
    "favour": (("Strongly favor", "Somewhat favor", "Somewhat oppose", "Strongly oppose"), "Not sure"),
    "good": (("A good thing", "Neither a good nor a bad thing", "A bad thing"), "Not sure"),
    "likely": (("Very likely", "Somewhat likely", "Not too likely", "Not at all likely"), None),
    "accept": (("Acceptable", "Not acceptable"), "Not sure"),
    "important": (("Very important", "Somewhat important", "Not important"), None),
    "comfortable": (("Very comfortable", "Somewhat comfortable", "Not comfortable"), None),
    "problem": (("A very big problem", "A fairly big problem", "A small problem", "No problem at all"), "No answer"),
    "confidence": (("A great deal", "Quite a lot", "Not very much", "None at all"), "No answer"),
}
"""Options from the most to the least end, and the one for those without an opinion."""


@dataclass(frozen=True)
class Survey:
    """What is asked of whom."""

    name: str
    axes: tuple[str, ...]
    groups: tuple[str, ...]
    waves: bool
    """Whether each group was asked three of four parts of the questions only."""


SURVEYS = (
    Survey(
        "opinionqa",
        ("trust", "novelty", "sharing", "caution"),
        (
            *(f"TOWN_{name}" for name in ("Harrowmouth", "Dunnock Ferry", "Siskin Hill", "Osterwick")),
            *(f"GUILD_{name}" for name in ("Saltkeepers", "Lampwrights", "Netmenders", "Hedgers")),
            *(f"PARTY_{name}" for name in ("Lantern", "Plover", "Heron", "Anchor")),
        ),
        waves=False,
    ),
    Survey(
        "global_opinions",
        ("open", "nature", "custom", "provision"),
        (
            *("Belmora", "Castrine", "Dovany", "Ellumar", "Fennoria", "Galdovia", "Harune", "Istrava"),
            *("Jorvania", "Kelmarine", "Lusendra", "Morvane", "Nethria", "Orsolia", "Pellandor", "Quorina"),
        ),
        waves=True,
    ),
)


@dataclass(frozen=True)
class Asked:
    """A question as it is listed; `loadings` and `base` have one entry for each option that is an opinion."""

    text: str
    options: tuple[str, ...]
    loadings: tuple[tuple[float, ...], ...]
    base: tuple[float, ...]
    places: tuple[float, ...] | None
    """Of a scale, from 1 to -1 or the reverse."""

    @property
    def undecided(self) -> bool:
        """Whether the last option is for those without an opinion."""
        return len(self.options) > len(self.base)


def questions(survey: Survey) -> list[Asked]:
    """Every question of a survey, in the order of its file."""
    lines = (HERE / "opinion_questions" / f"{survey.name}.jsonl").read_text("utf-8").splitlines()
    running = [0.0] * (len(survey.axes) + 1)
    found = []
    for row in map(json.loads, lines):
        rng = random.Random(f"{SEED} {survey.name} {row['question']}")
        found.append(on_scale(row, survey.axes, rng, running) if "scale" in row else unordered(row, survey.axes, rng))
    return found


def on_scale(row: Mapping[str, Any], axes: Sequence[str], rng: random.Random, running: list[float]) -> Asked:
    """A question with a scale; `running` is the sum of loadings and leans along the list so far, and goes on."""
    labels, undecided = SCALES[row["scale"]]
    loading = [row["axes"].get(axis, 0.0) for axis in axes]
    lean = row["lean"] + rng.gauss(0, SURPRISE)
    along = [*loading, lean]
    sign = -1 if sum(r * a for r, a in zip(running, along, strict=True)) > 0 else 1
    running[:] = [r + sign * a for r, a in zip(running, along, strict=True)]
    last = len(labels) - 1
    places = [1 - 2 * index / last for index in range(len(labels))]
    listed = sorted(zip(places, labels, strict=True), key=lambda entry: -sign * entry[0])
    return Asked(
        row["question"],
        tuple(label for _, label in listed) + ((undecided,) if undecided else ()),
        tuple(tuple(t * a for a in loading) for t, _ in listed),
        tuple(t * lean + MIDDLE * (1 - abs(t)) for t, _ in listed),
        tuple(t for t, _ in listed),
    )


def unordered(row: Mapping[str, Any], axes: Sequence[str], rng: random.Random) -> Asked:
    """A question whose options have no order; they are listed in a drawn one."""
    options = rng.sample(row["options"], len(row["options"]))
    loadings = tuple(tuple(UNORDERED * option["axes"].get(axis, 0.0) for axis in axes) for option in options)
    base = tuple(rng.gauss(0, SURPRISE) for _ in options)
    return Asked(row["question"], tuple(option["text"] for option in options), loadings, base, None)


def profiles(survey: Survey) -> dict[str, tuple[float, ...]]:
    """Each group's place on the axes; mean 0 and variance 1 over the groups on every axis."""
    rng = random.Random(f"{SEED} {survey.name} profiles")
    columns = [[rng.gauss(0, 1) for _ in survey.groups] for _ in survey.axes]
    scaled = []
    for column in columns:
        mean = math.fsum(column) / len(column)
        spread = math.sqrt(math.fsum((v - mean) ** 2 for v in column) / len(column))
        scaled.append([(v - mean) / spread for v in column])
    return dict(zip(survey.groups, zip(*scaled, strict=True), strict=True))


def probabilities(asked: Asked, profile: Sequence[float], rng: random.Random) -> list[float]:
    """P of every option, the one for the undecided included."""
    noise = rng.gauss(0, NOISE)
    extra = [t * noise for t in asked.places] if asked.places else [rng.gauss(0, NOISE) for _ in asked.base]
    logits = [
        b + STRENGTH * math.fsum(x * z for x, z in zip(loading, profile, strict=True)) + e
        for b, loading, e in zip(asked.base, asked.loadings, extra, strict=True)
    ]
    weights = [math.exp(logit) for logit in logits]
    undecided = rng.uniform(*UNDECIDED) if asked.undecided else 0.0
    shares = [(1 - undecided) * weight / math.fsum(weights) for weight in weights]
    return [*shares, undecided] if asked.undecided else shares


def answers(shares: Sequence[float], respondents: int, rng: random.Random) -> list[float]:
    """The shares of so many drawn answers, four digits each."""
    drawn = rng.choices(range(len(shares)), weights=shares, k=respondents)
    return [round(drawn.count(option) / respondents, 4) for option in range(len(shares))]


def rows(survey: Survey) -> list[dict[str, Any]]:
    """The rows of a sample, in the layout of the public folder: group by group, question by question."""
    asked, found = questions(survey), []
    for number, (group, profile) in enumerate(profiles(survey).items()):
        respondents = random.Random(f"{SEED} {survey.name} {group}").randint(*RESPONDENTS)
        for index, question in enumerate(asked):
            if survey.waves and index % WAVES == number % WAVES:
                continue
            rng = random.Random(f"{SEED} {survey.name} {group} {question.text}")
            shares = answers(probabilities(question, profile, rng), respondents, rng)
            found.append(
                {
                    "question": lettered(question.text, question.options),
                    "options": list(question.options),
                    "attribute": group,
                    "gold_distribution": shares,
                }
            )
    return found


def rendered(survey: Survey) -> str:
    """The sample's file."""
    return "".join(json.dumps(row) + "\n" for row in rows(survey))


def main() -> None:
    """Write both samples."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=SAMPLES, help="folder of the samples")
    out = parser.parse_args().out
    for survey in SURVEYS:
        path = out / survey.name / "pool.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = rendered(survey)
        write_atomic(path, content.encode())
        path.chmod(0o644)
        print(f"{path}: {len(content.splitlines())} rows")


if __name__ == "__main__":
    main()
