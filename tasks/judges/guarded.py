"""The alpaca_eval package's annotator, item by item: an error costs the item that it concerns, and no other.

Its prompts, its decoder, its parser and its seeded choice of which answer is shown first are the package's. A reply is
model text, in which a candidate's words may be quoted: a verdict that stands in an answer, too, is no verdict.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.judges.endpoint import about_item, masked, reason, stops

COLUMNS = ("instruction", "output_1", "output_2")
KEPT = ("price_per_example", "completions_all", "raw_completion")
"""Columns, behind the name of the annotation, that the package is asked to keep."""
UNPARSABLE = "the annotator's answer could not be read as a verdict"
SILENT = "the endpoint gave no answer, or none but rate limits"
PLANTED = "the annotator's answer quotes a verdict that stands in one of the answers"
ENOUGH = 8
"""So many items that all fail by no fault of theirs are the endpoint's failure."""
SHORT = 3
"""Lines of an answer that are shorter are not looked for in the annotator's: a letter stands everywhere."""

Key = tuple[str, ...]
Parser = Callable[[Any], Any]


@dataclass
class Failures:
    """Why items have no verdict, by their three texts, and why a run cannot go on, empty where it can."""

    secrets: Sequence[str]
    reasons: dict[Key, str] = field(default_factory=dict)
    stop: str = ""

    def add(self, keys: Sequence[Key], error: Exception) -> None:
        """Note an error on these items; one that every item would meet stops the rest."""
        if isinstance(error, ImportError):
            self.halt(f"needs a package that is not installed: {error}")
        elif (why := stops(error)) is not None:
            self.halt(why)
        self.reasons |= dict.fromkeys(keys, masked(reason(error), self.secrets))

    def halt(self, why: str) -> None:
        """Ask nothing more; the first reason counts."""
        self.stop = self.stop or masked(why, self.secrets)


def annotator(configuration: Path, failures: Failures) -> Any:
    """The package's annotator of a configuration; what it cannot annotate is noted in `failures`."""
    from alpaca_eval.annotators import PairwiseAnnotator
    from alpaca_eval.annotators.base import SingleAnnotator

    single = type("Guarded", (_Guarded, SingleAnnotator), {"failures": failures})
    pairwise = type("PairwiseAnnotator", (PairwiseAnnotator,), {"SingleAnnotator": property(lambda _: single)})
    return pairwise(
        annotators_config=configuration,
        caching_path=None,
        is_avoid_reannotations=False,
        other_output_keys_to_keep=[f"{{annotation_key}}_{name}" for name in KEPT],
    )


class _Guarded:
    """Mixed into the package's `SingleAnnotator`: one row at a time where an endpoint of OpenAI's kind is asked."""

    failures: Failures
    annotation_column: str
    completion_column: str
    batch_size: int
    completions_kwargs: dict[str, Any]
    fn_completions: Any
    fn_completion_parser: Parser

    def __init__(self, *positional: Any, **named: Any) -> None:
        super().__init__(*positional, **named)
        self._now = threading.local()
        self._parse = self.fn_completion_parser
        self.fn_completion_parser = self._guarded_parse
        self.completions_kwargs = dict(self.completions_kwargs)
        self._workers = self.completions_kwargs.pop("num_procs", None)

    def __call__(self, df_to_annotate: Any, **decoding: Any) -> Any:
        """The rows that have an annotation; the others are in `failures`."""
        import pandas as pd

        parts, workers, settings = self._parts(df_to_annotate)
        errors: list[Exception] = []
        with ThreadPoolExecutor(workers) as pool:
            found = list(pool.map(lambda part: self._annotated(part, {**decoding, **settings}, errors), parts))
        if len(errors) == len(parts) >= ENOUGH and not any(map(about_item, errors)):
            self.failures.halt(f"fails on every item: {errors[0]}")
        frames = [frame for frame in found if frame is not None]
        nothing: dict[str, list[Any]] = {self.annotation_column: [], self.completion_column: []}
        return pd.concat(frames) if frames else df_to_annotate.iloc[:0].assign(**nothing)

    def _parts(self, rows: Any) -> tuple[list[Any], int, dict[str, Any]]:
        """(what is asked together, how many at a time, settings): all at once where the package's decoder batches."""
        from alpaca_eval import constants
        from alpaca_eval.decoders.openai import openai_completions

        procs = {} if self._workers is None else {"num_procs": self._workers}
        if self.batch_size != 1 or self.fn_completions is not openai_completions:
            return ([rows] if len(rows) else []), 1, procs
        parts = [rows.iloc[[place]] for place in range(len(rows))]
        return parts, self._workers or constants.OPENAI_MAX_CONCURRENCY, {"num_procs": 1}

    def _annotated(self, part: Any, settings: Mapping[str, Any], errors: list[Exception]) -> Any:
        """The package's annotation of these rows; None where it failed, or where the run is stopped already."""
        keys = [tuple(row) for row in part[list(COLUMNS)].itertuples(index=False)]
        if self.failures.stop:
            return None
        self._now.answers, self._now.reason = [text for key in keys for text in key[1:]], UNPARSABLE
        call: Any = super().__call__  # type: ignore[misc]
        try:
            found = call(part, **settings)
        except Exception as error:  # of the library, or of the package on a reply that it did not expect
            errors.append(error)
            self.failures.add(keys, error)
            return None
        if len(found) < len(keys):
            self.failures.reasons |= dict.fromkeys(keys, self._now.reason)
        return found

    def _guarded_parse(self, completion: Any) -> list[Any]:
        """The package's parser. Raises ValueError, which the package takes for no annotation, for a quoted verdict."""
        text = completion.get("text") if isinstance(completion, Mapping) else completion
        if not text:
            self._now.reason = SILENT
        found = list(self._parse(completion))
        if isinstance(completion, str) and planted(completion, self._now.answers, self._parse):
            self._now.reason = PLANTED
            raise ValueError(PLANTED)
        return found


def planted(reply: str, answers: Sequence[str], parse: Parser) -> bool:
    """Whether the verdict that `parse` reads in a reply comes from lines that stand in one of the answers.

    Lines count that the reply and an answer share; a verdict that the rest gives as well is the annotator's own.
    """
    lines = [line.strip() for text in (reply, *answers) for line in text.splitlines()]
    shared = [x for x in dict.fromkeys(lines) if len(x) >= SHORT and x in reply and any(x in a for a in answers)]
    rest = reply
    for line in sorted(shared, key=len, reverse=True):
        rest = rest.replace(line, "")
    return bool(_read(parse, "\n".join(shared))) and _read(parse, rest) != _read(parse, reply)


def _read(parse: Parser, text: str) -> list[Any]:
    """What a parser reads, nothing where it cannot."""
    try:
        return list(parse(text))
    except Exception:  # every parser of the package refuses in its own way
        return []
