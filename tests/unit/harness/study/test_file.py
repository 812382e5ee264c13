"""A study file: short forms, overrides, refusals with the nearest name, and the cells that it means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.config import RunConfig
from harness.contracts import HarnessError
from harness.plugins.registry import Registry, load
from harness.study import Study, observers
from harness.study.file import Shared, StudyFile, read_study, schema, study_of
from harness.study.grid import expand
from harness.study.template import template

pytestmark = pytest.mark.core

ROOT = Path(__file__).resolve().parents[4]
SMALL = {"name": "small", "aligners": ["sft", "dpo"], "tasks": ["medqa"]}


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load(plugins=False)


def cells(registry: Registry, **changes: Any) -> list[tuple[Any, ...]]:
    made = expand(study_of({**SMALL, **changes}), registry)
    return [(c.method, c.config.task, c.config.budget.labels, c.config.draw_seed, c.config.seed) for c in made]


def test_the_cells_are_the_product_of_the_axes_and_a_draw_brings_its_seed(registry: Registry) -> None:
    found = cells(registry, draws=2, budgets=[8, 32])
    assert len(found) == 8
    assert found[:2] == [("sft", "medqa", 8, 0, 0), ("dpo", "medqa", 8, 0, 0)]
    assert {(draw, seed) for *_, draw, seed in found} == {(0, 0), (1, 1)}
    crossed = cells(registry, draws=2, seeds=3)
    assert {(draw, seed) for *_, draw, seed in crossed} == {(d, s) for d in (0, 1) for s in (0, 1, 2)}


def test_a_method_has_settings_and_may_be_its_own_control(registry: Registry) -> None:
    methods = ["spa", {"aligner": "dpo", "settings": {"beta": 0.3}}, {"aligner": "dpo", "shuffle_labels": True}]
    made = expand(study_of({**SMALL, "aligners": methods}), registry)
    assert [cell.method for cell in made] == ["selfie", "dpo [beta=0.3]", "dpo [labels=shuffled]"]
    assert made[1].config.aligner_config == {"beta": 0.3}
    assert [cell.config.shuffle_labels for cell in made] == [False, False, True]


def test_a_users_own_pairs_are_divided_as_run_divides_them(registry: Registry, tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n}?", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(30)]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    own = {"aligners": ["sft"], "tasks": ["preference"], "pools": ["pairs"], "shared": {"data": str(path)}}
    found = expand(study_of({**SMALL, **own}), registry)
    assert [(cell.config.folds, cell.config.fold) for cell in found] == [(5, fold) for fold in range(5)]
    assert [cell.axes["fold"] for cell in found] == list(range(5))
    assert found[1].words.endswith("draw 0, seed 0, fold 1")
    three = expand(study_of({**SMALL, **own, "folds": 3, "exclude": [{"fold": 2}]}), registry)
    assert [cell.config.fold for cell in three] == [0, 1]
    (once,) = expand(study_of({**SMALL, **own, "folds": 1}), registry)
    assert (once.config.fold, once.axes.get("fold")) == (None, None)
    with pytest.raises(HarnessError, match="--folds 3 is for your own pairs"):
        expand(study_of({**SMALL, "folds": 3}), registry)


def test_what_all_cells_share_is_every_setting_of_run_that_is_no_axis() -> None:
    axes = {"aligner", "aligner_config", "task", "train_on", "model", "budget", "seed", "draw_seed", "judge", "backend"}
    of_cells = axes | {"shuffle_labels", "folds", "fold", "store"}
    single = {"model_revision", "outputs", "profile"}  # of one model, of no model, of the command line
    assert set(Shared.model_fields) == set(RunConfig.model_fields) - of_cells - single


@pytest.mark.parametrize(("written", "meant"), [("off", "off"), ("on", "on"), ("auto", "auto"), ('"off"', "off")])
def test_fast_paths_and_checkpointing_of_a_file_reach_every_cell(
    registry: Registry, tmp_path: Path, written: str, meant: str
) -> None:
    """YAML reads the bare word `off` as false."""
    path = tmp_path / "study.yaml"
    shared = f"shared: {{fast_paths: {written}, gradient_checkpointing: true}}"
    path.write_text(f"name: small\naligners: [sft]\ntasks: [medqa]\n{shared}\n")
    for sets in ((), (f"shared.fast_paths={written}",)):
        (cell,) = expand(read_study(path, sets), registry)
        assert (cell.config.fast_paths, cell.config.gradient_checkpointing) == (meant, True)


def test_other_fast_paths_are_refused_and_the_schema_has_the_choices() -> None:
    with pytest.raises(HarnessError, match=r"shared\.fast_paths: expected one of 'auto', 'on', 'off', got 'of'.*'off'"):
        study_of({**SMALL, "shared": {"fast_paths": "of"}})
    with pytest.raises(HarnessError, match=r"shared\.gradient_checkpointing: expected bool"):
        study_of({**SMALL, "shared": {"gradient_checkpointing": "perhaps"}})
    shared = schema()["$defs"]["Shared"]["properties"]
    assert shared["fast_paths"]["enum"] == ["auto", "on", "off"]
    assert shared["gradient_checkpointing"]["type"] == "boolean"
    assert "# fast_paths: auto" in template("t", "t.yaml")
    assert "# gradient_checkpointing: false" in template("t", "t.yaml")


def test_five_budgets_keep_the_last_step_and_fewer_their_own(registry: Registry) -> None:
    def selections(*budgets: Any, **more: Any) -> set[str]:
        study = study_of({**SMALL, "budgets": list(budgets), **more})
        return {cell.config.budget.selection for cell in expand(study, registry)}

    assert selections(8, 32, 64, 128, 512) == {"last"}
    assert selections(8, 128) == {"last", "holdout25"}
    assert selections(8, 128, selection="last") == {"last"}


def test_exclude_leaves_combinations_out(registry: Registry) -> None:
    found = cells(registry, draws=2, exclude=[{"aligner": "sft", "draw": [1]}])
    assert ("sft", "medqa", 32, 1, 1) not in found
    assert len(found) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"aligner": ["sft"]}, "unknown key 'aligner'; did you mean 'aligners'"),
        ({"aligners": ["dpoo"]}, "did you mean 'dpo'"),
        ({"aligners": [{"aligner": "dpo", "settings": {"betta": 1}}]}, "did you mean 'beta'"),
        ({"aligners": [{"aligner": "dpo", "seting": {}}]}, "did you mean 'settings'"),
        ({"aligners": ["sft", "sft"]}, "aligners names .* twice"),
        ({"tasks": ["medqaa"]}, "did you mean 'medqa'"),
        ({"pools": ["medqaa"]}, "did you mean 'medqa'"),
        ({"backends": ["hff"]}, "did you mean 'hf'"),
        ({"budgets": ["eight"]}, "unknown budget"),
        ({"shared": {"limt": 3}}, "did you mean 'limit'"),
        ({"shared": {"lora": {"rr": 3}}}, "unknown key 'rr'"),
        ({"shared": {"data": "smaple"}}, "data 'smaple' is neither .* did you mean 'sample'"),
        ({"shared": {"data": "no/such/folder"}}, "data 'no/such/folder' is neither .* expected a folder"),
        ({"run": {"thread": 3}}, "did you mean 'threads'"),
        ({"draws": 0}, "1 to 1000"),
        ({"draws": [-1]}, "draws"),
        ({"tracks": ["label"]}, "did you mean 'labels'"),
        ({"tracks": ["labels+compute"]}, "a FLOP cap go together"),
        ({"exclude": [{"aligne": "sft"}]}, "did you mean 'aligner'"),
        ({"exclude": [{"aligner": "dpoo"}]}, "no cell has aligner 'dpoo'"),
        ({"exclude": [{"aligner": "sft"}, {"aligner": "dpo"}]}, "exclude leaves no cell"),
        ({"exclude": [{}]}, "matches no cell"),
        ({"name": "a/b"}, "name"),
        ({"limits": {"hours": -1}}, "hours"),
        ({"report": {"reference": "dpoo"}}, "report.reference: no cell has the method 'dpoo'; did you mean 'dpo'"),
        ({"report": {"target_labels": 64}}, "report.target_labels is 64, and dpo is to be run with 32 labels"),
        ({"prices": {"locl": 0.1}}, "judge 'locl' is not installed; did you mean 'local'"),
        ({"observe": ["tensorbord"]}, "observer 'tensorbord' is not installed; did you mean 'tensorboard'"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], said: str, registry: Registry) -> None:
    with pytest.raises(HarnessError, match=said):
        expand(study_of({**SMALL, **changes}), registry)


def test_a_tracker_needs_its_package_where_the_cells_are_computed(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known before anything is computed: each cell would fail."""
    monkeypatch.setattr(observers, "find_spec", lambda name: None)
    values = {**SMALL, "observe": ["trackio"]}
    with pytest.raises(HarnessError, match=r"pip install 'align-harness\[trackio\]'"):
        Study.of(values, registry).run()
    assert Study.of(values, registry).cells(), "it can be planned here for another machine"


