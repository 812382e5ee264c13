"""TRL's preference trainers on the shared-prefix log-prob step.

TRL lays a prompt's answers out as rows that all hold the prompt. Here it is computed once for all of them and the head
is applied at answer positions only (see `harness.logprobs`); the loss, its options and what it logs stay TRL's.
What TRL logs of whole next-token distributions (entropy, mean logits) is left out: no loss here needs it, and it costs
a pass over the vocabulary at every position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harness.contracts import BASE, Bench, HarnessError, Pair
from harness.lm.logprobs import group_logprobs
from harness.lm.rows import UNSCORED, Group

UNKNOWN = ("entropy", "logits/chosen", "logits/rejected")
"""Figures of TRL's log that the shared-prefix step does not compute."""
Rows = list[dict[str, Any]]


def preference_rows(bench: Bench, pairs: Sequence[Pair], *, reference: str | None = BASE) -> Rows:
    """Rows of token ids for TRL's preference collator, with the reference's summed log-probs unless it is None.

    The reference is fixed and the pairs come back many times: one pass over them is enough.
    """
    rows: Rows = [
        {
            "prompt_ids": bench.render(pair.prompt),
            "chosen_ids": bench.encode(pair.chosen),
            "rejected_ids": bench.encode(pair.rejected),
        }
        for pair in pairs
    ]
    if reference is not None:
        scored = bench.score([p.prompt for p in pairs], [(p.chosen, p.rejected) for p in pairs], of=reference)
        for row, (chosen, rejected) in zip(rows, scored, strict=True):
            row |= {"ref_chosen_logps": chosen.total, "ref_rejected_logps": rejected.total}
    return rows


def sharing_prefixes(trainer_class: type[Any], temperature: float = 1.0) -> type[Any]:
    """A subclass of a TRL trainer with a fused head (DPO, KTO, GRPO) that computes each prompt of a batch once.

    The trainer's loss code runs as it is, on log-probabilities from `SharedPrefixModel`. `temperature` is the one that
    the trainer gave its head, which is passed by here.
    """

    class Sharing(trainer_class):  # type: ignore[misc]
        def _compute_loss(self, model: Any, *arguments: Any, **named: Any) -> Any:
            loss = super()._compute_loss(SharedPrefixModel(model, temperature), *arguments, **named)
            for figure in UNKNOWN:
                self._metrics["train" if model.training else "eval"].pop(figure, None)
            return loss

    return Sharing


def shared_prefix_sft() -> type[Any]:
    """TRL's SFTTrainer with the head at answer positions only, and without padding."""
    from trl import SFTTrainer

    trainer_class: type[Any] = SFTTrainer

    class Sharing(trainer_class):  # type: ignore[misc]
        def compute_loss(self, model: Any, *arguments: Any, **named: Any) -> Any:
            loss = super().compute_loss(SharedPrefixModel(model), *arguments, **named)
            self._metrics["train" if self.model.training else "eval"].pop("entropy", None)
            return loss

    return Sharing


def shared_prefix_dpo() -> type[Any]:
    """TRL's DPOTrainer on `preference_rows`: token ids, with the reference's log-probabilities among them."""
    from trl import DPOTrainer

    class Prepared(sharing_prefixes(DPOTrainer)):  # type: ignore[misc]
        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            if "ref_chosen_logps" not in dataset.column_names:
                raise HarnessError("the rows of a DPO trainer were expected to hold the reference's log-probabilities")
            return dataset

    return Prepared


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
        from trl.trainer.utils import FusedCausalLMOutput

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
        mask = labels[:, 1:] != UNSCORED
        return FusedCausalLMOutput(
            log_probs=logprobs, entropy=zeros, mean_logits=zeros, is_top1=greedy, label_mask=mask
        )


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


def dpo_trainer(bench: Bench, pairs: Sequence[Pair], **method: Any) -> Any:
    """TRL's DPOTrainer on the shared-prefix step; `method` are its arguments. The reference is the base model."""
    from datasets import Dataset
    from trl import DPOConfig

    arguments = bench.arguments(DPOConfig, precompute_ref_log_probs=True, **method)
    return shared_prefix_dpo()(
        model=bench.policy,
        args=arguments,
        train_dataset=Dataset.from_list(preference_rows(bench, pairs)),
        processing_class=bench.tokenizer,
    )
