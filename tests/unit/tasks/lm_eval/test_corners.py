"""lm-eval's private corners: the release that is installed has them, and a moved one is named."""

from __future__ import annotations

from importlib import metadata

import pytest
from packaging.specifiers import SpecifierSet

from harness.contracts import HarnessError
from tasks.lm_eval import corners


def test_the_installed_release_is_one_that_this_was_written_against() -> None:
    assert metadata.version("lm-eval") in SpecifierSet(corners.VERSIONS)


def test_every_corner_is_where_it_is_looked_for() -> None:
    corners.check()


@pytest.mark.parametrize(
    ("module", "name", "word"),
    [
        ("lm_eval.tasks._index", "Kind", "Kind"),
        ("lm_eval.api.registry", "DEFAULT_METRIC_REGISTRY", "DEFAULT_METRIC_REGISTRY"),
        ("lm_eval.models.utils", "normalize_gen_kwargs", "stop sequences"),
        ("lm_eval.api.task", "tqdm", "bar in lm_eval.api.task"),
    ],
)
def test_a_corner_that_moves_is_named_with_the_versions(
    module: str, name: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(f"{module}.{name}")
    with pytest.raises(HarnessError, match=rf"lm-eval [\d.]+ has no .*{word}.*>=0\.4\.12,<0\.5 was expected"):
        corners.check()


def test_a_factory_without_its_methods_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corners.manager("gsm8k"), "_factory", object())
    with pytest.raises(HarnessError, match=r"has no TaskManager\._factory\.build"):
        corners.check()
