"""The one door to TRL's insides: its trainers on the shared-prefix log-prob step.

TRL lays a prompt's answers out as rows that all hold the prompt. Here it is computed once for all of them and the head
is applied at answer positions only (see `harness.lm.logprobs`); the loss, its options and what it logs stay TRL's. What
TRL logs of whole next-token distributions (entropy, mean logits) is left out: no loss here needs it, and it costs a
pass over the vocabulary at every position.

Written against TRL 1.16, whose private corners (`CORNERS`) move between minor releases, and whose `trl.experimental`
holds CPOTrainer (SimPO's loss is in it) and ORPOTrainer. A class is looked for there and among TRL's stable names.
Where a class or a corner is missing, the error says which release is installed and which is needed.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from harness.contracts import HarnessError
from harness.lm.logprobs import group_logprobs
from harness.lm.paths import fast
from harness.lm.rows import UNSCORED, Group

WRITTEN_FOR = "1.16"
"""The minor release of TRL whose corners these are."""

PAIRED = ("concatenated_forward", "get_batch_loss_metrics")
CORNERS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "SFTTrainer": ("compute_loss",),
        "DPOTrainer": ("_compute_loss", "_prepare_dataset", "_precompute_ref_logps"),
        "KTOTrainer": ("_compute_loss", "_prepare_dataset", "_precompute_ref_logps"),
        "GRPOTrainer": ("_compute_loss",),
        "CPOTrainer": PAIRED,
        "ORPOTrainer": PAIRED,
    }
)
"""Methods of each trainer that the classes below take the place of."""

EXPERIMENTAL: Mapping[str, str] = MappingProxyType({"CPO": "trl.experimental.cpo", "ORPO": "trl.experimental.orpo"})
"""Where TRL keeps what is not stable, by the beginning of its name."""

HASH = "hash_module"
"""What the modules of the DPO and KTO trainers hash a model's weights with."""

UNKNOWN = ("entropy", "logits/chosen", "logits/rejected")
"""Figures of TRL's log that the shared-prefix step does not compute."""


def found(name: str) -> Any:
    """A class of TRL, with all the corners that are used of it. Raises HarnessError when TRL has moved one."""
    home = next((place for start, place in EXPERIMENTAL.items() if name.startswith(start)), None)
    places = ("trl",) if home is None else (home, "trl")
    with warnings.catch_warnings():
        # Importing the experimental package warns that its names may move, which is what this module is for.
        warnings.simplefilter("ignore")
        known = next((one for place in places if (one := _attribute(place, name)) is not None), None)
    if known is None:
        raise _moved(f"{name} in {' or '.join(places)}")
    for corner in CORNERS.get(name, ()):
        if not hasattr(known, corner):
            raise _moved(f"{name}.{corner}")
    return known


def _attribute(place: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(place), name)
    except (ImportError, AttributeError):
        return None


def _moved(what: str) -> HarnessError:
    return HarnessError(
        f"TRL {version('trl')} has no {what}, where TRL {WRITTEN_FOR} has it; install trl=={WRITTEN_FOR}.*"
    )


# ---------------------------------------------------------------- trainers with a fused head

# `mean_over_rows`: half a batch, twice, gives the same gradient (`harness.fit.phases.halves`).


def sharing_prefixes(trainer_class: type[Any], temperature: float = 1.0) -> type[Any]:
    """A subclass of a TRL trainer with a fused head (DPO, KTO, GRPO) that computes each prompt of a batch once.

    The trainer's loss code runs as it is, on log-probabilities from `SharedPrefixModel`. `temperature` is the one that
    the trainer gave its head, which is passed by here. Without fast paths the model computes as TRL made it.
    """

    class Sharing(trainer_class):  # type: ignore[misc]
        def _compute_loss(self, model: Any, *arguments: Any, **named: Any) -> Any:
            asked = SharedPrefixModel(model, temperature) if fast() else model
            loss = super()._compute_loss(asked, *arguments, **named)
            for figure in UNKNOWN:
                self._metrics["train" if model.training else "eval"].pop(figure, None)
            return loss

    return Sharing


