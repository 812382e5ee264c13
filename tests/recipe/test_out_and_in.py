"""How runs leave and come in: exports that other tools read, cards, imports that are checked, settings, `--force`."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.records.seals import write_sealed
from harness.records.store import Store
from tests.recipe.conftest import Looked, asked_again, contradictions
from tests.recipe.test_looking import as_json, call

pytestmark = pytest.mark.recipe


def export(looked: Looked, form: str, out: Path) -> int:
    return call("export", looked.sft.id, "--as", form, "--out", str(out), "--store", str(looked.store))


def test_logged_samples_have_lm_evals_keys_and_this_runs_figures(looked: Looked, tmp_path: Path) -> None:
    assert export(looked, "lm_eval", tmp_path) == 0
    [path] = tmp_path.glob("samples_preference_*.jsonl")
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    rows = Store(looked.store).samples(looked.sft)
    assert [line["doc"]["id"] for line in lines] == [row.id for row in rows]
    needed = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash"}
    assert all(needed | {"prompt_hash", "target_hash"} <= set(line) for line in lines)
    assert [{name: line[name] for name in line["metrics"]} for line in lines] == [dict(row.values) for row in rows]
    assert lines[0]["target"].startswith("yes")


def test_an_exported_adapter_is_the_runs_and_its_card_has_the_row(looked: Looked, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert export(looked, "adapter", tmp_path) == 0
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == looked.sft.model.name
    model: Any = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(looked.sft.model.name), str(tmp_path))
    assert model.peft_config["default"].r == 2
    card = (tmp_path / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    assert (header["library_name"], header["base_model"]) == ("peft", looked.sft.model.name)
    score = looked.sft.scores[looked.sft.task.main_metric]
    assert score.ci95 is not None
    assert f"{score.mean:.3f} [{score.ci95[0]:.3f}, {score.ci95[1]:.3f}] (n {score.n})" in card
    assert looked.sft.id in card


def test_merged_weights_are_base_and_adapter_added_up(looked: Looked, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert export(looked, "merged", tmp_path) == 0
    base = AutoModelForCausalLM.from_pretrained(looked.sft.model.name)
    ids = torch.tensor([[5, 9, 11, 40]])
    plain = base(ids).logits
    adapted = PeftModel.from_pretrained(base, str(looked.store / looked.sft.id / "adapter"))(ids).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path)(ids).logits
    torch.testing.assert_close(merged, adapted, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(merged, plain, atol=1e-4)


def test_what_a_run_does_not_have_is_not_exported(
    looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = ("--store", str(looked.store), "--out", str(tmp_path))
    assert call("export", looked.base.id, "--as", "adapter", *store) == 2
    assert "has no adapter: nothing was trained" in capsys.readouterr().err


def test_runs_are_taken_over_whole_and_once(looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    to = ("--store", str(tmp_path / "mine"))
    taken = as_json(capsys, "import", str(looked.store), *to)
    assert {(one["run"], one["said"]) for one in taken} == {(run.id, "taken over") for run in (looked.base, looked.sft)}
    assert Store(tmp_path / "mine").verified(looked.sft.id) == looked.sft
    assert {one["said"] for one in as_json(capsys, "import", str(looked.store / looked.sft.id), *to)} == {
        "is there already"
    }
    assert not list((tmp_path / "mine").glob(".new-*"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda run: (run / "log.jsonl").write_text("{}"), "log.jsonl is not what was written"),
        (lambda run: (run / "adapter" / "more.pkl").write_bytes(b""), "more.pkl is of a kind that is not taken over"),
        (lambda run: (run / "adapter" / "more.json").symlink_to("/etc/passwd"), "more.json is a link"),
        (lambda run: _rewrite(run, lambda record: record["manifest"]["decisive"]["fit"].update(seed=77)), "not follow"),
        (lambda run: _rewrite(run, lambda record: record["manifest"]["decisive"].clear()), "does not say what decided"),
        (lambda run: (run / "record.json").write_text("{"), "not valid JSON"),
    ],
)
def test_a_run_that_is_not_what_it_says_is_refused(
    looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path, damage: Any, says: str
) -> None:
    theirs = tmp_path / "theirs"
    shutil.copytree(looked.store / looked.sft.id, theirs / looked.sft.id)
    damage(theirs / looked.sft.id)
    assert call("import", str(theirs), "--store", str(tmp_path / "mine")) == 1
    assert says in capsys.readouterr().out
    assert not (tmp_path / "mine" / looked.sft.id).exists()


def _rewrite(run: Path, change: Any) -> None:
    """A forger who seals what was changed."""
    record = json.loads((run / "record.json").read_text())
    change(record)
    write_sealed(run / "record.json", record)


def test_settings_written_as_yaml_come_to_the_same_run(
    looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = ("--store", str(looked.store))
    assert call("show", looked.sft.id, "--yaml", *store) == 0
    (tmp_path / "run.yaml").write_text(capsys.readouterr().out)
    found = as_json(capsys, "plan", "--config", str(tmp_path / "run.yaml"), *store, "--no-plugins", "--no-control")
    assert {(cell["run_id"], cell["state"]) for cell in found["cells"]} == {
        (looked.sft.id, "done"),
        (looked.base.id, "done"),
    }


def test_the_command_of_a_record_comes_to_the_same_run(looked: Looked, capsys: pytest.CaptureFixture[str]) -> None:
    for record in (looked.sft, looked.base):
        found = as_json(
            capsys, "plan", *asked_again(record), "--store", str(looked.store), "--no-plugins", "--no-control"
        )
        assert {"run_id": record.id, "state": "done"}.items() <= found["cells"][-1].items()
        assert contradictions(looked.store, record) == []


def test_a_cell_computed_again_keeps_what_was_there(
    looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    shutil.copytree(looked.store, store)
    options = (*looked.options, "--store", str(store))
    assert call("run", "--aligner", "base", *options, "--force") == 0
    assert "is computed again; what was there is kept in" in capsys.readouterr().err
    [aside] = (store / ".aside").iterdir()
    assert Store(aside).verified(looked.base.id) == looked.base
    again = Store(store).verified(looked.base.id)
    assert again is not None
    assert again.scores == looked.base.scores
    mode = stat.S_IMODE((store / looked.base.id).stat().st_mode)
    assert mode == stat.S_IMODE((store / ".aside").stat().st_mode), "a run's folder follows the umask, as any other"


def test_a_run_without_texts_keeps_hashes_and_its_scores(
    looked: Looked, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store = tmp_path / "runs"
    options = (*looked.options, "--store", str(store))
    assert call("run", "--aligner", "sft", *options, "--no-texts", "--quiet") == 0
    run = Store(store).verified(looked.sft.id)
    assert run is not None
    assert run.scores == looked.sft.scores
    rows = json.dumps([row.detail for row in Store(store).samples(run)])
    assert "sha256" in rows
    kept = b"".join(path.read_bytes() for path in store.rglob("*") if path.is_file() and path.suffix != ".parquet")
    assert "goats" not in rows
    assert b"goats" not in kept
    capsys.readouterr()
    assert call("labels", run.id, "--store", str(store)) == 0
    assert "only their ids were kept" in capsys.readouterr().out
    assert call("run", "--aligner", "sft", *options, "--no-texts", "--show", "2") == 2
