"""The work of every method's fit: the table "What it costs" of its page in docs/methods, as code.

Beside the methods and not in their files, for the files of a method are part of its runs' identity and a formula
decides nothing. The conformance kit holds each against the meter (`check_cost`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aligners.opinion_costs import gpo, gpo_residual, ridge
from harness.contracts import Aligner
from harness.costs import FitWork, PairTokens, Passes, Sizes, StatesCost, sampling
from harness.costs.work import mean_of, plain_rows, total_of
from harness.methods.schedules import PAIR_EPOCHS, steps_over

Formula = Callable[[Any, Sizes], FitWork]
"""From a method's config and the sizes of its texts to the work of a fit."""


def stated(aligner: Aligner, sizes: Sizes) -> FitWork | None:
    """The work of a fit as the method states it; None where it does not."""
    if isinstance(aligner, StatesCost):
        return aligner.cost(sizes)
    formula = COSTS.get(aligner.name)
    return None if formula is None else formula(aligner.config, sizes)


# ---------------------------------------------------------------- pairs


def _pairs_seen(sizes: Sizes, epochs: float) -> float:
    """Pairs that all steps see, repeats included."""
    return steps_over(sizes.regime, len(sizes.pairs), epochs) * sizes.regime.batch if sizes.pairs else 0.0


def _rows(pair: PairTokens) -> Passes:
    """TRL's own rows of a pair."""
    return plain_rows(pair.prompt, (pair.chosen, pair.rejected))


def no_fit(config: Any, sizes: Sizes) -> FitWork:
    """Nothing is trained and nothing is asked of the model."""
    return FitWork()


def sft(config: Any, sizes: Sizes) -> FitWork:
    """Chosen answers alone."""
    seen = _pairs_seen(sizes, getattr(config, "epochs", PAIR_EPOCHS))
    return FitWork(trained=mean_of(sizes.pairs, lambda pair: sizes.laid_out(pair.prompt, (pair.chosen,))) * seen)


def simpo(config: Any, sizes: Sizes) -> FitWork:
    """Both answers, without a reference."""
    return FitWork(trained=mean_of(sizes.pairs, sizes.both) * _pairs_seen(sizes, config.epochs))


def orpo(config: Any, sizes: Sizes) -> FitWork:
    """Both answers, without a reference; with `prompt_loss` TRL's own rows."""
    laid_out = _rows if config.prompt_loss else sizes.both
    return FitWork(trained=mean_of(sizes.pairs, laid_out) * _pairs_seen(sizes, config.epochs))


def dpo(config: Any, sizes: Sizes) -> FitWork:
    """Both answers, and one pass of the reference over all pairs."""
    return FitWork(forward=total_of(sizes.pairs, sizes.both)) + simpo(config, sizes)


def kto(config: Any, sizes: Sizes) -> FitWork:
    """Both answers; the reference of y and of y', once; z_0 at every step."""
    seen = _pairs_seen(sizes, config.epochs)
    step = mean_of(sizes.pairs, sizes.both)
    return FitWork(forward=total_of(sizes.pairs, sizes.both) * 2 + step * seen, trained=step * seen)


# ---------------------------------------------------------------- samples


def grpo(config: Any, sizes: Sizes) -> FitWork:
    """Samples of every step, which are trained on; under beta > 0 the reference's pass over them."""
    steps = max(config.steps or 0, sizes.regime.min_steps)
    asked = steps * sizes.regime.sample_prompts if sizes.pairs else 0
    k, length = config.k, sizes.sampled
    drawn = mean_of(sizes.pairs, lambda pair: sampling(pair.prompt, k, length))
    learnt = mean_of(sizes.pairs, lambda pair: sizes.laid_out(pair.prompt, [length] * k))
    forward = drawn + learnt if config.beta > 0 else drawn
    return FitWork(forward * asked, learnt * asked, samples=float(asked * k))


