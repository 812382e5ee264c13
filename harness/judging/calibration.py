"""How far a judge agrees with people, as `judge check` measured it: the file, and reading it back.

<store>/judges/<judge>/<set>.json            a judge that needs no model of the study's
<store>/judges/<judge>/<set>@<model>.json    one that judges with the study's model
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from harness.contracts import HarnessError
from harness.records.schema import Score
from harness.util.files import write_atomic
from harness.util.own_json import modelled, other_format

FORMAT = 1
REMEDY = "measure again with: harness judge check"


FOLDER = "judges"


NULL_WINS = "null model wins"
"""The fault of a judge that prefers a constant answer to the better answers of people."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figures(_Frozen):
    """What was measured. A share is None where nothing could be counted; `n` of each is independent units.

    A verdict is for the answer with P above 0.5; at 0.5 it is a tie. Only verdicts with status `ok` are counted.
    """

    pairs: int
    answered: int
    """Pairs with a verdict."""
    statuses: dict[str, int] = Field(default_factory=dict)
    """Why there is no verdict -> number of pairs."""
    agreement: Score | None = None
    """On pairs that people did not call a tie: 1 for their answer, 0.5 for a tie, 0 for the other."""
    agreement_with_ties: Score | None = None
    """Three classes, all pairs: 1 for the same answer, or for a tie where people saw one; None where they never did."""
    agreement_by_order: tuple[Score, ...] = ()
    """`agreement` of each order by itself, first answer first and second answer first, for a judge that shows both."""
    first_position: Score | None = None
    """Share of single-order verdicts for the answer that stood first, ties half; 0.5 is no bias."""
    flips: Score | None = None
    """Share of pairs whose verdict changes when the answers change places."""
    shift: float | None = None
    """Mean absolute change of P(a better) when the answers change places."""
    longer: Score | None = None
    """Share of verdicts for the answer with more characters, ties half, where people saw no tie."""
    longer_people: Score | None = None
    """The same of people's own verdicts on these pairs."""
    ties: Score | None = None
    consistency: Score | None = None
    """Share of equal verdicts in a second run, from an empty cache and in reverse order."""
    consistency_shift: float | None = None
    """Largest absolute change of P(a better) between the two runs."""
    null_win_rate: Score | None = None
    """How often a constant answer wins against the answer that people prefer, ties half."""
    tokens: int = 0
    """Of the verdicts on all pairs, once."""
    cost: float = 0.0
    """US dollars, of the same."""
    seconds: float = 0.0
    """Wall clock of the same."""


class Calibration(_Frozen):
    """One judge on one set of labelled pairs."""

    format: int = FORMAT
    judge: str
    judge_version: str
    model: str | None
    """The study's model, where the judge asked for it; None for a judge that does not depend on it."""
    set: str
    labelled_by: str
    """Who preferred the better answers."""
    source: str
    revision: str
    """Hash of the pairs and their labels."""
    limit: int | None
    figures: Figures
    fails: tuple[str, ...] = ()
    created: str
    packages: dict[str, str]
    python: str
    platform: str
    git_commit: str | None
    git_dirty: bool | None

    def applies(self, judge: str, model: str) -> bool:
        """Whether this was measured on what a record calls `judge`, in a study of `model`."""
        return self.judge == judge and self.model in (None, model)


def file_of(store: Path, calibration: Calibration) -> Path:
    """Where a calibration lies; names that are no file names are percent-encoded."""
    model = "" if calibration.model is None else f"@{calibration.model}"
    return store / FOLDER / quote(calibration.judge, safe=":") / f"{quote(calibration.set + model, safe='@:')}.json"


def save(store: Path, calibration: Calibration) -> Path:
    """Write a calibration whole or not at all, in the place of an older one; returns its path."""
    path = file_of(store, calibration)
    write_atomic(path, (calibration.model_dump_json(indent=1) + "\n").encode())
    return path


def load(store: Path) -> Iterator[Calibration]:
    """Every calibration below a store, by judge and set. Raises HarnessError naming a file that cannot be read."""
    for path in sorted((store / FOLDER).glob("*/[!.]*.json")):
        yield _read(path)


def _read(path: Path) -> Calibration:
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise HarnessError(f"{path} is not valid JSON ({error}); {REMEDY}") from error
    if isinstance(value, dict) and value.get("format") != FORMAT:
        raise other_format(str(path), value.get("format"), FORMAT, REMEDY)
    return modelled(Calibration, value, str(path), REMEDY)
