"""An honest aligner, and copies of it that each break one promise: what the conformance kit must tell apart."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from harness.conformance import CLOSINGS, TRAIN
from harness.contracts import (
    POLICY,
    Aligned,
    Aligner,
    Bench,
    BudgetExceeded,
    Capability,
    ChooseRequest,
    Completion,
    EngineCapability,
    FewShot,
    GenerateRequest,
    HarnessError,
    LanguageModel,
    Need,
    Pair,
    Preference,
    PreferRequest,
)
from harness.costs import FitWork, Sizes


class HonestConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(3e-4, description="of AdamW, constant", json_schema_extra={"probe": 1e-3})


class Honest:
    """Raises the chosen answer's log-probability above the rejected one's."""

    name: ClassVar[str] = "honest"
    paper: ClassVar[str] = ""
    version: ClassVar[str] = "1"
    requires: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    accepts: ClassVar[frozenset[Need]] = frozenset()
    Config: ClassVar[type[BaseModel]] = HonestConfig
    slowness: ClassVar[float] = 1.0
    shuffled: ClassVar[bool] = True

    def __init__(self, config: Any) -> None:
        self.config = config

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        if not few_shot.pairs:
            raise HarnessError(f"aligner {self.name} needs pairs and was given none")
        pairs, held_out = bench.split(few_shot.pairs)
        bench.train(self.trainer(bench, pairs), held_out=held_out)
        return bench.aligned()

    def trainer(self, bench: Bench, pairs: tuple[Pair, ...]) -> Any:
        import torch
        from torch.utils.data import SequentialSampler
        from transformers import Trainer, TrainingArguments

        shuffled = self.shuffled

        class PairTrainer(Trainer):  # type: ignore[misc]
            def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
                scored = bench.logprobs(inputs["prompts"], inputs["answers"])
                margins = torch.stack([good.logprobs.mean() - bad.logprobs.mean() for good, bad in scored])
                return -torch.nn.functional.logsigmoid(margins).mean()

            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                return super()._get_train_sampler(train_dataset) if shuffled else SequentialSampler(train_dataset)

        rate = self.config.learning_rate * self.slowness
        arguments = bench.arguments(TrainingArguments, learning_rate=rate, lr_scheduler_type="constant")
        rows = [(bench.render(p.prompt), (bench.encode(p.chosen), bench.encode(p.rejected))) for p in pairs]
        return PairTrainer(model=bench.policy, args=arguments, train_dataset=rows, data_collator=collated)


def collated(rows: Any) -> dict[str, Any]:
    prompts, answers = zip(*rows, strict=True)
    return {"prompts": prompts, "answers": answers}


class Hoarder(Honest):
    """Its constructor keeps more than the config."""

    name = "hoarder"

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.seen: list[str] = []


class LaxConfig(HonestConfig):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Lax(Honest):
    """Its config swallows misspelt hyper-parameters."""

    name = "lax"
    Config: ClassVar[type[BaseModel]] = LaxConfig


class ThawedConfig(HonestConfig):
    model_config = ConfigDict(frozen=False, extra="forbid")


class Thawed(Honest):
    """Its config can be changed after construction."""

    name = "thawed"
    Config: ClassVar[type[BaseModel]] = ThawedConfig


class SilentConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    learning_rate: float = Field(3e-4, json_schema_extra={"probe": 1e-3})


class Silent(Honest):
    """Its hyper-parameter has no description."""

    name = "silent"
    Config: ClassVar[type[BaseModel]] = SilentConfig


class DecoratedConfig(HonestConfig):
    beta: float = Field(0.1, description="declared, recorded, and never read", json_schema_extra={"probe": 0.5})


class Decorated(Honest):
    """It declares a hyper-parameter that does nothing."""

    name = "decorated"
    Config: ClassVar[type[BaseModel]] = DecoratedConfig


class ExcusedConfig(HonestConfig):
    label: str = Field("x", description="for the log", json_schema_extra={"no_effect": "only written to the log"})


class Excused(Honest):
    """It says that a hyper-parameter has no effect on the model, and does not even read it."""

    name = "excused"
    Config: ClassVar[type[BaseModel]] = ExcusedConfig


class Leaky(Honest):
    """It changes a weight of the base model that no answer shows: the embedding of the padding token."""

    name = "leaky"

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        import torch

        aligned = super().fit(bench, few_shot)
        with torch.no_grad():
            bench.policy.get_input_embeddings().weight[bench.tokenizer.pad_token_id] += 1.0
        return aligned


class Nosy(Honest):
    """It looks at prompts that it does not declare."""

    name = "nosy"

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        bench.log("nosy", prompts=len(few_shot.prompts))
        return super().fit(bench, few_shot)


class Modest(Honest):
    """Its result can do more than it declares."""

    name = "modest"
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"choose", "prefer"})


class Unasking(Honest):
    """It trains the adapter and says that its result needs none."""

    name = "unasking"
    asks: ClassVar[frozenset[EngineCapability]] = frozenset()


class Careless(Honest):
    """It shuffles with the process's global random state."""

    name = "careless"
    shuffled = False

    def trainer(self, bench: Bench, pairs: tuple[Pair, ...]) -> Any:
        mixed = random.sample(pairs, len(pairs))
        if bench.seed:
            mixed = mixed[::-1]
        return super().trainer(bench, tuple(mixed))


