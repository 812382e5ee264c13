"""The one module that touches `trl.experimental`, whose classes move between releases of TRL.

Written against TRL 1.16, where CPOTrainer (it holds SimPO's loss) and ORPOTrainer are experimental. A class is looked
for there and among TRL's stable names; where it is in neither, the error says which release is installed.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from harness.contracts import Bench, HarnessError, Pair

if TYPE_CHECKING:
    from torch import Tensor

WRITTEN_FOR = "1.16"


def cpo_trainer(bench: Bench, pairs: Sequence[Pair], **method: Any) -> Any:
    """TRL's CPOTrainer on `pairs`, with `method` as its arguments. Raises HarnessError when TRL has moved it."""
    config_class, trainer_class = (_found("cpo", name) for name in ("CPOConfig", "CPOTrainer"))
    return _built(trainer_class, bench, pairs, bench.arguments(config_class, **method))


def orpo_trainer(bench: Bench, pairs: Sequence[Pair], *, prompt_loss: bool, **method: Any) -> Any:
    """TRL's ORPOTrainer on `pairs`, with `method` as its arguments. Raises HarnessError when TRL has moved it.

    Its likelihood term covers prompt and answer; with `prompt_loss` off, the answer alone.
    """
    config_class, trainer_class = (_found("orpo", name) for name in ("ORPOConfig", "ORPOTrainer"))

    class AnswersOnly(trainer_class):  # type: ignore[misc, valid-type]
        def concatenated_forward(self, model: Any, batch: Any) -> tuple[Any, ...]:
            chosen, rejected, chosen_logits, rejected_logits, _, *rest = super().concatenated_forward(model, batch)
            likelihood = token_mean(chosen, (batch["chosen_labels"][:, 1:] != -100).sum(1))
            return (chosen, rejected, chosen_logits, rejected_logits, -likelihood, *rest)

    chosen_class = trainer_class if prompt_loss else AnswersOnly
    return _built(chosen_class, bench, pairs, bench.arguments(config_class, **method))


def token_mean(means: Tensor, tokens: Tensor) -> Tensor:
    """Mean over all tokens of a batch from each sequence's mean and number of tokens, both of shape (B,)."""
    return (means * tokens).sum() / tokens.sum()


def padded_row(bench: Bench, pair: Pair) -> dict[str, list[int]]:
    """A row of TRL's experimental pair trainers: whole sequences, with labels of -100 on the prompt."""
    prompt = bench.render(pair.prompt)
    row = {"prompt_input_ids": prompt, "prompt_attention_mask": [1] * len(prompt)}
    for side, text in (("chosen", pair.chosen), ("rejected", pair.rejected)):
        answer = bench.encode(text)
        row[f"{side}_input_ids"] = prompt + answer
        row[f"{side}_attention_mask"] = [1] * (len(prompt) + len(answer))
        row[f"{side}_labels"] = [-100] * len(prompt) + answer
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
