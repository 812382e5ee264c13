"""What a task returned against what it promised."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from harness.contracts import SampleRow, Scores, Whole
from harness.records.schema import TaskInfo
from harness.run.recording import summarise
from harness.run.scores import check_scores

pytestmark = pytest.mark.core


def task(**changes: Any) -> Any:
    facts = {"name": "patients", "main_metric": "acc", "metrics": {"acc": "right", "length": "words"}, "requires": ()}
    return SimpleNamespace(**{**facts, **changes})


def scores(*values: dict[str, float], ids: str = "abc", whole: dict[str, Whole] | None = None) -> Scores:
    rows = tuple(SampleRow(i, i, v) for i, v in zip(ids, values, strict=False))
    return Scores(rows, {}, whole or {})


def test_what_was_promised_passes() -> None:
    check_scores(task(), scores({"acc": 1.0}, {"acc": 0.0, "length": 3.0}))
    check_scores(task(), scores({"length": 1.0}))  # of the declared ones some may be absent
    check_scores(task(), scores({}, {}, whole={"acc": Whole(0.5, None, 2)}))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (scores({"accuracy": 1.0}), "returns metric 'accuracy', which it does not declare; .*'acc'"),
        (scores({"acc": 1.0, "lenght": 1.0}), "returns metric 'lenght', .*did you mean 'length'"),
        (scores({"acc": 1.0}, whole={"win": Whole(0.5, None, 1)}), "returns metric 'win'"),
        (scores({"acc": 1.0}, {"acc": 1.0}, {"acc": 1.0}, ids="aba"), "gives 1 ids to several samples, first 'a'"),
        (scores({"acc": float("nan")}), "sample a: acc is nan; a finite number was expected"),
        (scores({"acc": 1.0}, {"acc": float("inf")}), "sample b: acc is inf"),
        (scores({}, {}, whole={"acc": Whole(float("nan"), None, 2)}), "acc of the whole set is nan"),
        (scores({}, {}, whole={"acc": Whole(0.5, (0.0, float("inf")), 2)}), "acc of the whole set"),
        (scores({}, {}), "returns 2 samples without any value"),
    ],
)
def test_what_was_not_promised_is_named(given: Scores, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_scores(task(), given)


def test_a_main_metric_that_is_never_returned_ends_no_run_as_ok() -> None:
    with pytest.raises(ValueError, match="has main metric 'ac', which it does not declare; did you mean 'acc'"):
        check_scores(task(main_metric="ac"), scores({"acc": 1.0}))
    needs = task(requires=frozenset({"generate"}))
    with pytest.raises(ValueError, match="never returns its main metric 'acc'; it returns length"):
        check_scores(needs, scores({"length": 1.0}))
    check_scores(task(requires=frozenset({"generate"}), default_judge="mild"), scores({"length": 1.0}))


def test_a_family_may_name_metrics_later_but_not_lose_its_main_one() -> None:
    later = task(later_metrics="its own function")
    check_scores(later, scores({"acc": 1.0, "f1": 1.0}))
    with pytest.raises(ValueError, match="never returns its main metric 'acc'; it returns f1"):
        check_scores(later, scores({"f1": 1.0}))


def test_what_base_has_by_definition_is_no_measurement() -> None:
    gains = TaskInfo(
        name="pairs", revision="1", main_metric="acc", limit=None, num_fewshot=0, n_items=3, relative_to_base=("gain",)
    )
    rows = scores(*[{"gain": 0.5, "acc": 0.5}] * 3)
    of_base, of_method = (summarise(rows, gains.halves(name)) for name in ("base", "dpo"))
    assert of_base["gain"].ci95 == (0.5, 0.5)
    assert of_base["acc"].ci95 == of_method["gain"].ci95 != (0.5, 0.5)
    other = scores({"gain": 0.5}, {"gain": 0.0}, {"gain": 1.0})
    assert summarise(other, {"gain"}) == summarise(other), "judged against another model"
    older = gains.model_copy(update={"relative_to_base": (), "null_by": "shuffled"})
    assert older.halves("base") == {"acc"}