def shared_prefix_sft() -> type[Any]:
    """TRL's SFTTrainer with the head at answer positions only, and without padding."""
    trainer_class: type[Any] = found("SFTTrainer")

    class SharingAnswers(trainer_class):  # type: ignore[misc]
        mean_over_rows = True

        def compute_loss(self, model: Any, *arguments: Any, **named: Any) -> Any:
            loss = super().compute_loss(SharedPrefixModel(model) if fast() else model, *arguments, **named)
            self._metrics["train" if self.model.training else "eval"].pop("entropy", None)
            return loss

    return SharingAnswers


def shared_prefix_dpo() -> type[Any]:
    """TRL's DPOTrainer on rows of token ids, with the reference's log-probabilities among them."""

    trainer_class = found("DPOTrainer")

    class Prepared(sharing_prefixes(trainer_class)):  # type: ignore[misc]
        mean_over_rows = True

        def __init__(self, *arguments: Any, **named: Any) -> None:
            with _unhashed(trainer_class):
                super().__init__(*arguments, **named)

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            if "ref_chosen_logps" not in dataset.column_names:
                raise HarnessError("the rows of a DPO trainer were expected to hold the reference's log-probabilities")
            return dataset

    return Prepared


def shared_prefix_kto() -> type[Any]:
    """TRL's KTOTrainer on rows of token ids, with the reference's log-probabilities among them."""

    trainer_class = found("KTOTrainer")

    class Encoded(sharing_prefixes(trainer_class)):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            with _unhashed(trainer_class):
                super().__init__(*arguments, **named)

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            if not {"ref_logps", "ref_KL_logps"} <= set(dataset.column_names):
                raise HarnessError("the rows of a KTO trainer were expected to hold the reference's log-probabilities")
            return dataset

    return Encoded


@contextmanager
def _unhashed(trainer_class: type[Any]) -> Iterator[None]:
    """Inside, a trainer that is built takes no hash of all weights, which would name a file of reference figures.

    Ours are among the rows, so that no such file is written. The hash takes seconds, and there is none of weights that
    several processes divide.
    """
    home = sys.modules[trainer_class.__module__]
    if not hasattr(home, HASH):
        raise _moved(f"{HASH} in {home.__name__}")
    before = getattr(home, HASH)
    setattr(home, HASH, lambda model: "")
    try:
        yield
    finally:
        setattr(home, HASH, before)


def shared_prefix_grpo(temperature: float) -> type[Any]:
    """TRL's GRPOTrainer, at the temperature of its samples."""
    return sharing_prefixes(found("GRPOTrainer"), temperature)


@dataclass(frozen=True, slots=True)
class _Sequence:
    """A row of a batch without its padding: what is given, what is scored, and the column of the first scored token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    start: int


class SharedPrefixModel:
    """Stands in for a model with TRL's fused head: rows with the same prompt share its computation."""

    def __init__(self, model: Any, temperature: float = 1.0) -> None:
        self._model, self._temperature = model, temperature

    def __getattr__(self, name: str) -> Any:
        """Everything else is the model's own."""
        return getattr(self._model, name)

    def __call__(self, *, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **_: Any) -> Any:
        """Per-token figures of shape (B, L - 1), zero where the label is -100, for rows padded on either side.

        The answer is what has labels; it is taken to be the end of a row.
        """
        rows = _sequences(input_ids, attention_mask, labels)
        prompts = list(dict.fromkeys(row.prompt for row in rows))
        members = {prompt: [i for i, row in enumerate(rows) if row.prompt == prompt] for prompt in prompts}
        groups = [Group(p, [rows[i].answer for i in members[p]]) for p in prompts]
        scored = group_logprobs(self._model, groups, temperature=self._temperature)
        stats = {
            i: one
            for prompt, group in zip(prompts, scored, strict=True)
            for i, one in zip(members[prompt], group, strict=True)
        }
        shape = (input_ids.shape[0], input_ids.shape[1] - 1)
        starts = [row.start - 1 for row in rows]
        logprobs = _laid_out([stats[i].logprobs for i in range(len(rows))], starts, shape[1])
        greedy = _laid_out([stats[i].greedy for i in range(len(rows))], starts, shape[1])
        zeros = torch.zeros(shape, device=input_ids.device)
        return _fused_output()(
            log_probs=logprobs,
            entropy=zeros,
            mean_logits=zeros,
            is_top1=greedy,
            label_mask=labels[:, 1:] != UNSCORED,
        )


