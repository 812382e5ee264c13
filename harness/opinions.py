"""What methods that predict opinions share: option texts, embeddings per question, a result that only chooses.

Needs numpy only. An option is embedded as `prompt`, `listed options`, `A. option text`; all options of one question are
embedded by one call, so that a cached embedding does not depend on which other questions a call happened to hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol

from harness.contracts import (
    Capability,
    ChooseRequest,
    Completion,
    GenerateRequest,
    HarnessError,
    LanguageModel,
    Loglik,
    LoglikRequest,
    Messages,
    Pair,
    Preference,
    PreferRequest,
    Rating,
    Ratings,
    Span,
    user,
)
from harness.text import content_hash, normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Singles = NDArray[np.float32]

Centre = Literal["none", "question", "both"]
Pooling = Literal["all", "answer"]
LABELS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LEAST = 1e-6
"""Smallest probability that a prediction may give, so that its logarithm is finite."""
_QUESTION = re.compile(r"^\s*question\s*:\s*", re.IGNORECASE)
_ANSWER = re.compile(r"\s*answer\s*:\s*$", re.IGNORECASE)


# ---------------------------------------------------------------- questions and their texts


@dataclass(frozen=True, slots=True)
class Question:
    """What is embedded: one text per option, and in each the characters of the option itself."""

    texts: tuple[str, ...]
    spans: tuple[Span, ...]

    @property
    def key(self) -> str:
        """Name of the content: equal texts have equal keys."""
        return content_hash(self.texts, self.spans)


def plain(messages: Messages) -> str:
    """A conversation as plain text."""
    return "\n\n".join(message.content for message in messages)


def bare(prompt: str, options: Sequence[str]) -> str:
    """The question alone: without `Question:`, `Answer:`, and the list of its options where that stands at the end."""
    text = _ANSWER.sub("", _QUESTION.sub("", prompt)).strip()
    for joint in (" ", "\n"):
        listed = joint.join(_labelled(options))
        if text.endswith(listed):
            text = re.sub(r"\s*options\s*:\s*$", "", text[: -len(listed)], flags=re.IGNORECASE).strip()
    return text


def option_question(prompt: str, options: Sequence[str]) -> Question:
    """A closed question: each text holds the prompt, all listed options, and one of them as the answer.

    Raises HarnessError without options, or with more than there are letters.
    """
    if not 0 < len(options) <= len(LABELS):
        raise HarnessError(f"a question with 1 to {len(LABELS)} options was expected, {len(options)} were given")
    head = f"{bare(prompt, options)}\nOptions: {' '.join(_labelled(options))}\nAnswer: "
    return _question([f"{head}{letter}. " for letter, _ in zip(LABELS, options, strict=False)], options)


def closed_question(group: str, rating: Rating) -> ChooseRequest:
    """A rating's question, lettered and asked on behalf of a group. Raises HarnessError beyond 26 options."""
    if len(rating.options) > len(LABELS):
        raise HarnessError(
            f"question {rating.question!r} has {len(rating.options)} options; at most {len(LABELS)} can be lettered"
        )
    labels = tuple(LABELS[: len(rating.options)])
    return ChooseRequest(prompt=user(rating.prompt), labels=labels, options=rating.options, group=group)


def answers_question(prompt: str, answers: Sequence[str]) -> Question:
    """An open question and answers to it."""
    return _question([f"{prompt}\n\n"] * len(answers), answers)


def same_question(prompt: str, options: Sequence[str]) -> str:
    """A name that two askings of one question share, whatever their case, spacing and listing of options."""
    return "\x1f".join((normalise(bare(prompt, options)), *map(normalise, options)))


def _labelled(options: Sequence[str]) -> list[str]:
    return [f"{letter}. {option}" for letter, option in zip(LABELS, options, strict=False)]


def _question(heads: Sequence[str], answers: Sequence[str]) -> Question:
    texts = tuple(head + (answer if answer.strip() else ".") for head, answer in zip(heads, answers, strict=True))
    return Question(texts, tuple((len(head), len(text)) for head, text in zip(heads, texts, strict=True)))


# ---------------------------------------------------------------- rated questions


@dataclass(frozen=True, slots=True)
class Rated:
    """A question and one source's preference for each of its options, in [0, 1], summing to 1."""

    question: Question
    y: tuple[float, ...]


