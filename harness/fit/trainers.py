"""The bench's trainers: data sets, the shared settings and the schedule put together for TRL's classes."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.contracts import (
    BASE,
    SIGMOID,
    Bench,
    HarnessError,
    LoneAnswer,
    Messages,
    Pair,
    Prompt,
    Reward,
    RowT,
    Schedule,
    StepLoss,
)
from harness.fit import trl
from harness.fit.beginnings import describe
from harness.fit.steps import step_trainer
from harness.lm.rows import UNSCORED
from harness.util.hashes import seed_of

Rows = list[dict[str, Any]]


def _refuse_none(rows: Sequence[object]) -> None:
    """Raises HarnessError where there is nothing to train on: TRL ends in a StopIteration that says nothing."""
    if not rows:
        raise HarnessError("a trainer was given no examples, at least one was expected")


class LocalTrainers:
    """`contracts.Trainers` over one bench."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def sft(self, examples: Sequence[tuple[Messages, str]], schedule: Schedule) -> Any:
        """TRL's SFTTrainer: mean negative log-likelihood of the answers' tokens."""
        arguments = self._arguments("SFTConfig", schedule, completion_only_loss=True, packing=False)
        rows = [supervised_row(self._bench, *e) for e in examples]
        return describe(self._built(trl.shared_prefix_sft(), arguments, rows), "sft", rows)

    def dpo(
        self, pairs: Sequence[Pair], schedule: Schedule, *, beta: float, losses: Mapping[str, float] = SIGMOID
    ) -> Any:
        """TRL's DPOTrainer. The reference is fixed and the pairs come back many times: one pass over them is enough."""
        weighted = {"loss_type": list(losses), "loss_weights": list(losses.values())}
        arguments = self._arguments("DPOConfig", schedule, precompute_ref_log_probs=True, beta=beta, **weighted)
        return self._built(trl.shared_prefix_dpo(), arguments, preference_rows(self._bench, pairs))

    def simpo(self, pairs: Sequence[Pair], schedule: Schedule, *, beta: float, gamma: float) -> Any:
        """TRL's CPOTrainer with SimPO's loss, without the likelihood term that TRL adds unless told not to."""
        settings = {"loss_type": "simpo", "cpo_alpha": 0.0, "beta": beta, "simpo_gamma": gamma}
        arguments = self._arguments("CPOConfig", schedule, **settings)
        return self._paired(trl.shared_prefix_pairs("CPOTrainer"), arguments, pairs)

    def orpo(self, pairs: Sequence[Pair], schedule: Schedule, *, weight: float, prompt_loss: bool) -> Any:
        """TRL's ORPOTrainer; its own likelihood term covers the prompt, too."""
        trainer_class = trl.found("ORPOTrainer") if prompt_loss else trl.shared_prefix_pairs("ORPOTrainer")
        return self._paired(trainer_class, self._arguments("ORPOConfig", schedule, beta=weight), pairs)

    def kto(
        self,
        answers: Sequence[LoneAnswer],
        schedule: Schedule,
        *,
        beta: float,
        desirable_weight: float,
        undesirable_weight: float,
        pairs: Sequence[Pair] = (),
    ) -> Any:
        """TRL's KTOTrainer. Reference and order are fixed: one pass of the reference over the answers is enough."""
        weights = {"desirable_weight": desirable_weight, "undesirable_weight": undesirable_weight}
        arguments = self._arguments("KTOConfig", schedule, precompute_ref_log_probs=True, beta=beta, **weights)
        arguments.per_device_train_batch_size = 2 * self._bench.regime.batch  # the regime counts pairs, TRL rows
        return self._built(trl.shared_prefix_kto(), arguments, lone_rows(self._bench, answers, pairs))

    def grpo(
        self,
        prompts: Sequence[Prompt],
        reward: Reward,
        schedule: Schedule,
        *,
        k: int,
        temperature: float,
        beta: float,
        loss: str,
        scale: str,
    ) -> Any:
        """TRL's GRPOTrainer with samples from the bench, which meters them.

        All steps are one epoch in the given order: TRL's sampler would begin again with its first epoch on resuming.
        """
        arguments = self._arguments(
            "GRPOConfig",
            schedule,
            per_device_train_batch_size=self._bench.regime.sample_prompts,
            num_generations=k,
            generation_batch_size=self._bench.regime.sample_prompts * k,
            temperature=temperature,
            beta=beta,
            loss_type=loss,
            scale_rewards=scale,
            disable_dropout=True,
            shuffle_dataset=False,
        )
        # The trainer's rows are samples, the regime counts prompts: all samples of a step are one batch, so that none
        # is older than the policy that it trains, and each prompt is computed once.
        arguments.per_device_train_batch_size = self._bench.regime.sample_prompts * k
        arguments.steps_per_generation = 1
        arguments.max_completion_length = self._bench.regime.new_tokens
        rollouts = Rollouts(self._bench, prompts, reward, k, temperature)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*rollout_func.*")  # TRL calls the hook experimental.
            return self._built(
                trl.shared_prefix_grpo(temperature),
                arguments,
                [{"prompt": prompt.id} for prompt in prompts],
                reward_funcs=rollouts.reward,
                rollout_func=rollouts.sample,
            )

    def steps(
        self, batches: Callable[[bool], Sequence[Sequence[RowT]]], loss: StepLoss[RowT], schedule: Schedule
    ) -> Any:
        """One optimizer step for each batch, on `loss(step, batch)`, without dropout."""
        from transformers import TrainingArguments

        arguments = self._bench.arguments(TrainingArguments, **scheduled(schedule))
        return step_trainer(self._bench.policy, arguments, batches, loss)

    def _arguments(self, name: str, schedule: Schedule, **method: Any) -> Any:
        return self._bench.arguments(trl.found(name), **method, **scheduled(schedule))

    def _built(self, trainer_class: Any, arguments: Any, rows: Rows, **more: Any) -> Any:
        from datasets import Dataset

        _refuse_none(rows)
        return trainer_class(
            model=self._bench.policy,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=self._bench.tokenizer,
            **more,
        )

    def _paired(self, trainer_class: Any, arguments: Any, pairs: Sequence[Pair]) -> Any:
        _refuse_none(pairs)
        rows = trl.Finished(padded_row(self._bench, pair) for pair in pairs)
        return trainer_class(
            model=self._bench.policy, args=arguments, train_dataset=rows, processing_class=self._bench.tokenizer
        )


