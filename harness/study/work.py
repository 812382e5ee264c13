"""The modelled work of a planned cell: the formula beside its method, over the texts that were drawn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aligners.costs import stated
from aligners.opinion_costs import answers_of
from harness.contracts import BASE, HasUnits, Rating, Ratings, Regime
from harness.costs import AskedOfGroups, FitWork, PairTokens, Passes, Sizes, sampling, tree
from harness.costs.sizes import USUAL_SAMPLE, sizes_of
from harness.costs.work import mean_of, total_of
from harness.fit.held_out import chosen_by, split
from harness.meter import FlopModel
from harness.models.load import weight_shapes
from harness.models.tokenizer import kept_tokenizer
from harness.opinions.groups import left_to_ask
from harness.study.footprint import adapter_numbers, in_a_layer
from harness.util.chat import render_prompt

if TYPE_CHECKING:
    from harness.run.plan import Plan

LOOKS = 4
"""Looks of a fit at its held-out pairs, each with two forwards a pair (`harness.fit.phases.HELD_OUT_LOOKS`)."""
TRIAL_FITS = 4
"""Fits that a trial of hyper-parameters takes, a fold each."""
SEEN = 64
"""Items whose texts are looked at for their usual length."""
FRAME = 40
"""Tokens that a template and a task's own words put around a question."""
TURNS = 4
"""Prompts that a question with options takes in the form of training: one for each turn of four letters."""
CLOSING = 16
"""Tokens of an option's line."""


@dataclass(frozen=True, slots=True)
class Modelled:
    """FLOPs and tokens of a cell's phases."""

    fit_flops: float
    evaluate_flops: float
    fit_tokens: float
    evaluate_tokens: float
    writes: bool = False
    """Whether the evaluation has answers written."""


def modelled(plan: Plan, items: int) -> Modelled:
    """The work of a planned cell that is scored on `items` items. Reads tokenizer and headers, no weights."""
    shapes = shapes_of(plan.files.folder)
    model = flop_model_of(plan, shapes)
    sizes = _sizes(plan)
    fit, asked = fit_work(plan, sizes), evaluate_work(plan, items)
    writes = "generate" in plan.task.requires or plan.config.generate
    return Modelled(fit.flops(model), asked.flops(model), fit.tokens, asked.tokens, writes)


def fit_work(plan: Plan, sizes: Sizes) -> FitWork:
    """The work of a fit: what the method states, looks at held-out pairs, and the fits of a search."""
    if plan.config.aligner == BASE:
        return FitWork()
    work = stated(plan.aligner_class(plan.aligner_config), sizes)
    if work is None:
        work = _otherwise(plan, sizes)
    steps = plan.config.budget.min_steps
    looked = looks(plan, sizes) * min(LOOKS, steps) if work.trained.positions else Passes()
    return (work + FitWork(forward=looked)) * (1 + TRIAL_FITS * plan.config.budget.tune)


def looks(plan: Plan, sizes: Sizes) -> Passes:
    """The passes of one look at held-out pairs: the chosen answers, or both answers under the fit and under base."""
    if chosen_by(plan.aligner_class) == "likelihood":
        return total_of(sizes.held_out, lambda pair: sizes.laid_out(pair.prompt, (pair.chosen,)))
    return total_of(sizes.held_out, sizes.both) * 2


def evaluate_work(plan: Plan, items: int) -> FitWork:
    """The work of an evaluation: questions with options in every turn, or one answer to each item."""
    asked = asked_of_groups(plan)
    if asked:
        tokenizer, limit = kept_tokenizer(plan.files), plan.lengths.prompt
        questions = AskedOfGroups(tuple(asked), lambda one: len(render_prompt(tokenizer, one, limit)))
        return answers_of(plan.aligner_class(plan.aligner_config), _sizes(plan), questions)
    lengths = plan.lengths
    text = _usual_text(plan)
    prompt = _usual_prompt(plan, text)
    pair = tree(prompt, (lengths.completion * USUAL_SAMPLE,) * 2)
    if "generate" in plan.task.requires:
        answered = sampling(prompt, 1, USUAL_SAMPLE * lengths.new_tokens)
        return FitWork(forward=(answered + pair) * items)
    turned, stock = tree(prompt, (CLOSING,) * 4) * TURNS, tree(text, (CLOSING,) * 4)  # lm-eval's own prompt is uncut
    return FitWork(forward=(turned + stock + pair) * items)


def asked_of_groups(plan: Plan) -> list[tuple[str, Rating]]:
    """The closed questions that a task about groups asks of a cell, which its draw decides; none elsewhere."""
    if not plan.few_shot.groups or "choose" not in plan.task.requires:
        return []
    return left_to_ask(plan.few_shot.groups, plan.pool.groups(plan.source), plan.config.limit)


def items_about_groups(plan: Plan) -> int:
    """Items behind the main metric of such a task: questions that nobody's answers were shown for, else all."""
    return len(_counted(plan))