def rated(ratings: Sequence[Rating]) -> tuple[Rated, ...]:
    """A group's ratings. Raises HarnessError where probabilities are not as many as options, or no numbers."""
    return tuple(Rated(option_question(r.prompt, r.options), _checked(r)) for r in ratings)


def rated_pairs(pairs: Sequence[Pair], *, swapped: bool = False) -> tuple[Rated, ...]:
    """One question per pair: y is 1 for the chosen and 0 for the rejected answer, or the reverse where `swapped`."""
    y = (0.0, 1.0) if swapped else (1.0, 0.0)
    return tuple(Rated(answers_question(plain(p.prompt), (p.chosen, p.rejected)), y) for p in pairs)


def known_group(group: str | None, groups: Ratings | Mapping[str, Any]) -> str:
    """The group asked for. Raises HarnessError naming the nearest when it is not one of the target groups."""
    if group in groups:
        return str(group)
    import difflib

    close = difflib.get_close_matches(str(group), list(groups), n=1, cutoff=0.0)
    raise HarnessError(
        f"a question was asked on behalf of group {group!r}; a target group such as {close} was expected"
    )


def _checked(rating: Rating) -> tuple[float, ...]:
    y = rating.probabilities
    if len(y) != len(rating.options) or not all(0.0 <= p <= 1.0 for p in y) or abs(sum(y) - 1) > 1e-3:
        raise HarnessError(
            f"question {rating.question!r}: one probability per option, summing to 1, was expected, got {list(y)}"
        )
    return y


# ---------------------------------------------------------------- embeddings