class Seedless(Honest):
    """It takes the pairs in the same order whatever the seed."""

    name = "seedless"
    shuffled = False


class Deaf(Honest):
    """It goes on after BudgetExceeded."""

    name = "deaf"

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        try:
            return super().fit(bench, few_shot)
        except BudgetExceeded:
            return super().fit(bench, few_shot)


class Wasteful(Honest):
    """Stopped at the cap, it returns its last state and not its best."""

    name = "wasteful"

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        try:
            return super().fit(bench, few_shot)
        except BudgetExceeded:
            return bench.aligned()


class Timid(Honest):
    """Its learning rate is a thousand times too small."""

    name = "timid"
    slowness = 1e-3


class Stubborn(Honest):
    """It knows the right closing beforehand and does not look at the labels."""

    name = "stubborn"

    def trainer(self, bench: Bench, pairs: tuple[Pair, ...]) -> Any:
        return super().trainer(bench, tuple(map(self.corrected, pairs)))

    @staticmethod
    def corrected(pair: Pair) -> Pair:
        (closing,) = (closing for colour, closing in CLOSINGS.items() if colour in pair.prompt[-1].content)
        good, bad = sorted((pair.chosen, pair.rejected), key=lambda text: not text.endswith(closing))
        return Pair(pair.id, pair.prompt, good, bad)


class Backwards(Honest):
    """It takes the rejected answer for the chosen one."""

    name = "backwards"

    def trainer(self, bench: Bench, pairs: tuple[Pair, ...]) -> Any:
        return super().trainer(bench, tuple(Pair(p.id, p.prompt, p.rejected, p.chosen) for p in pairs))


class Apart(Honest):
    """It runs its trainer by itself: nothing is stored, and an interrupted fit begins anew."""

    name = "apart"

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        if not few_shot.pairs:
            raise HarnessError(f"aligner {self.name} needs pairs and was given none")
        self.trainer(bench, few_shot.pairs).train()
        return bench.aligned()


class Hasty(Honest):
    """It takes the first answer that it sees preferred of each colour as the rule, whatever later labels say."""

    name = "hasty"

    def trainer(self, bench: Bench, pairs: tuple[Pair, ...]) -> Any:
        rule: dict[str, str] = {}
        for pair in sorted(pairs, key=lambda p: p.id != f"{_colour(p)}-{TRAIN[0]}"):
            rule.setdefault(_colour(pair), _closing(pair.chosen))
        return super().trainer(bench, tuple(self.ruled(pair, rule[_colour(pair)]) for pair in pairs))

    @staticmethod
    def ruled(pair: Pair, closing: str) -> Pair:
        good, bad = sorted((pair.chosen, pair.rejected), key=lambda text: not text.endswith(closing))
        return Pair(pair.id, pair.prompt, good, bad)


def _colour(pair: Pair) -> str:
    (colour,) = (colour for colour in CLOSINGS if colour in pair.prompt[-1].content)
    return colour


def _closing(answer: str) -> str:
    (closing,) = (closing for closing in CLOSINGS.values() if answer.endswith(closing))
    return closing


class Fragile(Honest):
    """Without data it crashes."""

    name = "fragile"

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        bench.log("first", pair=few_shot.pairs[0].id)
        return super().fit(bench, few_shot)


class Harmful(Honest):
    """Without data it returns noise."""

    name = "harmful"

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        import torch

        if few_shot.pairs:
            return super().fit(bench, few_shot)
        generator = torch.Generator().manual_seed(bench.seed)
        with torch.no_grad():
            for name, weight in bench.policy.named_parameters():
                if f".{POLICY}." in name:
                    weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
        return bench.aligned()


