"""The work of the methods that embed questions: the base model's passes over texts, and a small module beside it.

Which questions are asked, and how episodes are cut, is decided by the methods' own code over the texts themselves: the
module's work depends on how many options stand in an episode. No weights are needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from harness.contracts import ANSWERS_AT_ONCE, Aligner, FewShot, HarnessError, Pair, user
from harness.costs import AskedOfGroups, FitWork, Passes, Sizes, StatesAnswerCost
from harness.costs.work import tree
from harness.opinions.groups import read_ratings
from harness.opinions.questions import Question, Rated, option_question, rated, rated_pairs

if TYPE_CHECKING:
    from aligners.gpo.episodes import Episodes

DRAWN = 48
"""Steps whose episodes are cut to see how large they are; the others are taken to be like them."""

FRAMED = "Question:"
"""A text whose template is measured."""
LAST_WORDS = 12
"""Tokens of the line that ends a prompt of `icl_groups`."""

Sources = Mapping[str, Sequence[Rated]]


def ridge(config: Any, sizes: Sizes) -> FitWork:
    """One pass over every option of every distinct question; the regression is not counted."""
    few_shot = sizes.few_shot
    if not few_shot.groups:
        return FitWork()
    try:
        shown = read_ratings(few_shot.groups, config.context)
    except HarnessError:  # the fit refuses it, too
        return FitWork()
    learned = few_shot.auxiliary or few_shot.groups
    asked = [rated(given) for ratings in (learned, shown) for given in ratings.values()]
    return FitWork(forward=_embedded(sizes, (one.question for several in asked for one in several)))


def gpo(config: Any, sizes: Sizes) -> FitWork:
    """The passes of the embeddings, and the module's steps, looks and liveness."""
    return _module(config, sizes, sizes.few_shot, sizes.halves)


def gpo_residual(config: Any, sizes: Sizes) -> FitWork:
    """The same on groups alone, over the axes along which they differ."""
    alone = FewShot(groups=sizes.few_shot.groups, auxiliary=sizes.few_shot.auxiliary)
    return _module(config, sizes, alone, ((), ()), axes=config.axes)


# ---------------------------------------------------------------- what is asked after the fit


AnswerFormula = Callable[[Any, Sizes, AskedOfGroups], FitWork]
"""From a method's config, the sizes of its texts and what is asked to the work of the answers."""


def answers_of(aligner: Aligner, sizes: Sizes, asked: AskedOfGroups) -> FitWork:
    """The work of answers about groups as the method states it; of one that states nothing, that of letters."""
    if isinstance(aligner, StatesAnswerCost):
        return aligner.cost_of_answers(sizes, asked)
    return ANSWERS.get(aligner.name, _lettered)(aligner.config, sizes, asked)


def _unasked(config: Any, sizes: Sizes, asked: AskedOfGroups) -> FitWork:
    """The language model is not asked."""
    return FitWork()


def _by_options(config: Any, sizes: Sizes, asked: AskedOfGroups) -> FitWork:
    """The options are embedded. gpo's module is left out: it is hundreds of times smaller than the passes over them."""
    return FitWork(forward=_embedded(sizes, (option_question(one.prompt, one.options) for one in asked.questions)))


def _lettered(config: Any, sizes: Sizes, asked: AskedOfGroups) -> FitWork:
    """The letters of the options behind each question, which are the same for all groups."""
    lettered = (tree(asked.rendered(user(one.prompt)), [1] * len(one.options)) for one in asked.questions)
    return FitWork(forward=sum(lettered, Passes()))


def _read_after_others(config: Any, sizes: Sizes, asked: AskedOfGroups) -> FitWork:
    """Each question for every group behind the group's rated ones, which a batch of answers computes once."""
    from aligners.icl_groups import asked as wording
    from aligners.icl_groups import contexts_of, shown_rating

    try:
        contexts = contexts_of(sizes.few_shot.groups, config)
    except HarnessError:  # the run refuses it, too
        return FitWork()
    distinct = asked.questions
    behind = fmean(sizes.read([wording(one.prompt, one.options) for one in distinct]) or [0]) + LAST_WORDS
    frame = asked.rendered(user(FRAMED)) - sizes.read([FRAMED])[0]
    room = sizes.regime.prompt_tokens - behind - frame
    shown = [_fitting(sizes.read([shown_rating(one) for one in ratings]), room) for ratings in contexts.values()]
    before = fmean(shown or [0]) + frame
    requests = len({(group, one.question) for group in contexts for one in distinct})
    prefixes = len(contexts) * math.ceil(requests / ANSWERS_AT_ONCE)
    once = Passes(before, 0.0, before**2) * prefixes
    letters = fmean([len(one.options) for one in distinct] or [0])
    return FitWork(forward=once + Passes(behind, letters, behind * (before + behind)) * requests)