def gem(config: Any, sizes: Sizes) -> FitWork:
    """SFT, then samples of every SEGA step; the SFT model's pass over them now and then."""
    from aligners.gem import REFERENCE_EVERY, phase_steps

    prompts = [*(pair.prompt for pair in sizes.pairs), *sizes.prompts]
    sft_steps, steps = phase_steps(config, sizes.regime, len(sizes.pairs), len(prompts))
    rows = 2 if config.reflect_on_pair else 1
    tuned = FitWork(
        trained=mean_of(sizes.pairs, lambda pair: _reflected(sizes, pair, rows)) * (sft_steps * sizes.regime.batch)
    )
    asked, k, length = steps * sizes.regime.sample_prompts, config.k, sizes.sampled
    learnt = mean_of(prompts, lambda prompt: sizes.laid_out(prompt, [length * sizes.kept] * k))
    always = config.optimise == "dpo" or config.beta_kl > 0
    share = 1.0 if always else (steps // REFERENCE_EVERY + bool(steps % REFERENCE_EVERY)) / max(steps, 1)
    forward = mean_of(prompts, lambda prompt: sampling(prompt, k, length)) + learnt * share
    return tuned + FitWork(forward * asked, learnt * asked, samples=float(asked * k))


def _reflected(sizes: Sizes, pair: PairTokens, rows: int) -> Passes:
    """A row of SFT; where reflections are trained on too, half of the rows show both answers in their prompts."""
    plain = sizes.laid_out(pair.prompt, (pair.chosen,))
    if rows == 1:
        return plain
    return (plain + sizes.laid_out(pair.prompt + pair.chosen + pair.rejected, (pair.chosen,))) * 0.5


def selfie(config: Any, sizes: Sizes) -> FitWork:
    """DPO on the pairs, then rounds: two samples a prompt, judged, trained on against the policy before."""
    from aligners.selfie import GOLD_PAIRS, phase_steps, round_sizes

    rounds = round_sizes(len(sizes.prompts), config.rounds)
    seed_steps, round_steps = phase_steps(config, sizes.regime, len(sizes.pairs), rounds)
    batch, length = sizes.regime.batch, sizes.sampled
    seed = FitWork(total_of(sizes.pairs, sizes.both), mean_of(sizes.pairs, sizes.both) * (seed_steps * batch))
    asked = sum(rounds)
    drawn = mean_of(sizes.prompts, lambda prompt: sampling(prompt, 2, length))
    pair = mean_of(sizes.prompts, lambda prompt: sizes.laid_out(prompt, [length] * 2))
    judged, judge = _judging(config, pair), 1 if config.judge == "none" else 2
    gold = mean_of((sizes.held_out or sizes.pairs)[:GOLD_PAIRS], sizes.both)
    checked = gold * (judge * min(GOLD_PAIRS, len(sizes.held_out or sizes.pairs)) * sum(size > 0 for size in rounds))
    detecting = (1 - config.detect_after) if config.alpha and config.lam else 0.0
    seen = sum(round_steps) * batch
    forward = (drawn + judged) * asked + checked + pair * (seen * (1 + detecting))
    return seed + FitWork(forward, pair * seen, samples=2.0 * asked)


def _judging(config: Any, pair: Passes) -> Passes:
    """The passes of a judge of one duel: two policies, the current one alone, or a question in both orders."""
    if config.judge in ("implicit", "previous"):
        return pair * 2
    return pair if config.judge == "none" else pair * 2 if config.judge == "llm" else Passes()


COSTS: Mapping[str, Formula] = {
    **dict.fromkeys(("base", "icl", "icl_groups", "uniform", "mean_of_groups"), no_fit),
    **dict.fromkeys(("sft", "random"), sft),
    **dict.fromkeys(("dpo", "ipo", "irpo", "best_of_n"), dpo),
    "simpo": simpo,
    "orpo": orpo,
    "kto": kto,
    "grpo": grpo,
    "gem": gem,
    "selfie": selfie,
    "gpo": gpo,
    "gpo_residual": gpo_residual,
    "ridge": ridge,
}
"""By the method's name."""