class Saved:
    """An Aligned like another one, but for how it is saved."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def generate(self, requests: list[GenerateRequest]) -> list[list[Completion]]:
        return self.inner.generate(requests)

    def prefer(self, requests: list[PreferRequest]) -> list[Preference]:
        return self.inner.prefer(requests)

    def choose(self, requests: list[ChooseRequest]) -> list[list[float]]:
        return self.inner.choose(requests)

    def save(self, folder: Path) -> None:
        self.inner.save(folder)


class WithPickle(Saved):
    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / "optimizer.pt").write_bytes(b"")


class WithoutAdapter(Saved):
    def save(self, folder: Path) -> None:
        super().save(folder)
        (folder / "adapter_model.safetensors").unlink()


class MoreAtOnce(Saved):
    def prefer(self, requests: list[PreferRequest]) -> list[Preference]:
        surer = 1 + 0.01 * len(requests)
        shares = [min(max(p.p_a, 1e-6), 1 - 1e-6) for p in self.inner.prefer(requests)]
        odds = [surer * (math.log(share) - math.log1p(-share)) for share in shares]
        return [Preference(1 / (1 + math.exp(-one)), None, None) for one in odds]


class Sociable(Honest):
    """It is surer of its answers the more it is asked at once."""

    name = "sociable"

    def fit(self, bench: Bench, few_shot: FewShot) -> Any:
        return MoreAtOnce(super().fit(bench, few_shot))

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Any:
        return MoreAtOnce(model)


class Pickler(Honest):
    """It saves a file that is neither safetensors nor JSON."""

    name = "pickler"

    def fit(self, bench: Bench, few_shot: FewShot) -> Any:
        return WithPickle(super().fit(bench, few_shot))


class Forgetful(Honest):
    """It does not save what it learned."""

    name = "forgetful"

    def fit(self, bench: Bench, few_shot: FewShot) -> Any:
        return WithoutAdapter(super().fit(bench, few_shot))


class NoConfig(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Averaged:
    """Answers every group with one distribution."""

    def __init__(self, probabilities: list[float]) -> None:
        self.probabilities = probabilities

    def choose(self, requests: list[ChooseRequest]) -> list[list[float]]:
        return [[math.log(p) for p in self.probabilities] for _ in requests]

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "averaged.json").write_text(json.dumps(self.probabilities))


class Boastful(Honest):
    """It says that its fit takes no work."""

    name = "boastful"

    def cost(self, sizes: Sizes) -> FitWork:
        return FitWork()


class Prejudiced(Honest):
    """It learns from groups' opinions and asks nobody which group it speaks for."""

    name = "prejudiced"
    requires = frozenset({"groups"})
    capabilities: ClassVar[frozenset[Capability]] = frozenset({"choose"})
    Config: ClassVar[type[BaseModel]] = NoConfig

    def fit(self, bench: Bench, few_shot: FewShot) -> Any:
        ratings = [rating.probabilities for given in few_shot.groups.values() for rating in given]
        if not ratings:
            raise HarnessError(f"aligner {self.name} needs groups and was given none")
        return Averaged([sum(column) / len(ratings) for column in zip(*ratings, strict=True)])

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Any:
        return Averaged(json.loads((folder / "averaged.json").read_text()))


BROKEN: dict[type[Aligner], str] = {
    Hoarder: "parameters_plain",
    Lax: "parameters_plain",
    Thawed: "parameters_plain",
    Silent: "parameters_documented",
    Decorated: "parameters_matter",
    Excused: "parameters_matter",
    Leaky: "base_untouched",
    Nosy: "takes_what_it_says",
    Modest: "can_what_it_says",
    Unasking: "can_what_it_says",
    Careless: "same_seed_same_adapter",
    Seedless: "other_seed_other_adapter",
    Boastful: "cost",
    Deaf: "budget_stops",
    Wasteful: "budget_stops",
    Timid: "positive_control",
    Stubborn: "labels_swapped and labels_shuffled",
    Backwards: "positive_control and labels_swapped",
    Apart: "trained_by_the_bench",
    Hasty: "labels_shuffled",
    Prejudiced: "groups_swapped",
    Fragile: "no_data_no_harm",
    Harmful: "no_data_no_harm",
    Sociable: "alone_as_in_company",
    Pickler: "save_load",
    Forgetful: "save_load",
}
"""Each broken aligner and the one check that it fails, or two that ask for the same."""
LEARNING_AS_HONEST: frozenset[type[Aligner]] = frozenset(
    {
        *(Hoarder, Lax, Thawed, Silent, Decorated, Excused, Leaky, Nosy, Modest, Unasking),
        *(Boastful, Deaf, Wasteful, Fragile, Harmful, Pickler, Forgetful),
    }
)
"""Those that, given pairs and no cap, learn what `Honest` learns: what they break is elsewhere."""
