"""The one module that touches `trl.experimental`, whose classes move between releases of TRL.

Written against TRL 1.16, where CPOTrainer (it holds SimPO's loss) and ORPOTrainer are experimental. A class is looked
for there and among TRL's stable names; where it is in neither, the error says which release is installed.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor

from harness.contracts import Bench, HarnessError, Pair
from harness.lm.logprobs import group_logprobs
from harness.lm.rows import UNSCORED, Group

WRITTEN_FOR = "1.16"


def simpo_trainer(bench: Bench, pairs: Sequence[Pair], **method: Any) -> Any:
    """TRL's CPOTrainer with SimPO's loss on `pairs`, with `method` as its arguments.

    Raises HarnessError when TRL has moved it.
    """
    config_class, trainer_class = (_found("cpo", name) for name in ("CPOConfig", "CPOTrainer"))
    # TRL adds CPO's likelihood term to SimPO unless told not to.
    arguments = bench.arguments(config_class, loss_type="simpo", cpo_alpha=0.0, **method)
    return _built(sharing_prefixes(trainer_class), bench, pairs, arguments)


def orpo_trainer(bench: Bench, pairs: Sequence[Pair], *, prompt_loss: bool, **method: Any) -> Any:
    """TRL's ORPOTrainer on `pairs`, with `method` as its arguments. Raises HarnessError when TRL has moved it.

    Its likelihood term covers the chosen answer; with `prompt_loss`, as in TRL, the prompt too.
    """
    config_class, trainer_class = (_found("orpo", name) for name in ("ORPOConfig", "ORPOTrainer"))
    chosen_class = trainer_class if prompt_loss else sharing_prefixes(trainer_class)
    return _built(chosen_class, bench, pairs, bench.arguments(config_class, **method))


def sharing_prefixes(trainer_class: type[Any]) -> type[Any]:
    """A subclass of an experimental pair trainer that computes each prompt once and the head at answers only.

    TRL's loss code runs as it is, on mean log-probabilities of a token; the likelihood term is that of the chosen
    answers' tokens. TRL's log of mean logits, which needs them at every position, is left out.
    """

    class Sharing(trainer_class):  # type: ignore[misc]
        def concatenated_forward(self, model: Any, batch: Any) -> tuple[Any, ...]:
            chosen, rejected = answer_logprobs(model, batch)
            none = torch.zeros(1, device=model.device)
            means = (torch.stack([one.mean() for one in side]) for side in (chosen, rejected))
            return (*means, none, none, -torch.cat(chosen).mean())

        def get_batch_loss_metrics(self, model: Any, batch: Any, train_eval: str = "train") -> Any:
            loss, metrics = super().get_batch_loss_metrics(model, batch, train_eval)
            return loss, {name: value for name, value in metrics.items() if "logits/" not in name}

    return Sharing


def answer_logprobs(model: Any, batch: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Per-token log-probabilities (nats) of every chosen and every rejected answer of a batch of `padded_row`s."""

    def scored(side: str) -> list[list[int]]:
        return [[token for token in row if token != UNSCORED] for row in batch[f"{side}_labels"].tolist()]

    prompts = zip(batch["prompt_input_ids"].tolist(), batch["prompt_attention_mask"].tolist(), strict=True)
    given = [[token for token, real in zip(ids, mask, strict=True) if real] for ids, mask in prompts]
    groups = [Group(p, [w, lo]) for p, w, lo in zip(given, scored("chosen"), scored("rejected"), strict=True)]
    stats = group_logprobs(model, groups)
    return [pair[0].logprobs for pair in stats], [pair[1].logprobs for pair in stats]


def padded_row(bench: Bench, pair: Pair) -> dict[str, list[int]]:
    """A row of TRL's experimental pair trainers: whole sequences, with labels of -100 on the prompt."""
    prompt = bench.render(pair.prompt)
    row = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
    for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        answer = bench.encode(text)
        row[f"{side}_input_ids"] = prompt + answer
        row[f"{side}_attention_mask"] = [1] * (len(prompt) + len(answer))
        row[f"{side}_labels"] = [UNSCORED] * len(prompt) + answer
    return row


class Rows(list[dict[str, list[int]]]):
    """Finished rows in place of a data set: the trainers ask to map a template and a tokeniser over them."""

    def map(self, *_: Any, **__: Any) -> Rows:
        """The rows as they are."""
        return self


def _built(trainer_class: Any, bench: Bench, pairs: Sequence[Pair], arguments: Any) -> Any:
    rows = Rows(padded_row(bench, pair) for pair in pairs)
    return trainer_class(model=bench.policy, args=arguments, train_dataset=rows, processing_class=bench.tokenizer)


def _found(folder: str, name: str) -> Any:
    """A class of `trl.experimental.<folder>`, or the one that TRL has made stable since."""
    places = (f"trl.experimental.{folder}", "trl")
    with warnings.catch_warnings():
        # Importing the experimental package warns that its names may move, which is what this module is for.
        warnings.simplefilter("ignore")
        for place in places:
            try:
                return getattr(importlib.import_module(place), name)
            except (ImportError, AttributeError):
                continue
    raise HarnessError(
        f"TRL {version('trl')} has no {name} in {' or '.join(places)}, where TRL {WRITTEN_FOR} has it; "
        f"install trl=={WRITTEN_FOR}.*"
    )