def independent_units(plan: Plan) -> int:
    """Independent units behind the main metric: as its task says, else different texts; 0 where nothing says."""
    counted, view, limit = _counted(plan), plan.source.view(), plan.config.limit
    if counted:
        return len({rating.question for _, rating in counted})
    if isinstance(plan.task, HasUnits) and callable(plan.task.units):  # else the name stands for something else
        return len(set(plan.task.units(view, limit).values()))
    return len(set(plan.task.questions(view, limit).values()))


def _counted(plan: Plan) -> list[tuple[str, Rating]]:
    """What a task about groups asks of a cell and its main metric counts; none elsewhere."""
    few_shot, asked = plan.few_shot, asked_of_groups(plan)
    shown = {one.question for given in (few_shot.groups, few_shot.auxiliary) for some in given.values() for one in some}
    return [(group, rating) for group, rating in asked if rating.question not in shown] or asked


def flop_model_of(plan: Plan, shapes: Mapping[str, tuple[int, ...]]) -> FlopModel:
    """Sizes of a model with the study's adapter, from the headers of its files and its configuration."""
    config = _text_config(plan.files.folder)
    heads = int(config.get("num_attention_heads", 1))
    hidden = int(config.get("hidden_size", 1))
    width = heads * int(config.get("head_dim") or hidden // heads)
    adapter = adapter_numbers(shapes, plan.config.lora.r, plan.config.lora.targets)
    matrices = [(name, shape) for name, shape in shapes.items() if len(shape) >= 2 and in_a_layer(name)]
    visited = config.get("num_experts_per_tok")
    experts = config.get("num_local_experts") or config.get("num_experts")
    share = float(visited) / float(experts) if visited and experts else 1.0
    body = sum(math.prod(shape) * (share if len(shape) == 3 else 1.0) for _, shape in matrices)
    head = max((math.prod(s) for name, s in shapes.items() if len(s) == 2 and not in_a_layer(name)), default=0)
    layers = int(config.get("num_hidden_layers", 1))
    return FlopModel(round(body) + adapter, head, layers, width, adapter)


@lru_cache(maxsize=16)
def shapes_of(folder: Path) -> Mapping[str, tuple[int, ...]]:
    """Shapes of a model's weights, read once."""
    return weight_shapes(folder)


@lru_cache(maxsize=16)
def _text_config(folder: Path) -> Mapping[str, Any]:
    config = json.loads((folder / "config.json").read_bytes())
    return {**config, **(config.get("text_config") or {})}


_SIZES: dict[tuple[object, ...], Sizes] = {}


def _sizes(plan: Plan) -> Sizes:
    """Measured once for all methods of a draw."""
    budget, few_shot = plan.config.budget, plan.few_shot
    drawn = (
        tuple(pair.id for pair in few_shot.pairs),
        tuple(prompt.id for prompt in few_shot.prompts),
        *(_asked(ratings) for ratings in (few_shot.groups, few_shot.auxiliary)),
    )
    key = (
        plan.files.folder,
        plan.pool.name,
        budget,
        plan.lengths,
        plan.config.shuffle_labels,
        plan.machine.fast_paths,
        drawn,
    )
    if key not in _SIZES:
        regime = Regime(budget, plan.lengths, plan.machine.device, plan.machine.precision)
        halves = split(few_shot.pairs, regime.selection)
        width = int(_text_config(plan.files.folder).get("hidden_size", 1))
        _SIZES[key] = sizes_of(
            kept_tokenizer(plan.files), regime, few_shot, halves, fast=plan.machine.fast_paths, width=width
        )
    return _SIZES[key]


def _asked(ratings: Ratings) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Which questions of which group."""
    return tuple((group, tuple(one.question for one in given)) for group, given in ratings.items())


def _otherwise(plan: Plan, sizes: Sizes) -> FitWork:
    """Of a method that states no cost: training on both answers, where it has a rate to train with."""
    if not trains(plan.aligner_class.Config.model_fields):
        return FitWork()
    budget = plan.config.budget
    pairs = sizes.pairs or (PairTokens(plan.lengths.prompt, plan.lengths.completion, plan.lengths.completion),)
    seen = mean_of(pairs, sizes.both)
    work = seen * (budget.min_steps * budget.batch)
    return FitWork(forward=work, trained=work)


def trains(settings: Iterable[str]) -> bool:
    """Whether a method with these hyper-parameters runs an optimizer: those that do have a rate for it."""
    return any(name == "learning_rate" or name.endswith("_lr") for name in settings)


def _usual_prompt(plan: Plan, text: float) -> float:
    """Tokens of a prompt of the task: of the pool's drawn pairs, else of the items' own texts, which have `text`."""
    sizes = _sizes(plan)
    if sizes.pairs:
        return sum(pair.prompt for pair in sizes.pairs) / len(sizes.pairs)
    return min(float(plan.lengths.prompt), text)


def _usual_text(plan: Plan) -> float:
    """Tokens of an item's text with what stands around it, uncut."""
    texts = list(plan.task.questions(plan.source.view(), plan.config.limit).values())[:SEEN]
    tokens = kept_tokenizer(plan.files)(texts, add_special_tokens=False)["input_ids"] if texts else []
    return sum(map(len, tokens)) / max(len(tokens), 1) + FRAME
