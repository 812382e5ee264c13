"""Every field of a record: what is stated twice is compared, by name; what is not compared at all is listed here."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from harness.config import RunConfig
from harness.plugins.registry import load
from harness.records.provenance import digest
from harness.records.seals import write_sealed
from harness.records.verify import read_record
from harness.run import identity
from harness.stats import Estimate, mean_interval
from harness.util.hashes import file_hash
from leaderboards import validate
from leaderboards.alike import OUTPUTS
from leaderboards.load import Samples, read_samples
from leaderboards.origins import release_line
from leaderboards.twice import ABSENT, SECTIONS, STATED_TWICE, Twice, value_at
from leaderboards.validate import faults

pytestmark = pytest.mark.core
RECORDS = Path(__file__).parents[3] / "leaderboards/records"
Value = dict[str, Any]


def published(board: str, wanted: Callable[[Value], bool]) -> Path:
    """The first run of a board that is wanted."""
    return next(
        path.parent
        for path in sorted((RECORDS / board).glob("*/record.json"))
        if wanted(json.loads(path.read_text(encoding="utf-8")))
    )


REAL = {
    "pairs": published("care_protocol", lambda v: v["aligner"]["name"] == "dpo" and v["data"]["shuffled_labels"]),
    "groups": published("opinions", lambda v: v["aligner"]["name"] == "gpo_residual"),
    "base": published("opinions", lambda v: v["aligner"]["name"] == "base"),
}
"""Published runs: of pairs, of groups' opinions, and one that fits nothing."""


_ROWS: dict[str, Samples] = {}


def _rows(path: Path) -> Samples:
    key = file_hash(path)
    if key not in _ROWS:
        _ROWS[key] = read_samples(path)
    return _ROWS[key]


@functools.cache
def _interval(values: tuple[float, ...], units: tuple[str, ...]) -> Estimate:
    return mean_interval(values, units)


@pytest.fixture(autouse=True)
def _read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of changed records share the rows of a file and their intervals."""
    monkeypatch.setattr(validate, "read_samples", _rows)
    monkeypatch.setattr(validate, "mean_interval", lambda values, units: _interval(tuple(values), tuple(units)))


class Copy:
    """A run that is changed and sealed again, as often as a test likes."""

    def __init__(self, run: Path, place: Path) -> None:
        record = read_record(run)
        assert record is not None
        self.value: Value = record.model_dump(mode="json")  # with the fields that an older record lacks
        self.place = place
        (place / run.name).mkdir()
        shutil.copy(run / "samples.parquet", place / run.name)

    def decided(self, changes: Mapping[str, Any]) -> None:
        """Other facts, and the ids that follow from them: another run, which contradicts itself nowhere."""
        put(self.value, changes)
        decisive, before = self.value["manifest"]["decisive"], self.value["id"]
        self.value["id"], self.value["aligner"]["fit_id"] = digest(decisive, *SECTIONS), digest(decisive, "fit")
        if before != self.value["id"]:
            (self.place / before).rename(self.place / self.value["id"])
        assert self.faults() == []

    def faults(self, changes: Mapping[str, Any] | None = None) -> list[str]:
        value = copy.deepcopy(self.value)
        put(value, changes or {})
        write_sealed(self.place / self.value["id"] / "record.json", value)
        return faults(self.place / self.value["id"])


def put(value: Value, changes: Mapping[str, Any]) -> None:
    """Set what stands at dotted paths; a name that is not there is made."""
    for path, new in changes.items():
        *parents, last = path.split(".")
        place = value
        for name in parents:
            if place.get(name) is None:
                place[name] = {}
            place = place[name]
        place[last] = new


BUDGET = json.loads((REAL["pairs"] / "record.json").read_text(encoding="utf-8"))["budget"]


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    if isinstance(value, list):
        return [*value[1:], "another"] if value else ["another"]
    if isinstance(value, dict):
        return dict(zip(value, map(other, value.values()), strict=True)) if value else {"another": 1}
    return "another"


# ---------------------------------------------------------------- stated twice

FOLD = {
    "data.fold": {"index": 1, "of": 5},
    "manifest.decisive.fit.fold": [1, 5],
    "manifest.decisive.answers.fold": [1, 5],
    "manifest.settings.fold": 1,
    "manifest.settings.folds": 5,
}
JUDGED = {
    "task.judge": "local",
    "task.judge_version": "3",
    "task.baseline": "reference",
    "manifest.settings.judge": "local",
    "manifest.settings.baseline": "reference",
    "manifest.decisive.judgement": {
        "judge": {"name": "local", "version": "3", "from": "clinic 1.0"}, "baseline": "reference",
    },
    "manifest.plugins": {"judge:local": "clinic 1.0"},
}  # fmt: skip
FROM_A_FILE = {
    "aligner.name": OUTPUTS,
    "aligner.config": {"generator": "gpt", "file": "ab12"},
    "aligner.changed": {"generator": "gpt", "file": "ab12"},
    "outputs": {"generator": "gpt", "file": "answers.json", "sha256": "ab12cd"},
    "model.fit_backend": None,
    "manifest.decisive.fit.aligner": {"name": OUTPUTS, "version": "1", "from": "", "settings": {}},
    "manifest.decisive.answers.outputs": "ab12cd",
    "manifest.settings.outputs": "answers.json",
    "manifest.settings.aligner": OUTPUTS,
    "manifest.settings.aligner_config": {"generator": "gpt", "file": "ab12"},
}
SETTINGS = RunConfig(aligner="", task="").model_dump(mode="json", exclude={"store"})
NEWER = {
    "manifest.decisive.answers.task.generate": False,
    "manifest.decisive.fit.machine.processes": 1,
    **{f"manifest.settings.{name}": SETTINGS[name] for name in ("accelerate_config", "generate", "processes")},
}
"""Facts that the older of the published records lack."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "pairs": ("pairs", NEWER),
    "groups": ("groups", {}),
    "fold": ("pairs", FOLD),
    "judged": ("pairs", JUDGED),
    "file": ("pairs", FROM_A_FILE),
}