@dataclass
class Embedder:
    """Embeds questions, each once. `embed` is `Bench.embed` or `LanguageModel.embed` under the base weights."""

    embed: Callable[..., Any]
    layer: int = -1
    pool: Pooling = "all"
    off: Callable[[], AbstractContextManager[None]] | None = None
    """Enters the base model's weights; None where `embed` reads them anyway."""
    known: dict[str, Singles] = field(default_factory=dict)

    def __call__(self, question: Question) -> Singles:
        """(options, D), from memory where the same content was asked before."""
        self.prepare([question])
        return self.known[question.key]

    def prepare(self, questions: Iterable[Question]) -> None:
        """Embed what is not in memory yet; the base weights are entered once for all, which costs time."""
        missing = {one.key: one for one in questions if one.key not in self.known}
        if missing:
            with nullcontext() if self.off is None else self.off():
                self.known |= {key: self._embed(one) for key, one in missing.items()}

    def _embed(self, question: Question) -> Singles:
        import numpy as np

        spans = question.spans if self.pool == "answer" else None
        return np.asarray(self.embed(question.texts, layer=self.layer, spans=spans), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Features:
    """From raw embeddings to a method's inputs: centred by question, standardised by figures of the training texts.

    The options of one question share its prompt, which dominates a mean over tokens: centring leaves what tells them
    apart. `both` gives the embedding and the centred one side by side; `mean` and `scale` are then of shape (2D,), else
    (D,).
    """

    centre: Centre
    mean: Singles
    scale: Singles

    @classmethod
    def of(cls, raw: Sequence[Singles], centre: Centre, *, standardise: bool) -> Features:
        """Fit on the raw embeddings of every training question, each (options, D)."""
        import numpy as np

        rows = np.concatenate([_centred(one, centre) for one in raw])
        if not standardise:
            return cls(centre, np.zeros(rows.shape[1], np.float32), np.ones(rows.shape[1], np.float32))
        spread = rows.std(0)
        scale = np.where(spread > 1e-6, spread, 1.0).astype(np.float32)
        return cls(centre, rows.mean(0, dtype=np.float64).astype(np.float32), scale)

    def __call__(self, raw: Singles) -> Singles:
        """(options, D) -> (options, D) or (options, 2D)."""
        return (_centred(raw, self.centre) - self.mean) / self.scale


def _centred(raw: Singles, centre: Centre) -> Singles:
    import numpy as np

    if centre == "none":
        return raw
    inner = raw - raw.mean(0, keepdims=True)
    return inner if centre == "question" else np.concatenate([raw, inner], axis=1)


# ---------------------------------------------------------------- what groups share, and along what they differ


PENALTIES = tuple(10.0**power for power in range(-2, 9))
"""Penalties tried, in units of the mean squared length of a row; the largest is as good as no fit."""
LEAST_SHARE = 1e-3
"""Least share of an option in what groups are said to share, so that no logarithm runs away."""


def ridge(x: Floats, y: Floats, penalty: float) -> Floats:
    """argmin_w |y - x w|^2 + penalty s |w|^2, with s the mean squared row of x: (N, D), (N, K) -> (D, K)."""
    import numpy as np

    weights: Floats = x.T @ np.linalg.solve(x @ x.T + penalty * _size(x) * np.eye(len(x)), y)
    return weights


def ridge_without_each(x: Floats, y: Floats, blocks: Sequence[slice], penalty: float) -> Floats:
    """Predictions (N, K) for each block of rows by the fit without it, exact: y_B - (I - H_BB)^-1 (y - H y)_B."""
    import numpy as np

    kernel = x @ x.T
    hat = np.linalg.solve(kernel + penalty * _size(x) * np.eye(len(x)), kernel).T
    residual, found = y - hat @ y, np.empty_like(y)
    for rows in blocks:
        inner = np.eye(rows.stop - rows.start) - hat[rows, rows]
        found[rows] = y[rows] - np.linalg.solve(inner, residual[rows])
    return found


Part = tuple["Floats", "Floats", Sequence[slice]]
"""Rows (N, D), targets (N,) or (N, K), and the rows of each question."""


def best_penalty(parts: Sequence[Part]) -> float:
    """The penalty under which questions that are left out are predicted best; of equals, the largest.

    The squared error is summed over parts that are fitted apart.
    """

    def error(penalty: float) -> float:
        return sum(float(((ridge_without_each(x, y, blocks, penalty) - y) ** 2).sum()) for x, y, blocks in parts)

    return min(reversed(PENALTIES), key=error)


def _size(x: Floats) -> float:
    return max(float((x**2).sum(1).mean()), 1e-12)


@dataclass(frozen=True, eq=False)
class Outlook:
    """What the training groups share, and the axes along which they differ, read off an option's features by ridge.

    The axes are the first K principal directions of the groups' deviations from their mean, as predicted for each
    training question by the fit without it: a feature then means the same for a question that no group has answered.
    """

    weights: Floats
    """(D, 1 + K): from features, less their question's mean, to the mean's deviation from uniform and to the axes."""
    unit: float
    """Root mean square of the deviations from the mean."""
    known: Mapping[str, Floats]
    """By key of a training question: (options, 1 + K), the mean itself and the axes."""

    @property
    def axes(self) -> int:
        """K."""
        return int(self.weights.shape[1]) - 1

    def __call__(self, question: Question, x: Singles) -> tuple[Floats, Singles]:
        """(what groups share (options,), summing to 1; axes (options, K)) of features x (options, D)."""
        import numpy as np

        found = self.known.get(question.key)
        if found is None:
            found = _inner(x) @ self.weights
            found[:, 0] += 1 / len(x)
        shared = np.maximum(found[:, 0], LEAST_SHARE)
        return shared / shared.sum(), found[:, 1:].astype(np.float32)

    @classmethod
    def of(
        cls, sources: Sequence[Sequence[Rated]], features: Callable[[Question], Singles], axes: int
    ) -> Outlook | None:
        """Fit on groups' ratings; None unless two groups differ, and on two questions that they share."""
        import numpy as np

        questions, ratings = _shared(sources)
        if len(questions) < 2:
            return None
        x = np.concatenate([_inner(features(one)) for one in questions])
        mean = np.nanmean(ratings, axis=0)
        apart = np.nan_to_num(ratings - mean)
        _, size, directions = np.linalg.svd(apart, full_matrices=False)
        if size[0] < LEAST:
            return None
        kept = min(axes, int((size > 1e-6 * size[0]).sum()))
        return cls._fit(questions, x, mean, directions[:kept].T * size[:kept], float(np.sqrt((apart**2).mean())))

    @classmethod
    def _fit(cls, questions: Sequence[Question], x: Floats, mean: Floats, axes: Floats, unit: float) -> Outlook:
        import numpy as np

        ends = np.cumsum([len(one.texts) for one in questions]).tolist()
        blocks = [slice(end - len(one.texts), end) for one, end in zip(questions, ends, strict=True)]
        uniform = np.concatenate([np.full(len(one.texts), 1 / len(one.texts)) for one in questions])
        base = (mean - uniform)[:, None]
        weights = ridge(x, base, best_penalty([(x, base, blocks)]))
        if axes.shape[1]:
            penalty = best_penalty([(x, axes, blocks)])
            axes, slopes = ridge_without_each(x, axes, blocks, penalty), ridge(x, axes, penalty)
            spread = np.where(axes.std(0) > LEAST, axes.std(0), 1.0)
            axes, weights = axes / spread, np.concatenate([weights, slopes / spread], axis=1)
        rows = np.concatenate([mean[:, None], axes], axis=1)
        known = {one.key: rows[block] for one, block in zip(questions, blocks, strict=True)}
        return cls(weights, unit, known)


def _inner(x: Singles) -> Floats:
    """Rows less their mean: what groups think of a question's options sums to 1, so deviations sum to 0."""
    import numpy as np

    wide = x.astype(np.float64)
    inner: Floats = wide - wide.mean(0)
    return inner


def _shared(sources: Sequence[Sequence[Rated]]) -> tuple[list[Question], Floats]:
    """Questions that two sources or more have rated, and (sources, options of all) ratings; NaN where there is none."""
    import numpy as np

    given: dict[str, dict[int, tuple[float, ...]]] = {}
    questions: dict[str, Question] = {}
    for number, source in enumerate(sources):
        for one in source:
            questions[one.question.key] = one.question
            given.setdefault(one.question.key, {})[number] = one.y
    shared = [key for key, found in given.items() if len(found) > 1]
    blank = {key: (np.nan,) * len(questions[key].texts) for key in shared}
    rows = [[v for key in shared for v in given[key].get(n, blank[key])] for n in range(len(sources))]
    return [questions[key] for key in shared], np.array(rows, dtype=np.float64)


# ---------------------------------------------------------------- results


def log_distribution(p: Sequence[float] | Floats) -> list[float]:
    """Natural logarithm of probabilities after clipping at 1e-6 and normalising. Raises HarnessError for a NaN."""
    import numpy as np

    values = np.asarray(p, dtype=np.float64)
    if not np.isfinite(values).all():
        raise HarnessError(f"a finite preference per option was expected, got {values.tolist()}")
    values = np.maximum(values, LEAST)
    return [float(v) for v in np.log(values / values.sum())]


class Predictor(Protocol):
    """Predicts opinions; can be written to JSON and arrays."""

    def predict(self, request: ChooseRequest) -> Sequence[float]:
        """Probabilities over the request's options."""
        ...

    def settings(self) -> dict[str, Any]:
        """What `load` needs, as JSON values."""
        ...

    def arrays(self) -> dict[str, Any]:
        """What `load` needs, as numpy arrays."""
        ...


@dataclass(frozen=True)
class GroupAligned:
    """A result that can answer closed questions on behalf of a group, beside the language model it was made with."""

    model: LanguageModel
    name: str
    predictor: Predictor

    @property
    def capabilities(self) -> frozenset[Capability]:
        """It chooses; it writes nothing."""
        return frozenset({"choose"})

    @property
    def tokenizer(self) -> Any:
        """The language model's tokenizer."""
        return self.model.tokenizer

    @property
    def max_length(self) -> int:
        """The language model's, in tokens."""
        return self.model.max_length

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Log-probabilities over each request's options, normalised."""
        return [log_distribution(self.predictor.predict(request)) for request in requests]

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]:
        """Raises HarnessError."""
        self._cannot("generate")

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Raises HarnessError."""
        self._cannot("loglik")

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]:
        """Raises HarnessError."""
        self._cannot("prefer")

    def save(self, folder: Path) -> None:
        """Write the language model's part, and the predictor as JSON and safetensors."""
        self.model.save(folder)
        write(folder, self.name, self.predictor.settings(), self.predictor.arrays())

    def _cannot(self, what: str) -> NoReturn:
        raise HarnessError(f"the result of {self.name} cannot {what}; it can choose")


def write(folder: Path, name: str, settings: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write `<name>.json` and, where there are arrays, `<name>.safetensors`."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    if arrays:
        save_file(dict(arrays), str(folder / f"{name}.safetensors"))
    content = json.dumps(dict(settings), ensure_ascii=False, indent=1, sort_keys=True)
    (folder / f"{name}.json").write_text(content + "\n", encoding="utf-8")


def read(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """(settings, arrays) that `write` wrote; None where a fit was stopped before it had anything to write."""
    from safetensors.numpy import load_file

    if not (folder / f"{name}.json").exists():
        return None
    arrays = folder / f"{name}.safetensors"
    settings = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return settings, load_file(str(arrays)) if arrays.exists() else {}
