"""The length-controlled fit: the alpaca_eval package's own figures, no download, no file of its, and an interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from harness.contracts import HarnessError
from tasks.measures.length_control import LEAST, Comparisons, Gamed, length_controlled, read_gamed, require_package

GAMED_COLUMNS = ("index", "std_delta_len", "instruction_difficulty", "preference")


def drawn(n: int, seed: int, *, skill: float = -0.5, pull: float = 1.0, longer: float = 0.0) -> Comparisons:
    """Verdicts of a judge with a logit of `skill` at equal length and a pull of `pull` towards the longer answer."""
    rng = np.random.default_rng(seed)
    deltas = rng.normal(-longer, 400.0, n).round()
    chance = 1 / (1 + np.exp(-(skill - pull * np.tanh(deltas / deltas.std(ddof=1)))))
    sure = rng.beta(4 * chance, 4 * (1 - chance))
    return Comparisons(sure.tolist(), deltas.tolist(), range(n))


def rewritings(n: int, seed: int = 5) -> Gamed:
    """A concise and a verbose rewriting of the baseline for each of `n` instructions."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(-1, 1, n)
    length = np.concatenate([rng.normal(2, 0.5, n), rng.normal(-2, 0.5, n)])
    preference = 1 / (1 + np.exp(np.tanh(length) * 1.5))
    columns = ([*range(n)] * 2, length, [*difficulty] * 2, preference)
    return read_gamed([dict(zip(GAMED_COLUMNS, map(str, row), strict=True)) for row in zip(*columns, strict=True)])


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package's module of the fit."""
    from alpaca_eval.metrics import glm_winrate

    return glm_winrate


def annotations(comparisons: Comparisons) -> list[dict[str, Any]]:
    """What the package reads: answers whose lengths differ as they do in `comparisons`."""
    rows = zip(comparisons.preferences, comparisons.deltas, strict=True)
    return [
        {
            "preference": 1 + p,
            "output_1": "x" * (5000 + int(delta)),
            "output_2": "x" * 5000,
            "generator_1": "baseline",
            "generator_2": "model",
            "annotator": "judge",
        }
        for p, delta in rows
    ]