def variant(name: str, place: Path) -> Copy:
    kind, changes = VARIANTS[name]
    made = Copy(REAL[kind], place)
    value, facts = made.value, dict(changes)
    if name == "file":
        facts["aligner.version"], facts["manifest.decisive.fit.aligner.settings"] = "1", changes["aligner.config"]
        facts["manifest.plugins"] = {k: v for k, v in value["manifest"]["plugins"].items() if k[:8] != "aligner:"}
    if name == "judged":
        facts["manifest.plugins"] = {**value["manifest"]["plugins"], **changes["manifest.plugins"]}
    made.decided(facts)
    return made


HELD_BY = {"outputs": "file", "fold": "fold", "judge": "judged", "baseline": "judged"}
OF_GROUPS = ("groups", "ratings", "rating_ids", "auxiliary")


def fitting(one: Twice) -> str:
    """A variant that has something in both places."""
    both = f"{one.here} {one.there}"
    usual = "groups" if any(word in both for word in OF_GROUPS) else "pairs"
    return next((name for word, name in HELD_BY.items() if word in both), usual)


@pytest.mark.parametrize("one", STATED_TWICE, ids=lambda one: f"{one.here}={one.there}")
def test_what_is_stated_twice_is_refused_by_name_where_it_differs(one: Twice, tmp_path: Path) -> None:
    made = variant(fitting(one), tmp_path)
    facts = {**made.value, **made.value["manifest"]["decisive"]}
    assert value_at(facts, one.there) is not ABSENT
    stated = value_at(facts, one.here)
    assert stated is not ABSENT
    found = made.faults({one.here: OTHERS.get(one.here, other(stated))})
    assert any(text.startswith(f"{one.here} is ") and f", and {one.there} is " in text for text in found), found


OTHERS: dict[str, Any] = {
    "budget": {**BUDGET, "labels": 31},
    "budget.track": "parity",
    "data.dropped_leaks": ["a leak"],
    "data.fold": {"index": 2, "of": 5},
    "data.pair_ids": [],
    "data.prompt_ids": [],
    "data.rating_ids": {},
    "manifest.device": "NVIDIA H200",
    "manifest.python": "3.12.1",
    "manifest.settings.budget": {**BUDGET, "labels": 31},
    "manifest.settings.fast_paths": "off",
    "task.limit": 3,
}
"""Values where another one of the same kind would not do: lists of another length, choices among words."""


def test_a_search_fits_the_best_of_its_trials(tmp_path: Path) -> None:
    made = Copy(REAL["pairs"], tmp_path)
    settings = made.value["aligner"]["config"]
    trials = [{"config": settings, "score": 0.1}, {"config": {**settings, "beta": 0.5}, "score": 0.2}]
    tuned = {"tune": 2, "selection": "kfold"}
    budget = {**made.value["budget"], **tuned}
    made.decided(
        {
            "budget": budget,
            "manifest.decisive.fit.budget": {k: v for k, v in budget.items() if k != "profile"},
            "manifest.settings.budget": {k: v for k, v in budget.items() if k != "profile"},
            "aligner.trials": trials,
            "aligner.config": trials[1]["config"],
        }
    )
    assert "aligner.config is " in " ".join(made.faults({"aligner.config": settings}))