def scheduled(schedule: Schedule) -> dict[str, Any]:
    """A schedule as training arguments."""
    return {
        "learning_rate": schedule.learning_rate,
        "max_steps": schedule.steps,
        "lr_scheduler_type": schedule.shape,
        "warmup_steps": schedule.warmup,
        "max_grad_norm": schedule.max_grad_norm,
    }


def supervised_row(bench: Bench, prompt: Messages, answer: str) -> dict[str, list[int]]:
    """A row of TRL's SFTTrainer: one sequence, and which of its tokens count."""
    given, wanted = bench.render(prompt), bench.encode(answer)
    return {"input_ids": given + wanted, "completion_mask": [0] * len(given) + [1] * len(wanted)}


def preference_rows(bench: Bench, pairs: Sequence[Pair], *, reference: str | None = BASE) -> Rows:
    """Rows of token ids for TRL's preference collator, with the reference's summed log-probs unless it is None."""
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


def lone_rows(bench: Bench, answers: Sequence[LoneAnswer], pairs: Sequence[Pair]) -> Rows:
    """Rows of TRL's KTOTrainer, with the reference's summed log-probs of both answers of each.

    The reference is asked twice: for the pairs as `preference_rows` asks, and for what stands with another prompt.
    """
    known = _reference(bench, [(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs])
    missing: dict[Messages, dict[str, None]] = {}
    for one in answers:
        for text in (one.answer, one.mismatched):
            if (one.prompt, text) not in known:
                missing.setdefault(one.prompt, {})[text] = None
    known |= _reference(bench, [(prompt, tuple(texts)) for prompt, texts in missing.items()])
    return [
        {
            **lone_row(bench, one),
            "ref_logps": known[one.prompt, one.answer],
            "ref_KL_logps": known[one.prompt, one.mismatched],
        }
        for one in answers
    ]


def _reference(bench: Bench, asked: Sequence[tuple[Messages, tuple[str, ...]]]) -> dict[tuple[Messages, str], float]:
    """The base model's summed log-prob of each answer to its prompt, all in one call."""
    if not asked:
        return {}
    scored = bench.score([prompt for prompt, _ in asked], [answers for _, answers in asked], of=BASE)
    return {
        (prompt, answer): one.total
        for (prompt, answers), several in zip(asked, scored, strict=True)
        for answer, one in zip(answers, several, strict=True)
    }


def lone_row(bench: Bench, one: LoneAnswer) -> dict[str, Any]:
    """The tokens of a row of TRL's KTOTrainer."""
    return {
        "prompt_ids": bench.render(one.prompt),
        "completion_ids": bench.encode(one.answer),
        "KL_completion_ids": bench.encode(one.mismatched),
        "label": one.desirable,
    }


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


class Rollouts:
    """Where TRL's GRPO trainer gets its samples and rewards."""

    def __init__(self, bench: Bench, prompts: Sequence[Prompt], reward: Reward, k: int, temperature: float) -> None:
        self._bench, self._rate, self._k, self._temperature = bench, reward, k, temperature
        self._prompts = {prompt.id: prompt.messages for prompt in prompts}
        self._step = 0

    def sample(self, ids: list[str], trainer: Any) -> dict[str, Any]:
        """Samples for `ids`, in which each prompt's id stands k times in a row, and the text of each for `reward`."""
        self._step = int(trainer.state.global_step)
        asked = [self._prompts[identity] for identity in ids[:: self._k]]
        seed = seed_of("grpo", self._bench.seed, self._step)
        groups = self._bench.generate(asked, n=self._k, temperature=self._temperature, seed=seed)
        answers = [answer for group in groups for answer in group]
        return {
            "prompt_ids": [self._bench.render(self._prompts[identity]) for identity in ids],
            "completion_ids": [list(answer.ids) for answer in answers],
            "logprobs": None,
            "answer": [answer.text for answer in answers],
        }

    def reward(self, prompts: list[str], answer: list[str], **_: Any) -> list[Any]:
        """The reward of every answer; TRL asks by these argument names."""
        return self._rate(self._step, prompts, answer)