def files_of(module: ModuleType) -> dict[str, tuple[int, int]]:
    """Every file of the installed package but compiled code: size and time of change."""
    root = Path(str(module.__file__)).parent.parent
    found = (path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


@pytest.mark.parametrize("glm", ["length_controlled_v1", "length_controlled_minimal"])
def test_the_figure_is_the_packages(
    glm: str, package: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparisons, gamed = drawn(60, 1), rewritings(60)
    file = tmp_path / "df_gamed.csv"
    rows = zip(*(getattr(gamed, name) for name in GAMED_COLUMNS), strict=True)
    lines = [",".join(map(repr, row)) + ",False,any" for row in rows]
    file.write_text("\n".join([",".join([*GAMED_COLUMNS, "not_gamed_baseline", "model"]), *lines]))
    monkeypatch.setattr(package, "hf_hub_download", lambda **_: str(file))
    theirs = package.get_length_controlled_winrate(annotations(comparisons), glm_name=glm, save_weights_dir=None)
    ours = length_controlled(comparisons, gamed if glm == "length_controlled_v1" else None, resamples=0)
    assert ours is not None
    assert ours.value * 100 == pytest.approx(theirs["length_controlled_winrate"], abs=1e-9)
    assert ours.n == 60


def test_nothing_is_written_fetched_or_left_changed(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    import sklearn

    def refuse(**_: Any) -> str:
        raise AssertionError("a download")

    monkeypatch.setattr(package, "hf_hub_download", refuse)
    sklearn.set_config(enable_metadata_routing=False)
    before = files_of(package)
    length_controlled(drawn(30, 2), rewritings(30), resamples=2)
    length_controlled(drawn(30, 2), None, resamples=2)
    assert files_of(package) == before
    assert sklearn.get_config()["enable_metadata_routing"] is False


def test_length_is_taken_out() -> None:
    """Two judges of one skill, of which one is drawn to the longer answer, and answers that are longer."""
    fair, drawn_to = (drawn(300, 3, skill=0.0, pull=pull, longer=300.0) for pull in (0.0, 2.0))
    raw = [float(np.mean(found.preferences)) for found in (fair, drawn_to)]
    controlled = [length_controlled(found, None, resamples=0) for found in (fair, drawn_to)]
    assert raw[1] - raw[0] > 0.15
    assert [c.value for c in controlled if c] == pytest.approx([0.5, 0.5], abs=0.05)


def test_the_interval_is_as_wide_as_the_figure_varies() -> None:
    """Over 40 sets of instructions, the figure's spread; of one more, the bootstrap's."""
    figures = [length_controlled(drawn(100, seed), None, resamples=0) for seed in range(40)]
    spread = float(np.std([found.value for found in figures if found], ddof=1))
    found = length_controlled(drawn(100, 100), None, resamples=40)
    assert found is not None
    assert found.ci95 is not None
    low, high = found.ci95
    assert low <= found.value <= high
    assert 0.6 < (high - low) / (2 * 1.96 * spread) < 1.6


def test_the_same_rows_give_the_same_interval_and_another_seed_another() -> None:
    rows = drawn(20, 4)
    first, again, other = (length_controlled(rows, None, resamples=5, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_a_model_that_loses_or_wins_everything_keeps_its_side(p: float) -> None:
    rows = drawn(40, 6)
    found = length_controlled(Comparisons([p] * 40, rows.deltas, rows.positions), None, resamples=2)
    assert found is not None
    assert found.value == pytest.approx(p, abs=0.01)


def test_certain_verdicts_of_few_wins_are_not_turned_round() -> None:
    rows = drawn(40, 7)
    wins = [float(n in (3, 17)) for n in range(40)]
    found = length_controlled(Comparisons(wins, rows.deltas, rows.positions), None, resamples=20)
    assert found is not None
    assert found.ci95 is not None
    assert found.value < 0.15
    assert found.ci95[1] < 0.3


def test_the_baseline_against_itself_is_one_half() -> None:
    assert length_controlled(Comparisons([0.5] * 12, [0] * 12, range(12)), rewritings(12)).value == 0.5  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("preferences", "deltas"), [([0.2] * (LEAST - 1), [*range(LEAST - 1)]), ([0.2, 0.9] * 10, [7] * 20)]
)
def test_no_figure_where_the_rows_cannot_say(preferences: Sequence[float], deltas: Sequence[float]) -> None:
    assert length_controlled(Comparisons(preferences, deltas, range(len(deltas))), None) is None


def test_instructions_without_difficulty_are_named() -> None:
    with pytest.raises(HarnessError, match=r"no difficulty of instruction 10 \(2 are missing\)"):
        length_controlled(drawn(12, 8), rewritings(10))


def test_a_part_of_the_instructions_takes_its_part_of_the_rewritings() -> None:
    """Weighted as in the whole set: the rewritings of instructions that were not judged would outweigh the model."""
    part = drawn(30, 9)
    whole, own = rewritings(200), rewritings(200)
    kept = [n for n, index in enumerate(own.index) if index < 30]
    reduced = Gamed(*(tuple(getattr(own, name)[n] for n in kept) for name in GAMED_COLUMNS))
    assert length_controlled(part, whole, resamples=0) == length_controlled(part, reduced, resamples=0)


@pytest.mark.parametrize("broken", [{"index": "1"}, dict.fromkeys(GAMED_COLUMNS, "x")])
def test_a_broken_file_is_refused_by_row(broken: dict[str, str]) -> None:
    with pytest.raises(HarnessError, match="df_gamed row 2 is malformed"):
        read_gamed([dict.fromkeys(GAMED_COLUMNS, "1"), broken])


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "alpaca_eval.metrics", None)
    with pytest.raises(HarnessError, match="alpaca_eval package cannot be imported"):
        require_package()