def test_a_fact_of_another_form_is_refused_and_nothing_breaks(tmp_path: Path) -> None:
    made = Copy(REAL["groups"], tmp_path)
    for path in ("answers.groups.asked", "fit.libraries", "fit.aligner.settings", "answers.fold", "fit.machine"):
        assert made.faults({f"manifest.decisive.{path}": 7})
    assert made.faults({"manifest.decisive.aligner": {"name": "mine"}}) == [], "a section that decides nothing"
    assert made.faults({"manifest.decisive.aligner": {"name": "mine"}, "aligner.name": "mine"})


# ---------------------------------------------------------------- every field

UNCHECKED = {
    "manifest.command": "how its process was started; how to make it again follows from the settings",
    "manifest.created": "when",
    "manifest.platform": "the machine's own word",
    "manifest.git_commit": "which code: its hashes are in the id, and follow from a checkout alone",
    "manifest.code_files": "the same",
    "manifest.code_url": "the same",
    "manifest.packages.*": "those that computed are in the id; these are listed for a reader",
    "manifest.also_read": "splits that only the evaluation read",
    "manifest.compared.*": "the answers of base; texts of answers are not published",
    "manifest.settings.accelerate_config": "its content is in the id, less the place of the file",
    "manifest.settings.data": "a folder may be a link to one of another name; the kind of source is checked",
    "manifest.settings.columns": "what they name was read, and is in the id by content",
    "manifest.settings.groups.*": "the same",
    "manifest.settings.model_revision": "the same",
    "manifest.settings.split_file": "the same",
    "model.parameters": "the weights are in the id by their hash",
    "model.engines.*": "only the run knows",
    "model.warnings": "only the run knows",
    "aligner.paper": "the installed method says it",
    "aligner.liveness*": "only the fit knows",
    "aligner.adapter_hash": "the adapter is not published",
    "aligner.parameter_change": "the adapter is not published",
    "aligner.without_effect": "texts of answers are not published",
    "data.pair_ids": "which labels: by content in the id, of which the texts are not published; how many is checked",
    "data.prompt_ids": "the same",
    "data.rating_ids.*": "the same; the groups are checked",
    "data.rows": "only whoever has the data knows",
    "data.dropped": "only whoever has the data knows",
    "data.dropped_held_out": "only whoever has the data knows",
    "data.clipped*": "only whoever has the data knows",
    "data.warnings": "only whoever has the data knows",
    "task.notes.*": "figures of the data",
    "task.main_metric": "the installed task says it; that rows have it is checked",
    "task.null_by": "the installed task says it",
    "task.lower_is_better": "the installed task says it",
    "task.relative_to_base": "the installed task says it",
    "scores.*.whole_*": "a figure of the whole set is no mean over rows",
    "spent.labels": "at most what was bought, and at least what was shown; what a method read of it only it knows",
    "spent.auxiliary_labels": "nothing without auxiliary groups",
    "spent.prompts": "at most what was drawn",
    "spent.*": "counted by the run; nothing is below nothing, and seconds add up",
}
"""Fields that a resealed record can hold anything in, and why. Whoever adds a field decides whether it is one."""
CHOICES: dict[str, Any] = {
    "status": "over_cap",
    "failure": {"reason": "x", "traceback": "x"},
    "outputs": {"generator": "g", "file": "f", "sha256": "0"},
    "data.fold": {"index": 0, "of": 5},
    "data.clipped": {"answers": 0.5},
    "task.null_by": "shuffled",
    "task.limit": 3,
    "aligner.trials": [{"config": {}, "score": 1.0}],
    "budget.cap_flops": 1e9,
    "budget.selection": "holdout25",
    "budget.track": "parity",
    "manifest.also_read": {"eval": {"hash": "0"}},
    "manifest.device": "NVIDIA H200",
    "manifest.python": "3.12.1",
}
"""A field's other value where `other` gives one that its type refuses."""
HASHED = "manifest.decisive"
"""What decides the outcome: one hash covers it, which is the run's id."""
Path_ = tuple[str, ...]