def test_a_report_may_leave_its_reference_out_of_the_study(registry: Registry) -> None:
    """`dpo` is the default, and nobody has to run it."""
    assert expand(study_of({**SMALL, "aligners": ["sft"], "report": {"target_labels": 64}}), registry)
    several = {"budgets": [8, "max"], "report": {"target_labels": 64}}
    assert expand(study_of({**SMALL, **several}), registry), "max is known where the data are read"


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def test_options_come_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "name: s\naligners: [sft]\ntasks: medqa\nshared: {limit: 5}\n")
    sets = ["draws=3", "aligners=sft,dpo", "shared.limit=7", "shared.lengths.prompt=64", "run.workers=2", "store=here"]
    study = read_study(path, sets)
    assert study.draws == (0, 1, 2)
    assert [method.aligner for method in study.aligners] == ["sft", "dpo"]
    assert (study.shared.limit, study.shared.lengths.prompt, study.run.workers) == (7, 64, 2)
    assert study.folder == Path("here/.studies/s")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("draw=3", "did you mean 'draws'"),
        ("shared.limt=3", "did you mean 'limit'"),
        ("shared.limit=x", "shared.limit: expected int or null"),
        ("shared=3", "unknown key 'shared'"),
        ("draws", "--set takes key=value"),
    ],
)
def test_a_mistyped_option_is_named(text: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, "name: s\naligners: [sft]\ntasks: medqa\n")
    with pytest.raises(HarnessError, match=said):
        read_study(path, [text])


