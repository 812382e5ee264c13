"""Publishing: without texts and paths, what was changed is refused by name, pages are checked to the byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow.parquet as pq
import pytest

import leaderboards
from harness.cli import app
from harness.contracts import HarnessError
from harness.records.provenance import digest
from harness.records.seals import sealed, write_sealed
from harness.util.hashes import file_hash
from leaderboards import published
from leaderboards.validate import faults
from tests.unit.leaderboards.test_leaderboards import ITEMS, add, answers, calibrate

pytestmark = pytest.mark.core
ROOT = Path(__file__).parents[3] / "leaderboards"
HERE = "/home/somebody/secret place/data"
MODEL = "/home/somebody/models/small-model"


def run(store: Path, aligner: str, right: int, **changes: Any) -> Path:
    """A run whose id follows from its manifest, as a real run's does."""
    made = add(store, aligner, answers(right), **changes)
    value = json.loads((made / "record.json").read_text())
    budget = {name: part for name, part in value["budget"].items() if name != "profile"}
    fit = {"aligner": {"name": aligner, "version": "1", "settings": value["aligner"]["config"]}, "budget": budget}
    fit |= {"seeds": value["seed"], "adapter": value["model"]["lora"], "lengths": value["model"]["lengths"]}
    task = {"name": "medqa", "revision": "task-revision-1", "limit": None}
    decisive = {"fit": fit, "answers": {"task": task}, "judgement": {"judge": None}}
    used = (f"aligner:{aligner}", "task:medqa", "pool:medqa", "backend:hf")
    value["manifest"] |= {
        "decisive": decisive,
        "plugins": dict.fromkeys(used, "methods-of-a-clinic 1.0"),  # of which nothing is installed here
        "command": ["/home/somebody/bin/python", "-m", "harness", "run", "--data", HERE, "--store=/mnt/disk/runs"],
        "code_url": "file:///home/somebody/wheels/align_harness-0.1.0.whl@sha256=ab",
        "also_read": {"eval": {"where": f"{HERE}/medqa/test.jsonl.gz", "hash": "ab"}},
        "files": {"samples.parquet": file_hash(made / "samples.parquet")},
    }
    value["id"] = digest(decisive, "fit", "answers", "judgement")
    value["data"]["source"], value["model"]["name"] = "folder data", MODEL
    value["manifest"]["settings"] = {"train_on": None, "precision": "auto", "data": HERE, "model": MODEL}
    value["spent"]["labels"] = len(value["data"]["pair_ids"])
    value["spent"]["seconds"]["total"] = 81.0 if value["spent"]["seconds"]["fit"] else 21.0
    value["aligner"]["fit_id"] = digest(decisive, "fit")
    write_sealed(made / "record.json", value)
    return made.rename(store / value["id"])


def changed(folder: Path, change: Callable[[dict[str, Any]], Any], *, seal: bool = True) -> None:
    value = json.loads((folder / "record.json").read_text())
    change(value)
    (folder / "record.json").write_text(json.dumps(sealed(value) if seal else value))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    run(tmp_path / "store", "base", 10)
    run(tmp_path / "store", "gem", 30)
    return tmp_path / "store"


def one(store: Path, aligner: str = "gem") -> Path:
    found = [path for path in store.glob("*") if f'"name": "{aligner}"' in (path / "record.json").read_text()]
    assert len(found) == 1
    return found[0]


# ---------------------------------------------------------------- validate


def test_a_record_that_holds_has_no_faults(store: Path) -> None:
    assert faults(one(store)) == faults(one(store) / "record.json") == []
    with pytest.raises(HarnessError, match=r"no record\.json in"):
        faults(store)
    other = store / "submission.json"
    other.write_bytes((one(store) / "record.json").read_bytes())
    with pytest.raises(HarnessError, match=r"submission\.json is no record\.json; name the folder of a run"):
        faults(other)
    other.unlink()


def test_an_interval_without_width_is_accepted_of_constants_alone(tmp_path: Path) -> None:
    """Older records state one of constants; tables make their own."""
    for right, expected in ((40, []), (20, ["the interval of accuracy"])):
        folder = run(tmp_path / str(right), "gem", right)
        changed(folder, lambda v, mean=right / 40: v["scores"]["accuracy"].update(ci95=[mean, mean]))
        assert [fault[: len("the interval of accuracy")] for fault in faults(folder)] == expected