def fields(value: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Every leaf with the names that lead to it."""
    if isinstance(value, dict) and value and ".".join(path[:2]) != HASHED:
        for name, part in value.items():
            yield from fields(part, (*path, name))
    else:
        yield path, value


def changed(record: Value, path: Path_, value: Any) -> Value:
    """The record with another value in a field, one that the field's type allows."""
    dotted, scores = ".".join(path), record["scores"]
    new = CHOICES.get(dotted, other(value))
    if dotted == "task.main_metric":
        new = next(name for name in scores if name != value and not scores[name]["whole"])
    if dotted in ("spent.labels", "spent.prompts") and value:
        new = value - 1
    found = copy.deepcopy(record)
    place = found
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = new
    return found


def called(record: Value, path: Path_) -> str:
    """A field as the list calls it: what is of the whole set is told apart."""
    of_the_whole = path[0] == "scores" and path[-1] != "whole" and record["scores"][path[1]]["whole"]
    return f"scores.{path[1]}.whole_{path[-1]}" if of_the_whole else ".".join(path)


def unseen(kind: str, place: Path) -> Iterator[str]:
    """The fields of a published run in which a change is refused by nothing."""
    place.mkdir()
    made = Copy(REAL[kind], place)
    made.decided(NEWER)
    filled = made.value
    assert set(filled["manifest"]["settings"]) == set(SETTINGS)
    for path, value in fields(filled):
        made.value = changed(filled, path, value)
        if path not in (("id",), ("seal",)) and not made.faults():
            yield called(filled, path)


def test_every_field_is_checked_or_listed(tmp_path: Path) -> None:
    found = sorted({field for kind in REAL for field in unseen(kind, tmp_path / kind)})
    assert [field for field in found if not any(fnmatchcase(field, one) for one in UNCHECKED)] == []
    assert [one for one in UNCHECKED if not any(fnmatchcase(field, one) for field in found)] == [], (
        "checked, and listed"
    )


# ---------------------------------------------------------------- whose plug-ins


def test_a_plug_in_of_another_origin_is_refused(tmp_path: Path) -> None:
    made = Copy(REAL["pairs"], tmp_path)
    plugins = made.value["manifest"]["plugins"]
    for name in plugins:
        found = made.faults({"manifest.plugins": {**plugins, name: "evil 1.0"}})
        assert [text for text in found if text.startswith(f"{name} is of 'evil 1.0'")] or name[:6] == "model:", found
    without = {name: found for name, found in plugins.items() if name[:5] not in ("pool:", "backe")}
    assert len(made.faults({"manifest.plugins": without})) == 2


def test_a_judge_says_where_it_came_from(tmp_path: Path) -> None:
    made = variant("judged", tmp_path)
    without = {name: found for name, found in made.value["manifest"]["plugins"].items() if name[:6] != "judge:"}
    found = made.faults({"manifest.plugins": without})
    assert found == ["the manifest does not say which distribution judge local came from"]


def test_a_release_line_is_what_decides_an_outcome() -> None:
    registry = load(plugins=False)
    name = "align-harness 0.1.7"
    assert release_line(name) == identity._origin(
        dataclasses.replace(registry, provenance={"task:x": name}), "task", "x"
    )
    assert release_line("clinic 1.2.3") == "clinic 1.2.3"


ASKED_HERE = {
    "task.main_metric": "urgency_acc",
    "task.null_by": "shuffled",
    "task.lower_is_better": ["adherence"],
    "task.relative_to_base": ["adherence"],
    "aligner.changed": {"beta": 0.1},
    "aligner.paper": "1234.5678",
    "manifest.plugins.model:smollm2-135m-instruct": "evil 1.0",
}


@pytest.mark.parametrize("path", ASKED_HERE)
def test_what_only_the_plug_in_can_say_is_asked_where_it_is_installed(path: str, tmp_path: Path) -> None:
    made, registry = Copy(REAL["pairs"], tmp_path), load(plugins=False)
    folder = tmp_path / made.value["id"]
    assert made.faults() == faults(folder, installed=registry) == []
    made.faults({path: ASKED_HERE[path]})
    assert path.removeprefix("manifest.plugins.") in " ".join(faults(folder, installed=registry))


def test_that_less_is_better_may_have_been_declared_since_but_not_of_the_main_metric(tmp_path: Path) -> None:
    made, registry = Copy(REAL["pairs"], tmp_path), load(plugins=False)
    assert made.faults() == []
    for metric, known in (("truncated", True), ("adherence", False)):
        task = type("Later", (registry.task("care_protocol"),), {"lower_is_better": frozenset({metric})})
        installed = dataclasses.replace(registry, tasks={**registry.tasks, "care_protocol": task})
        assert (faults(tmp_path / made.value["id"], installed=installed) == []) == known


def test_another_release_of_a_plug_in_is_not_asked(tmp_path: Path) -> None:
    made = Copy(REAL["pairs"], tmp_path)
    plugins = made.value["manifest"]["plugins"]
    from_ = {f"manifest.decisive.{place}.from": "align-harness 0.0" for place in ("fit.aligner", "answers.task")}
    older = {f"{kind}:{made.value[kind]['name']}": "align-harness 0.0.9" for kind in ("aligner", "task")}
    packages = {**made.value["manifest"]["packages"]}
    del packages["align-harness"]
    made.decided({**from_, "manifest.plugins": {**plugins, **older}, "manifest.packages": packages})
    made.faults({"task.main_metric": "urgency_acc", "aligner.changed": {}})
    assert faults(tmp_path / made.value["id"], installed=load(plugins=False)) == []
