"""TRL's preference trainers on the shared-prefix log-prob step.

TRL lays a pair out as two rows that both hold the prompt. Here the prompt is computed once for both answers and the
head is applied at answer positions only (see `harness.logprobs`); the loss, its options and what it logs stay TRL's.
What TRL logs of whole next-token distributions (entropy, mean logits) is left out: no loss here needs it, and it costs
a pass over the vocabulary at every position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harness.contracts import BASE, Bench, HarnessError, Pair
from harness.logprobs import Group, group_logprobs

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


def shared_prefix_dpo() -> type[Any]:
    """A subclass of TRL's DPOTrainer that takes `preference_rows` as they are and computes each prompt once."""
    from trl import DPOTrainer

    class SharedPrefixDPO(DPOTrainer):  # type: ignore[misc]
        """TRL's DPO; its rows are token ids, the reference's log-probs among them."""

        def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return dataset

        def _precompute_ref_logps(self, dataset: Any, name: str, batch_size: int) -> Any:
            if "ref_chosen_logps" not in dataset.column_names:
                raise HarnessError("the rows of a DPO trainer were expected to hold the reference's log-probabilities")
            return dataset

        def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
            loss = super()._compute_loss(SharedPrefixModel(model), inputs, return_outputs)
            for figure in UNKNOWN:
                self._metrics["train" if model.training else "eval"].pop(figure, None)
            return loss

    return SharedPrefixDPO


class SharedPrefixModel:
    """Stands in for a model with TRL's fused head, for a batch of rows [chosen; rejected] with the same prompts."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, *, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, **_: Any) -> Any:
        """Per-token figures of shape (2 B, L - 1), zero where the label is -100."""
        from trl.trainer.utils import FusedCausalLMOutput

        halves = _answers(input_ids, attention_mask, labels)
        pairs = len(halves) // 2
        groups = [_group(halves[i], halves[i + pairs]) for i in range(pairs)]
        scored = group_logprobs(self._model, groups)
        stats = [first for first, _ in scored] + [second for _, second in scored]
        shape = (input_ids.shape[0], input_ids.shape[1] - 1)
        starts = [len(prompt) - 1 for prompt, _ in halves]
        logprobs = _laid_out([s.logprobs for s in stats], starts, shape)
        greedy = _laid_out([s.greedy for s in stats], starts, shape)
        zeros = torch.zeros(shape, device=input_ids.device)
        return FusedCausalLMOutput(log_probs=logprobs, entropy=zeros, mean_logits=zeros, is_top1=greedy)


def _answers(input_ids: Tensor, attention_mask: Tensor, labels: Tensor) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids) of every right-padded row."""
    rows = []
    for ids, real, wanted in zip(input_ids.tolist(), attention_mask.sum(1).tolist(), labels.tolist(), strict=True):
        start = next((i for i, label in enumerate(wanted) if label != -100), real)
        rows.append((ids[:start], ids[start:real]))
    return rows


def _group(chosen: tuple[list[int], list[int]], rejected: tuple[list[int], list[int]]) -> Group:
    if chosen[0] != rejected[0]:
        raise HarnessError("the two answers of a pair were expected to follow the same prompt")
    return Group(chosen[0], [chosen[1], rejected[1]])


def _laid_out(values: Sequence[Tensor], starts: Sequence[int], shape: tuple[int, int]) -> Tensor:
    """Rows of zeros with each `values[i]` from column `starts[i]` on; differentiable."""
    width = shape[1]
    padded = [
        torch.nn.functional.pad(value, (start, width - start - len(value)))
        for value, start in zip(values, starts, strict=True)
    ]
    return torch.stack(padded)


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