TAMPERED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "the mean": (lambda v: v["scores"]["accuracy"].update(mean=0.9), "accuracy is 0.900000 in the record"),
    "the interval": (lambda v: v["scores"]["accuracy"].update(ci95=[0.74, 0.76]), "the interval of accuracy is"),
    "the units": (lambda v: v["scores"]["accuracy"].update(n=400), "states 400 units"),
    "another score": (lambda v: v["scores"].update(x={"mean": 1.0, "ci95": None, "n": 1}), "x has a score and no row"),
    "the main metric": (lambda v: v["task"].update(main_metric="other"), "no other, the task's main metric"),
    "the seed": (lambda v: v["seed"].update(training=7), "seed.training is 7 in the record, and fit.seeds.training is"),
    "the budget": (lambda v: v["budget"].update(labels=8), "budget is"),
    "the method": (lambda v: v["aligner"].update(name="dpo"), "aligner.name is 'dpo' in the record, and fit.aligner.n"),
    "what decided": (lambda v: v["manifest"]["decisive"]["fit"].update(code="x"), "does not follow"),
    "who made it": (lambda v: v["manifest"].update(plugins={}), "which distribution aligner gem came from"),
    "a dirty tree": (lambda v: v["manifest"].update(git_dirty=True), "changes that no commit holds"),
    "no code": (lambda v: v["manifest"].update(git_commit=None), "neither a commit nor a hash"),
    "pairs twice": (lambda v: v["data"].update(pair_ids=["a", "a"]), "pairs name one twice"),
    "many pairs": (lambda v: v["data"].update(pair_ids=list(map(str, range(33)))), "33 labelled pairs on a budget of"),
    "many ratings": (lambda v: v["data"].update(rating_ids={"us": list(map(str, range(40)))}), "gave 40 ratings"),
    "labels from nowhere": (lambda v: v["spent"].update(labels=9), "spent 9 labels and names 2"),
    "time": (lambda v: v["spent"]["seconds"].update(total=1.0), "seconds are 1.000 in all"),
    "a cost below nothing": (lambda v: v["spent"].update(flops=-1.0), "below nothing"),
    "fewer rows": (lambda v: v["task"].update(n_items=99), "n_items is 99 in the record, and 40 rows have accuracy"),
    "more rows": (lambda v: v["task"].update(n_items=9), "n_items is 9 in the record, and 40 rows have accuracy"),
    "a figure of the whole": (
        lambda v: v["scores"].update(accuracy={"mean": 0.999, "ci95": [0.99, 1.0], "n": 40, "whole": True}),
        "accuracy is said to be of the whole set, and its rows have it",
    ),
    "a score taken out": (lambda v: v["scores"].clear(), "its rows have accuracy, of which it has no score"),
    "a failure": (lambda v: v.update(status="failed"), "status is failed, and it does not say how it failed"),
    "a quiet end": (lambda v: v.update(status="degenerate"), "status is degenerate, and its reason None"),
    "a reason": (lambda v: v.update(reason="x"), "status is ok, and its reason 'x'"),
    "other groups' labels": (lambda v: v["spent"].update(auxiliary_labels=-5), "or no number: spent.auxiliary_"),
    "labels of no group": (lambda v: v["spent"].update(auxiliary_labels=5), "and names no auxiliary group"),
    "time won back": (lambda v: v["spent"]["lost"].update(seconds=-9.0), "no number: spent.lost.seconds is -9.0"),
    "answers for nothing": (lambda v: v["spent"]["inference"].update(flops=-1.0), "number: spent.inference.flops is"),
    "labels that prompts show": (lambda v: (v["task"].update(num_fewshot=2), v["spent"].update(labels=1)), "showed 2"),
    "trials": (lambda v: v["aligner"].update(trials=[{"config": {}, "score": 1.0}]), "1 trials on a budget of 0"),
    "another's plug-in": (
        lambda v: v["manifest"]["plugins"].update({"judge:mine": "evil 1.0"}),
        "the manifest names judge:mine, which the run did not use",
    ),
    "no pool": (lambda v: v["manifest"]["plugins"].pop("pool:medqa"), "which distribution pool medqa came from"),
    "another release": (
        lambda v: v["manifest"]["packages"].update({"methods-of-a-clinic": "2.0"}),
        "backend:hf is of 'methods-of-a-clinic 1.0', and the manifest's packages have 2.0",
    ),
    "outputs": (
        lambda v: v.update(outputs={"generator": "g", "file": "f", "sha256": "0"}),
        "outputs of another model and aligner 'gem' do not go together",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_a_record_that_was_changed_and_sealed_again_is_refused_by_name(store: Path, name: str) -> None:
    change, said = TAMPERED[name]
    folder = one(store)
    changed(folder, change)
    assert said in " ".join(faults(folder))


def test_without_a_new_seal_any_change_is_seen(store: Path) -> None:
    changed(one(store), lambda v: v["scores"]["accuracy"].update(mean=0.76), seal=False)
    assert faults(one(store)) == ["record.json is not what was written"]


def test_a_record_with_the_rows_of_another_run_is_refused(store: Path) -> None:
    shutil.copy(one(store, "base") / "samples.parquet", one(store) / "samples.parquet")
    assert "samples.parquet is not what was written: it is changed, or of another run" in faults(one(store))
    files = {"samples.parquet": file_hash(one(store) / "samples.parquet")}
    changed(one(store), lambda v: v["manifest"].update(files=files))
    assert "its rows make 0.25" in " ".join(faults(one(store)))


def test_a_cap_that_was_passed_is_no_ok(tmp_path: Path) -> None:
    capped = {"budget__track": "labels+compute", "budget__cap_flops": 1e12}
    assert "over a cap of 1e+12" in " ".join(faults(run(tmp_path, "gem", 30, **capped)))


# ---------------------------------------------------------------- publish, render, check


@pytest.fixture
def root(store: Path, tmp_path: Path) -> Path:
    board = tmp_path / "leaderboards/records/medical"
    board.mkdir(parents=True)
    plan = {"task": "medqa", "rows": ["gem", "dpo"], "draws": [0, 1]}
    (board / "board.yaml").write_text(json.dumps({"title": "A *board*", "about": "What it asks.", "planned": [plan]}))
    published.publish(store, (), "medical", tmp_path / "leaderboards")
    published.render(tmp_path / "leaderboards")
    return tmp_path / "leaderboards"


def test_what_is_published_has_figures_and_neither_texts_nor_places(root: Path, store: Path) -> None:
    folder = root / "records/medical" / one(store).name
    assert faults(folder) == []
    text = (folder / "record.json").read_text()
    assert "somebody" not in text
    assert "/mnt" not in text
    manifest = json.loads(text)["manifest"]
    assert manifest["code_url"] == "align_harness-0.1.0.whl@sha256=ab"
    assert manifest["command"][:5] == ["python", "-m", "harness", "run", "--data"]
    assert (manifest["settings"]["data"], manifest["settings"]["model"]) == ("PATH/data", "PATH/small-model")
    rows = pq.read_table(folder / "samples.parquet")
    assert set(rows["detail"].to_pylist()) == {"{}"}
    assert rows["value.accuracy"].to_pylist() == [answers(30)[item] for item in ITEMS]
    kept = pq.read_schema(folder / "samples.parquet").metadata[published.ORIGINAL].decode()
    assert kept == file_hash(one(store) / "samples.parquet")


def test_a_board_gives_the_tables_of_its_store_and_says_what_is_missing(root: Path, store: Path) -> None:
    (there,), (here,) = leaderboards.tables(root / "records/medical"), leaderboards.tables(store)
    assert here.setting.model == MODEL
    assert (there.setting.model, there.rows, there.mdd) == ("PATH/small-model", here.rows, here.mdd)
    page = (root / "boards/medical.md").read_text()
    assert r"# A \*board\*" in page
    assert "3 of 4 planned cells have not been run" in page
    assert "- `medqa`, `gem`: draws 1\n- `medqa`, `dpo`: draws 0, 1" in page
    assert "On accuracy, better than base: gem (+0.500)." in page
    assert (
        "    OMP_NUM_THREADS=2 python -m harness run --aligner gem --task medqa --data PATH/data --budget 32 " in page
    )
    assert "with the same code, `PATH` being the folder that holds what is named there:" in page


def test_check_is_silent_until_a_byte_differs(root: Path) -> None:
    assert published.check(root) == []
    page = root / "boards/medical.md"
    page.write_text(page.read_text().replace("0.750", "0.751"))
    assert [fault.partition(" is ")[2][:26] for fault in published.check(root)] == ["not what its records make;"]
    page.unlink()
    assert ["medical.md is missing" in fault for fault in published.check(root)] == [True]
    published.render(root)
    (root / "boards/old.md").write_text("x")
    assert ["old.md belongs to no board" in fault for fault in published.check(root)] == [True]


def test_check_names_the_record_that_does_not_hold(root: Path, store: Path) -> None:
    run_id = one(store).name
    changed(root / "records/medical" / run_id, lambda v: v["scores"]["accuracy"].update(mean=0.9))
    assert published.check(root)[0].startswith(f"medical/{run_id}: accuracy is 0.9")


STRAYS: dict[str, Callable[[Path, Path], Any]] = {
    "other belongs to no board: it has no board.yaml": lambda records, run: shutil.copytree(run, records / "other/run"),
    "notes.txt belongs to no board": lambda records, run: (records / "notes.txt").write_text("x"),
    "medical/notes.txt belongs to no record": lambda records, run: (run.parent / "notes.txt").write_text("x"),
    "medical/{run}/notes.txt belongs to no record": lambda records, run: (run / "notes.txt").write_text("A patient's."),
    "medical/{run}/.deep/x belongs to no record": lambda records, run: deep(run / ".deep/x"),
    "medical/old belongs to no record": lambda records, run: deep(run.parent / "old/samples.parquet"),
    "medical/twin belongs to no record": lambda records, run: (run.parent / "twin").symlink_to(run),
}


def deep(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("x")


@pytest.mark.parametrize("said", STRAYS)
def test_check_names_what_belongs_to_no_record(root: Path, store: Path, said: str) -> None:
    run = root / "records/medical" / one(store).name
    STRAYS[said](root / "records", run)
    assert any(found.startswith(said.format(run=run.name)) for found in published.check(root))


def test_nothing_is_published_with_a_fault_among_it(root: Path, store: Path) -> None:
    changed(one(store), lambda v: v["manifest"].update(git_dirty=True))
    shutil.rmtree(root / "records/medical" / one(store).name)
    with pytest.raises(HarnessError, match=f"{one(store).name} cannot be published: it was made from a checkout"):
        published.publish(store, (), "medical", root)
    assert not (root / "records/medical" / one(store).name).exists()
    with pytest.raises(HarnessError, match=r"nowhere has no board\.yaml"):
        published.publish(store, (), "nowhere", root)


def test_the_boards_of_this_repository_are_what_their_records_make() -> None:
    """What `leaderboard --check` says of the checkout that these tests stand in."""
    assert published.check(ROOT) == []


def test_the_published_files_name_no_place_and_no_text() -> None:
    for path in (ROOT / "records").rglob("*.json"):
        assert path.stat().st_size < 2**20
        assert '"/home' not in path.read_text()
    for path in (ROOT / "records").rglob("*.parquet"):
        assert path.stat().st_size < 2**20
        assert set(pq.read_table(path, columns=["detail"])["detail"].to_pylist()) == {"{}"}


# ---------------------------------------------------------------- judges


def judged(store: Path, aligner: str, right: int, judge: str = "local") -> Path:
    """A run whose answers a judge compared, as its manifest says, too."""
    made = run(store, aligner, right)
    value = json.loads((made / "record.json").read_text())
    value["task"] |= {"judge": judge, "judge_version": "1"}
    manifest = value["manifest"]
    manifest["decisive"]["judgement"] = {"judge": {"name": judge, "version": "1"}}
    manifest["plugins"][f"judge:{judge}"] = "methods-of-a-clinic 1.0"
    value["id"] = digest(manifest["decisive"], "fit", "answers", "judgement")
    write_sealed(made / "record.json", value)
    return made.rename(store / value["id"])


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    """A store of judged runs, with what was measured of their judge and of another one."""
    for aligner, right in (("base", 10), ("gem", 30)):
        judged(tmp_path / "judged", aligner, right)
    calibrate(tmp_path / "judged", model=MODEL)
    calibrate(tmp_path / "judged", judge="similarity", model=None)
    return tmp_path / "judged"


BIASES = "the answer shown first wins 0.830, 0.350 change with the order, the longer answer wins 0.710"


def test_what_was_measured_of_a_judge_is_published_with_its_runs(root: Path, measured: Path) -> None:
    made = published.publish(measured, (), "medical", root)
    judges = root / "records/medical/judges"
    assert [path.relative_to(judges).as_posix() for path in judges.rglob("*.json")] == [
        "local/llmbar@PATH%2Fsmall-model.json"
    ]
    assert made[-1] in judges.rglob("*.json")
    published.render(root)
    page = (root / "boards/medical.md").read_text()
    assert "Agreement of judge `local` with labelled pairs [95 % CI]: llmbar 0.610 [0.510, 0.700] (90 of 100" in page
    assert BIASES in page
    assert "somebody" not in next(judges.rglob("*.json")).read_text()
    assert published.check(root) == []


def test_what_was_measured_with_changes_that_no_commit_holds_is_not_published(root: Path, measured: Path) -> None:
    calibrate(measured, model=MODEL, git_dirty=True)
    with pytest.raises(HarnessError, match=r"judge local was measured on llmbar from a checkout with changes"):
        published.publish(measured, (), "medical", root)
    assert len(list((root / "records/medical").iterdir())) == 3, "the plan and the two runs that were there"


def test_check_names_a_calibration_that_cannot_be_read_or_is_of_no_run(root: Path, measured: Path) -> None:
    published.publish(measured, (), "medical", root)
    published.render(root)
    folder = root / "records/medical"
    calibrate(folder, judge="similarity", model=None)
    of_none = "belongs to no judge of the board's runs"
    assert published.check(root) == [f"medical/judges/similarity/llmbar.json {of_none}"]
    shutil.rmtree(folder / "judges/similarity")
    (one,) = (folder / "judges").rglob("*.json")
    (one.parent / "notes.txt").write_text("A patient's text.")
    assert published.check(root) == [f"medical/judges/local/notes.txt {of_none}"]
    (one.parent / "notes.txt").unlink()
    content = one.read_text()
    for damaged, said in (
        ("{", "is not valid JSON"),
        (content.replace('"llmbar"', '"sample"'), "is not where what it"),
    ):
        one.write_text(damaged)
        assert [said in fault for fault in published.check(root)] == [True]
    one.write_text(content.replace('"git_dirty": null', '"git_dirty": true'))
    assert ["from a checkout with changes" in fault for fault in published.check(root)] == [True]
    one.write_text(content)
    assert published.check(root) == []


def test_a_run_is_exported_and_imported_with_what_was_measured_of_its_judge(measured: Path, tmp_path: Path) -> None:
    ids = [path.parent.name for path in measured.glob("*/record.json")]
    given, mine = tmp_path / "given", tmp_path / "mine"
    assert call("export", *ids, "--as", "run", "--out", str(given), "--store", str(measured)) == 0
    assert call("import", str(given), "--store", str(mine)) == 0
    for place in (given, mine):
        assert [path.name for path in (place / "judges").rglob("*.json")] == [f"llmbar@{quote(MODEL, safe='')}.json"]
        assert BIASES in leaderboards.render(leaderboards.tables(place))


def test_what_was_measured_here_is_not_replaced_and_a_damaged_file_stops_no_run(
    measured: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine"
    calibrate(mine, model=MODEL, labelled_by="our own people")
    assert call("import", str(measured), "--store", str(mine)) == 0
    assert "our own people" in next((mine / "judges").rglob("*.json")).read_text()
    for path in (measured / "judges").rglob("*.json"):
        path.write_text("{")
    capfd.readouterr()
    assert call("import", str(measured), "--store", str(tmp_path / "other")) == 0
    said = capfd.readouterr()
    assert said.out.count("taken over") == 2
    assert "what was measured of judges is not taken over: " in said.err


@pytest.mark.parametrize("damage", ["another place", "a link"])
def test_a_calibration_that_would_lie_elsewhere_is_not_taken_over(
    measured: Path, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stranger's file may say that its judge is called `..`."""
    path = next((measured / "judges/local").iterdir())
    if damage == "a link":
        path.rename(tmp_path / "elsewhere.json")
        path.symlink_to(tmp_path / "elsewhere.json")
    else:
        judged(measured, "sft", 20, judge="..")
        path.write_text(path.read_text().replace('"judge": "local"', '"judge": ".."'))
    assert call("import", str(measured), "--store", str(tmp_path / "mine")) == 0
    assert ("is a link" if damage == "a link" else "is not where what it says belongs") in capfd.readouterr().err
    assert not list((tmp_path / "mine").rglob("*llmbar*"))


# ---------------------------------------------------------------- the command line


def call(*words: str) -> int:
    with pytest.raises(SystemExit) as ended:
        app(list(words), prog_name="python -m harness")
    return int(ended.value.code or 0)


def test_commands(root: Path, store: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert call("leaderboard", "--check", "--published", str(root)) == 0
    assert call("leaderboard", "validate", str(one(store)), str(one(store, "base") / "record.json")) == 0
    assert capfd.readouterr().out.count("nothing is wrong") == 2
    changed(one(store), lambda v: v["spent"].update(labels=9))
    assert call("leaderboard", "validate", str(one(store))) == 1
    assert "spent 9 labels and names 2" in capfd.readouterr().out
    assert call("leaderboard", "publish", "medical", "--store", str(store), "--published", str(root)) == 2
    assert call("leaderboard", "publish", "--render", "--published", str(root)) == 0
    (root / "boards/medical.md").write_text("")
    assert call("leaderboard", "--check", "--published", str(root)) == 1
    assert call("leaderboard", "--format", "parquet", "--store", str(root / "records/medical")) == 2
    assert "--out FOLDER" in capfd.readouterr().err
    for form, name in (("parquet", "samples.parquet"), ("latex", "leaderboard.tex")):
        out = tmp_path / form
        assert call("leaderboard", "--format", form, "--store", str(store), "--out", str(out)) == 0
        assert (out / name).is_file()


def test_a_score_of_fewer_draws_says_so_where_budgets_stand_side_by_side(tmp_path: Path) -> None:
    """Draws differ by more than methods do: an easy draw alone would lift its row above one that ran on all of them."""
    store, root = tmp_path / "store", tmp_path / "leaderboards"
    run(store, "base", 10)
    for labels in (8, 32):
        budget: dict[str, Any] = {"budget__labels": labels, "budget__preset": str(labels)}
        run(store, "sft", 30, **budget)
        run(store, "orpo", 32, **budget)
        run(store, "sft", 12, seed__draw=1, seed__training=1, **budget)
    board = root / "records/care"
    board.mkdir(parents=True)
    (board / "board.yaml").write_text(json.dumps({"title": "House rules", "about": "A."}))
    assert call("leaderboard", "publish", "care", "--store", str(store), "--published", str(root)) == 0
    page = (root / "boards/care.md").read_text()
    table = page[page.index("## Scores by number of labels") : page.index("## What the tables say")]
    (sft,) = [line for line in table.splitlines() if line.startswith("| sft |")]
    (orpo,) = [line for line in table.splitlines() if line.startswith("| orpo |")]
    assert orpo.count(" (1 of 2) ") == 2
    assert " of 2)" not in sft
    assert "compare rows of the same draws" in table


def test_a_board_of_several_budgets_tracks_and_half_its_cells(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a board needs whose methods ran at 8, 32 and 128 labels, with a control and a table of equal compute."""
    store, root = tmp_path / "store", tmp_path / "leaderboards"
    run(store, "base", 10)
    for labels, right in ((8, 12), (32, 30), (128, 36)):
        budget: dict[str, Any] = {"budget__labels": labels, "budget__preset": str(labels)}
        run(store, "sft", right, **budget)
        run(store, "random", 10, **budget)
        if labels < 128:
            run(store, "gem", right + 1, **budget)
    equal = {"budget__track": "labels+compute", "budget__cap_flops": 5e12}
    run(store, "gem", 28, **equal)
    board = root / "records/care"
    board.mkdir(parents=True)
    whole = {"task": "medqa", "rows": ["base", "sft", "gem", "random"], "draws": [0], "labels": [8, 32, 128]}
    capped = {"task": "medqa", "rows": ["sft", "gem"], "draws": [0], "labels": [32], "track": "labels+compute"}
    plan = {"title": "House rules", "about": "A.", "planned": [whole, {**capped, "why": "no time was left"}]}
    (board / "board.yaml").write_text(json.dumps(plan))
    assert call("leaderboard", "publish", "care", "--store", str(store), "--published", str(root)) == 0
    assert call("leaderboard", "--check", "--published", str(root)) == 0
    page, drawn = (root / "boards/care.md").read_text(), (root / "boards/care.svg").read_text()
    assert "2 of 14 planned cells have not been run" in page
    assert "- `medqa`, `gem`, 128 labels: draws 0\n" in page
    assert "- `medqa`, `sft`, 32 labels, track `labels+compute`: draws 0: no time was left" in page
    assert "| aligner | 8 labels | 32 labels | 128 labels |" in page
    assert page.index("## Scores by number of labels") < page.index("## What the tables say")
    assert "medqa: 8, 32, 128 labels" in drawn
    assert drawn.count("<polyline") == 3
    assert "track labels+compute" in drawn
    assert "gem 0.775 at 32<" in drawn, "a curve that ends early says where"
    (root / "boards/care.svg").write_text(drawn.replace("House rules", "Other rules"))
    capfd.readouterr()
    assert call("leaderboard", "--check", "--published", str(root)) == 1
    assert "care.svg is not what its records make" in capfd.readouterr().out