ANSWERS: Mapping[str, AnswerFormula] = {
    **dict.fromkeys(("uniform", "mean_of_groups"), _unasked),
    **dict.fromkeys(("ridge", "gpo", "gpo_residual"), _by_options),
    "icl_groups": _read_after_others,
}
"""By the method's name; all others answer by letters."""


def _fitting(lengths: Sequence[int], room: float) -> float:
    """Tokens of the rated questions that fit, whole ones from the first on."""
    taken = 0.0
    for length in lengths:
        if taken + length > room:
            break
        taken += length
    return taken


# ---------------------------------------------------------------- parts


def _embedded(sizes: Sizes, questions: Iterable[Question]) -> Passes:
    """Each distinct question once, its options padded to the longest."""
    distinct = {one.key: one for one in questions}
    return sum((sizes.embedded(one.texts) for one in distinct.values()), Passes())


def _module(
    config: Any,
    sizes: Sizes,
    few_shot: FewShot,
    halves: tuple[Sequence[Pair], Sequence[Pair]],
    axes: int = 0,
) -> FitWork:
    from aligners.gpo.sources import contexts_of, swappable, training_sources, unseen_questions

    pairs, held_out = halves
    try:
        sources = training_sources(few_shot, pairs)
        contexts = contexts_of(few_shot, pairs, config.context)
    except HarnessError:  # the fit refuses it, too
        return FitWork()
    sides = None if config.context == "none" else swappable(few_shot, pairs)
    unseen = unseen_questions(few_shot, pairs, held_out) if sides else []
    looked_at = rated_pairs(held_out)
    everything = [*sources.values(), *contexts.values(), looked_at]
    work = _embedded(sizes, [*(one.question for several in everything for one in several), *unseen])
    weights = module_weights(_inputs(config, sizes, sources, axes))
    steps = _steps(config, sizes, sources)
    other = _trained(config, sources, weights, steps)
    if looked_at and "" in sources:
        other += _looks(config, sources[""], looked_at, weights, steps)
    if sides and unseen:
        asked = sum(len(one.texts) for one in unseen)
        lengths = [sum(len(one.y) for one in read) for side in sides for read in side.values()]
        other += sum(module_flops(weights, length + asked, length) for length in lengths)
    return FitWork(forward=work, other=other)


def module_weights(inputs: int) -> int:
    """Numbers in the matrices of the module, for so many inputs beside the preference."""
    from aligners.gpo.network import LAYERS, WIDTH

    return WIDTH * (inputs + 1) + (3 + 6 * LAYERS + 1) * WIDTH**2 + 2 * WIDTH


def module_flops(weights: int, tokens: float, context: float) -> float:
    """One forward over `tokens` tokens that attend to `context` of them."""
    from aligners.gpo.network import LAYERS, WIDTH

    return tokens * (2.0 * weights + 4.0 * LAYERS * WIDTH * context)


def _inputs(config: Any, sizes: Sizes, sources: Sources, axes: int) -> int:
    """Width of x: the axes of the groups' differences, of which there are fewer than groups, else the embedding's."""
    if kept := min(axes, len(sources) - 1):
        return kept
    return sizes.width * (2 if config.centre == "both" else 1)


def _steps(config: Any, sizes: Sizes, sources: Sources) -> int:
    from aligners.gpo.training import STEPS_WITH_GROUPS, STEPS_WITH_PAIRS

    each = STEPS_WITH_GROUPS if len(sources) > 1 else STEPS_WITH_PAIRS
    return config.steps or each * sizes.regime.min_steps


def _trained(config: Any, sources: Sources, weights: int, steps: int) -> float:
    """A step takes a forward and a backward of twice its work; a few batches are judged before and after."""
    from aligners.gpo.episodes import draw
    from aligners.gpo.training import JUDGED_BATCHES

    table = _table(sources)
    forwards = [_forward(weights, draw(table, config, (0, step))) for step in range(DRAWN)]
    return fmean(forwards) * (3.0 * steps + 2 * JUDGED_BATCHES)


def _looks(config: Any, pairs: Sequence[Rated], held_out: Sequence[Rated], weights: int, steps: int) -> float:
    """Held-out pairs are asked about in the context of the others, some times in a fit."""
    from aligners.gpo.training import LOOKS

    every = max(1, steps // LOOKS)
    shown = 1 if config.context == "none" else sum(len(one.y) for one in pairs)
    asked = sum(len(one.y) for one in held_out)
    return (steps // every + bool(steps % every)) * module_flops(weights, shown + asked, shown)


def _table(sources: Sources) -> Any:
    """The questions without what the base model says of them: enough to cut episodes."""
    import torch

    from aligners.gpo.episodes import OptionTable

    laid = tuple(tuple((tuple(range(1, len(one.y) + 1)), one.y) for one in source) for source in sources.values())
    pairs = list(sources).index("") if "" in sources else None
    return OptionTable(torch.zeros(1, 1), laid, pairs=pairs)


def _forward(weights: int, batch: Episodes) -> float:
    rows, tokens = batch.index.shape
    return module_flops(weights, rows * tokens, int(batch.context.max()))
