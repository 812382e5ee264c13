"""The two aligners: what `fit` does, in order."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel

from aligners.gpo.config import GpoConfig, GpoResidualConfig, ModuleConfig
from aligners.gpo.sources import PAIRS, contexts_of, swappable, training_sources, unseen_questions
from harness.contracts import (
    BASE,
    Aligned,
    Bench,
    BudgetExceeded,
    Capability,
    EngineCapability,
    FewShot,
    LanguageModel,
    Need,
    Pair,
)
from harness.opinions.features import Embedder
from harness.opinions.groups import require_groups
from harness.opinions.questions import rated_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aligners.gpo.outlook import Departs, View
    from aligners.gpo.result import GpoAligned, Reader
    from aligners.gpo.sources import Contexts
    from aligners.gpo.training import Spender, Training


class Gpo:
    """Trains a small module beside the frozen model, which predicts a group's opinions or ranks answers from pairs."""

    name: ClassVar[str] = "gpo"
    paper: ClassVar[str] = "2310.11523"
    version: ClassVar[str] = "3"
    requires: ClassVar[frozenset[Need]] = frozenset()
    accepts: ClassVar[frozenset[Need]] = frozenset({"pairs", "groups", "auxiliary"})
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"choose", "generate", "prefer"})
    asks: ClassVar[frozenset[EngineCapability]] = frozenset({"embed"})
    Config: ClassVar[type[BaseModel]] = GpoConfig

    def __init__(self, config: GpoConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Embed, meta-train, and hand over the module with the contexts that the labels bought."""
        from aligners.gpo.outlook import Departs
        from aligners.gpo.result import ranking

        config = self.config
        result = fitted(self.name, config, Departs(), bench, few_shot, exchange=config.exchange)
        return ranking(result, config.n, config.temperature)

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """The saved module around the model; the model alone where the fit was stopped before its first step."""
        from aligners.gpo.result import load, ranking

        loaded = load(model, folder, GpoConfig, cls.name)
        if loaded is None:
            return model
        config = GpoConfig.model_validate(loaded.config.model_dump())
        return ranking(loaded, config.n, config.temperature)


class GpoResidual:
    """GPO for groups that reads and predicts by how much a group departs from the mean of the others."""

    name: ClassVar[str] = "gpo_residual"
    paper: ClassVar[str] = "2310.11523"
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset({"groups"})
    accepts: ClassVar[frozenset[Need]] = frozenset({"auxiliary"})
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"choose"})
    asks: ClassVar[frozenset[EngineCapability]] = frozenset({"embed"})
    Config: ClassVar[type[BaseModel]] = GpoResidualConfig

    def __init__(self, config: GpoResidualConfig) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """As `gpo` does, over the groups' axes and what a group adds. Raises HarnessError without groups."""
        from aligners.gpo.outlook import Departs

        require_groups(self.name, few_shot)
        departs = Departs(labels=self.config.context_y == "residual", axes=self.config.axes)
        alone = FewShot(groups=few_shot.groups, auxiliary=few_shot.auxiliary)
        return fitted(self.name, self.config, departs, bench, alone)

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """The saved module around the model; the model alone where the fit was stopped before its first step."""
        from aligners.gpo.result import load

        return load(model, folder, GpoResidualConfig, cls.name) or model


def fitted(
    name: str, config: ModuleConfig, departs: Departs, bench: Bench, few_shot: FewShot, *, exchange: bool = False
) -> GpoAligned:
    """Embed, meta-train, look at what came out, and hand it over with the contexts that the labels bought."""
    from aligners.gpo.outlook import View
    from aligners.gpo.result import Reader, around

    pairs, held_out = bench.split(few_shot.pairs)
    sources = training_sources(few_shot, pairs)
    contexts = contexts_of(few_shot, pairs, config.context)
    embedder = Embedder(partial(bench.embed, of=BASE), config.layer, config.pool)
    view = View.of(sources, embedder, config, departs)
    training = prepared(bench, config, view, sources, held_out, exchange=exchange)
    tokens = {group: view.tokens(context) for group, context in contexts.items()}
    reader = Reader(training.module.eval(), view, tokens)
    train_and_look(training, reader, few_shot, pairs, held_out)
    return around(bench.aligned(), reader, config, name)


def prepared(
    bench: Bench, config: ModuleConfig, view: View, sources: Contexts, held_out: Sequence[Pair], *, exchange: bool
) -> Training:
    """The training; held-out pairs stand last in the table, and are asked about in the context of the pairs."""
    from aligners.gpo.episodes import OptionTable, collate
    from aligners.gpo.training import Training

    device = next(bench.policy.parameters()).device
    if not held_out or PAIRS not in sources:
        return Training(bench, config, OptionTable.of(sources, view, device, exchange=exchange), None)
    table = OptionTable.of({**sources, "held out": rated_pairs(held_out)}, view, device, exchange=exchange)
    asked = (table.sources[list(sources).index(PAIRS)], table.sources[-1])
    looked = collate([asked], device, config.context)
    return Training(bench, config, replace(table, sources=table.sources[:-1]), looked)


def train_and_look(
    training: Training, reader: Reader, few_shot: FewShot, pairs: Sequence[Pair], held_out: Sequence[Pair]
) -> None:
    """All steps, and liveness; a module that the track's cap cut short is looked at as any other.

    Raises BudgetExceeded where the cap came before the first step.
    """
    from aligners.gpo.liveness import report, sensitivity

    sides = None if training.config.context == "none" else swappable(few_shot, pairs)
    asked = unseen_questions(few_shot, pairs, held_out) if sides else []
    reader.view.embedder.prepare(asked)

    def look(spend: Spender) -> None:
        report(training, sensitivity(reader, asked, sides, spend) if sides and asked else None, spend)

    try:
        training.run()
        look(training.bench.spend)
    except BudgetExceeded:
        if not training.losses:
            raise
        training.finish()
        look(lambda flops: None)  # past the cap it costs the method nothing