def _fused_output() -> Any:
    output = _attribute("trl.trainer.utils", "FusedCausalLMOutput")
    if output is None:
        raise _moved("FusedCausalLMOutput in trl.trainer.utils")
    return output


def _sequences(input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> list[_Sequence]:
    rows = []
    for ids, real, wanted in zip(input_ids.tolist(), attention_mask.tolist(), labels.tolist(), strict=True):
        start = next((i for i, label in enumerate(wanted) if label != UNSCORED), len(ids))
        kept = [i for i in range(len(ids)) if real[i]]
        prompt = tuple(ids[i] for i in kept if i < start)
        rows.append(_Sequence(prompt, tuple(ids[i] for i in kept if i >= start), start))
    return rows


def _laid_out(values: Sequence[Tensor], starts: Sequence[int], width: int) -> Tensor:
    """Rows of zeros with each `values[i]` from column `starts[i]` on; differentiable."""
    pad = torch.nn.functional.pad
    return torch.stack([pad(v, (start, width - start - len(v))) for v, start in zip(values, starts, strict=True)])


# ---------------------------------------------------------------- experimental trainers of pairs


def shared_prefix_pairs(name: str) -> type[Any]:
    """A subclass of CPOTrainer or ORPOTrainer that computes each prompt once and the head at answers only.

    TRL's loss code runs as it is, on mean log-probabilities of a token; the likelihood term is that of the chosen
    answers' tokens. TRL's log of mean logits, which needs them at every position, is left out.
    """
    trainer_class: type[Any] = found(name)

    class SharingPairs(trainer_class):  # type: ignore[misc]
        mean_over_rows = name == "CPOTrainer"  # ORPO's likelihood term is a mean over the tokens of its batch

        def concatenated_forward(self, model: Any, batch: Any) -> tuple[Any, ...]:
            chosen, rejected = answer_logprobs(model, batch)
            none = torch.zeros(1, device=model.device)
            means = (torch.stack([one.mean() for one in side]) for side in (chosen, rejected))
            return (*means, none, none, -torch.cat(chosen).mean())

        def get_batch_loss_metrics(self, model: Any, batch: Any, train_eval: str = "train") -> Any:
            loss, metrics = super().get_batch_loss_metrics(model, batch, train_eval)
            return loss, {name: value for name, value in metrics.items() if "logits/" not in name}

    return SharingPairs


def answer_logprobs(model: Any, batch: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Per-token log-probabilities (nats) of every chosen and every rejected answer of a batch of such rows."""

    def scored(side: str) -> list[list[int]]:
        return [[token for token in row if token != UNSCORED] for row in batch[f"{side}_labels"].tolist()]

    prompts = zip(batch["prompt_input_ids"].tolist(), batch["prompt_attention_mask"].tolist(), strict=True)
    given = [[token for token, real in zip(ids, mask, strict=True) if real] for ids, mask in prompts]
    groups = [Group(p, [w, lo]) for p, w, lo in zip(given, scored("chosen"), scored("rejected"), strict=True)]
    stats = group_logprobs(model, groups)
    return [pair[0].logprobs for pair in stats], [pair[1].logprobs for pair in stats]


class Finished(list[dict[str, list[int]]]):
    """Finished rows in place of a data set: these trainers ask to map a template and a tokeniser over them."""

    def map(self, *_: Any, **__: Any) -> Finished:
        """The rows as they are."""
        return self
