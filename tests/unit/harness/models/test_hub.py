"""`--model owner/name` against a stand-in of the hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.families import FAMILIES
from tests.hub_server import COMMIT, hub

pytest.importorskip("torch")

ASK = """
import json, sys
from harness.contracts import HarnessError
from harness.models.find import resolve
for name in sys.argv[1:]:
    model, _, revision = name.partition("@")
    try:
        files = resolve(model, registry_models={}, revision=revision or None)
        print(json.dumps([str(files.folder), files.weights_hash, files.licence]))
    except HarnessError as error:
        print(json.dumps(str(error)))
"""


def ask(home: Path, endpoint: str, *names: str, offline: bool = False) -> list[list[str] | str]:
    """What each name comes to in a process of its own: folder, hash and licence, or the error's sentence."""
    told = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": str(int(offline))}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-c", ASK, *names]
    done = subprocess.run(command, env={**kept, **told, **quiet}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_hub_id_is_fetched_once_kept_and_refused_in_words(tmp_path: Path) -> None:
    whole = next(f for f in FAMILIES if f.name == "llama-3").save(tmp_path / "whole")
    (whole / "README.md").write_text("---\nlicense: llama3\n---\n# A model\n")
    (whole / "pytorch_model.bin").write_bytes(b"never fetched")
    lacking, bare, other = tmp_path / "lacking", tmp_path / "bare", tmp_path / "other"
    for folder in (lacking, bare, other):
        folder.mkdir()
    for file in whole.iterdir():
        if not file.name.startswith("model-00002"):
            (lacking / file.name).write_bytes(file.read_bytes())
    (bare / "README.md").write_text("nothing yet")
    (other / "config.json").write_text("{}")
    (other / "pytorch_model.bin").write_bytes(b"of another format")
    folders = {"org/whole": whole, "org/lacking": lacking, "org/bare": bare, "org/other": other, "org/gated": whole}
    names = ("whole", f"whole@{COMMIT}", "whole@v9", "lacking", "bare", "other", "gated", "nowhere")
    home = tmp_path / "home"
    with hub(folders, frozenset({"org/gated"})) as endpoint:
        first, pinned, *refused = ask(home, endpoint, *(f"org/{name}" for name in names))
    assert first == pinned
    folder, digest, licence = first
    assert licence == "llama3"
    assert not (Path(folder) / "pytorch_model.bin").exists()
    expected = (
        "model org/whole at revision v9 is neither cached nor to be had from the hub (RevisionNotFoundError: ",
        "lacks model-00002-of-",
        "has no config.json; a saved transformers model was expected",
        "has no model.safetensors (it holds config.json); other formats are not read",
        "model org/gated is gated on the hub, and the account of this machine has no access",
        "model org/nowhere is neither cached nor to be had from the hub (RepositoryNotFoundError: ",
    )
    for sentence, words in zip(refused, expected, strict=True):
        assert words in sentence
        assert "\n" not in sentence
    again, never = ask(home, endpoint, "org/whole", "org/nowhere", offline=True)
    assert again == [folder, digest, licence], "from the cache, without the hub"
    assert "model org/nowhere is neither cached nor to be had from the hub" in never