def test_the_template_is_a_study_also_with_every_comment_taken_off(tmp_path: Path, registry: Registry) -> None:
    text = template("mine", "mine.yaml")
    assert len(expand(read_study(written(tmp_path, text)), registry)) == 18
    keys = {line.split(":")[0].lstrip("# ").strip() for line in text.splitlines() if ":" in line}
    assert set(StudyFile.model_fields) <= keys


@pytest.mark.skipif(not (ROOT / "examples" / "studies").is_dir(), reason="a source distribution holds no examples")
@pytest.mark.parametrize("name", ["five-minutes", "evening", "gpu-node", "cluster"])
def test_the_examples_are_studies(name: str, registry: Registry) -> None:
    study = read_study(ROOT / "examples" / "studies" / f"{name}.yaml")
    assert study.name == name
    assert len(expand(study, registry)) > 2


@pytest.mark.skipif(not (ROOT / "examples" / "studies").is_dir(), reason="a source distribution holds no examples")
def test_ray_takes_the_file_of_a_cluster() -> None:
    util = pytest.importorskip("ray.autoscaler._private.util", reason="Ray is not installed")
    pytest.importorskip("jsonschema")
    text = (ROOT / "examples" / "studies" / "ray-cluster.yaml").read_text(encoding="utf-8")
    util.validate_config(util.fillout_defaults(yaml.safe_load(text)))


def test_the_schema_is_json_and_knows_short_forms() -> None:
    made = json.loads(json.dumps(schema()))
    assert made["additionalProperties"] is False
    draws = made["properties"]["draws"]["anyOf"]
    assert {"type": "integer", "minimum": 1} in draws
    assert {"type": "string"} in made["properties"]["aligners"]["anyOf"][0]["items"]["anyOf"]
