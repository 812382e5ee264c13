from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.contracts import BudgetExceeded
from harness.lm import decoding, rows
from harness.lm.backends.hf import HfEngine
from harness.lm.logprobs import group_logprobs, prefix_cache
from harness.lm.metering import flop_model, metered
from harness.lm.rows import Group
from harness.meter import FlopModel, Meter
from tests.tiny import tiny_model, tiny_tokenizer

BODY = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64)
HEAD = 384 * 32
LORA = 2 * 4 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 64))  # rank 4 on every linear layer


class Recording(Meter):
    """A meter that remembers what it was told."""

    def __init__(self, model: Any, cap: float | None = None) -> None:
        super().__init__(cap_flops=cap)
        self.attach(flop_model(model))
        self.forwards: list[dict[str, Any]] = []
        self.projections: list[tuple[int, bool]] = []

    def forward(self, **figures: Any) -> None:
        self.forwards.append(figures)
        super().forward(**figures)

    def projection(self, positions: int, *, train: bool = False) -> None:
        self.projections.append((positions, train))
        super().projection(positions, train=train)


def with_lora(model: Any) -> Any:
    import peft

    return peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear"))


# ---------------------------------------------------------------- sizes


def test_sizes_of_a_plain_model_with_a_tied_head() -> None:
    model = tiny_model()
    assert flop_model(model) == FlopModel(BODY, HEAD, 2, 32, sum(p.numel() for p in model.parameters()))
    model.requires_grad_(False)
    assert flop_model(model).trainable == 0


def test_sizes_count_the_active_adapter_only() -> None:
    model = with_lora(tiny_model())
    expected = FlopModel(BODY + LORA, HEAD, 2, 32, LORA)
    assert flop_model(model) == expected
    model.add_adapter("other", model.peft_config["default"])
    assert flop_model(model) == expected


def test_sizes_of_a_mixture_count_the_visited_experts() -> None:
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(
        vocab_size=50, hidden_size=16, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2,
    )  # fmt: skip
    assert flop_model(MixtralForCausalLM(config)).body == 4 * 16 * 16 + 4 * 16 + 2 * (3 * 16 * 8)


# ---------------------------------------------------------------- forwards


def test_padding_is_no_token_but_a_position() -> None:
    model = tiny_model()
    meter = Recording(model)
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    with metered(model, meter), torch.no_grad():
        model(input_ids=torch.ones(2, 4, dtype=torch.long), attention_mask=mask)
    assert meter.forwards == [{"tokens": 6, "positions": 8, "keys": 4, "train": False}]
    assert meter.projections == [(8, False)]
    assert meter.spend.forward_tokens == 6
    assert meter.spend.flops == 2 * BODY * 8 + 2 * HEAD * 8 + 4 * 2 * 32 * 8 * 4


def test_positional_arguments_are_seen() -> None:
    model = tiny_model()
    meter = Recording(model)
    with metered(model, meter), torch.no_grad():
        model.model(torch.ones(1, 4, dtype=torch.long), torch.tensor([[0, 1, 1, 1]]))
    assert meter.forwards[0]["tokens"] == 3


def test_cached_keys_count() -> None:
    from transformers import DynamicCache

    model, cache = tiny_model(), DynamicCache()
    meter = Recording(model)
    with metered(model, meter), torch.no_grad():
        model(input_ids=torch.ones(2, 5, dtype=torch.long), past_key_values=cache, use_cache=True)
        mask = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
        model(input_ids=torch.ones(2, 1, dtype=torch.long), past_key_values=cache, attention_mask=mask, use_cache=True)
    assert [f["keys"] for f in meter.forwards] == [5, 6]
    assert [f["tokens"] for f in meter.forwards] == [10, 2]


def test_a_forward_trains_when_its_output_requires_grad() -> None:
    model = with_lora(tiny_model())
    meter = Recording(model)
    ids = torch.ones(1, 3, dtype=torch.long)
    with metered(model, meter):
        model(input_ids=ids)
        with torch.no_grad():
            model(input_ids=ids)
        with model.disable_adapter():
            model(input_ids=ids)
    assert [f["train"] for f in meter.forwards] == [True, False, False]
    assert meter.projections == [(3, True), (3, False), (3, False)]
    assert (meter.spend.forward_tokens, meter.spend.trained_tokens) == (9, 3)


def test_the_cap_stops_the_forward_and_the_hooks_go() -> None:
    model = tiny_model()
    meter = Recording(model, cap=1.0)
    ids = torch.ones(1, 3, dtype=torch.long)
    with pytest.raises(BudgetExceeded), metered(model, meter):
        model(input_ids=ids)
    model(input_ids=ids)
    assert len(meter.forwards) == 1
    assert not model.model._forward_hooks
    assert not model.lm_head._forward_hooks
    assert not model._forward_hooks


# ---------------------------------------------------------------- log-probabilities, backend


@pytest.mark.parametrize("recompute", [False, True])
def test_log_probabilities_cost_shared_prompts_once_and_the_head_where_asked(
    recompute: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if recompute:
        monkeypatch.setattr("harness.lm.figures.CHUNK_ELEMENTS", 1)
    model = with_lora(tiny_model())
    meter = Recording(model)
    with metered(model, meter):
        stats = group_logprobs(model, [Group([1] * 10, [[5, 6, 7], [8, 9]])])
        # ten tokens of the prompt by themselves, two and one of the answers, and these three over the prompt
        scores = 10 * 10 + 2 * 2 + 1 + 3 * 10
        assert meter.forwards == [{"tokens": 13, "positions": 13, "keys": scores / 13, "train": True}]
        assert sum(n for n, train in meter.projections if train) == 5
        sum(s.logprobs.sum() for s in stats[0]).backward()
    assert sum(n for n, train in meter.projections if train) == 5
    assert sum(n for n, train in meter.projections if not train) == (5 if recompute else 0)


def test_what_groups_cost_does_not_depend_on_the_rows_they_share(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [Group([1] * 10, [[5, 6, 7], [8, 9]]), Group([2] * 4, [[5], [8, 9, 10]]), Group([3] * 7, [[4]])]
    spent = []
    for row in (1, 512):
        monkeypatch.setattr(rows, "CPU_ROW", row)
        model = with_lora(tiny_model())
        meter = Recording(model)
        with metered(model, meter):
            group_logprobs(model, groups)
        spent.append((meter.spend.flops, meter.spend.forward_tokens, len(meter.forwards)))
    assert [forwards for *_, forwards in spent] == [3, 1]
    assert spent[0][:2] == pytest.approx(spent[1][:2])


def test_decoders_called_by_themselves_add_no_head() -> None:
    model = tiny_model()
    backend = HfEngine(model, tiny_tokenizer())
    meter = Recording(model)
    with metered(model, meter):
        backend.embed(["a b c", "d"])
        prefix_cache(model, [1, 2, 3])
        with torch.no_grad():
            model(input_ids=torch.ones(1, 2, dtype=torch.long))
    assert len(meter.forwards) == 3
    assert meter.projections == [(2, False)]


@pytest.mark.parametrize(("shared", "positions", "keys"), [(True, 5, (9 + 4) / 5), (False, 6, 3)])
def test_generation_counts_rows_that_live(
    monkeypatch: pytest.MonkeyPatch, shared: bool, positions: int, keys: float
) -> None:
    """Prompts are computed one after the other where rows share them, and padded to the longest elsewhere."""
    monkeypatch.setattr(decoding, "shares_prompts", lambda _model: shared)
    model = tiny_model()
    backend = HfEngine(model, tiny_tokenizer())
    meter = Recording(model)
    with metered(model, meter):
        found = backend.generate([[1, 2, 3], [1, 9]], n=3, max_new_tokens=7, seed=1)
    fed = sum(len(c.ids) - 1 for row in found for c in row)  # the last token of a row is drawn, not fed
    assert meter.spend.forward_tokens == 5 + fed
    assert meter.forwards[0] == {"tokens": 5, "positions": positions, "keys": keys, "train": False}
    assert meter.forwards[-1]["keys"] == 3 + 6


# ---------------------------------------------------------------- TRL's fused head


@pytest.fixture
def projected(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows that TRL's kernel multiplies by the head's weight, seen from inside TRL."""
    from trl.trainer import utils

    rows: list[int] = []
    apply = utils._ChunkedLogProbFunction.apply

    def recorded(hidden: Any, *rest: Any) -> Any:
        rows.append(hidden.shape[0])
        return apply(hidden, *rest)

    monkeypatch.setattr(utils._ChunkedLogProbFunction, "apply", recorded)
    return rows


ARGUMENTS: dict[str, Any] = {
    "per_device_train_batch_size": 2, "max_steps": 2, "report_to": [], "save_strategy": "no", "use_cpu": True,
    "logging_strategy": "no", "disable_tqdm": True, "bf16": False, "gradient_checkpointing": False,
}  # fmt: skip


def check_trl(trainer: Any, projected: list[int], trained: int, reference: int) -> None:
    policy = trainer.model
    meter = Recording(policy)
    with metered(policy, meter):
        trainer.train()
    assert [n for n, _ in meter.projections] == projected
    assert len(projected) == len(meter.forwards) == trained + reference
    assert sum(f["train"] for f in meter.forwards) == sum(train for _, train in meter.projections) == trained
    assert meter.spend.trained_tokens > 0


def test_dpo_trainer_is_counted_in_full(tmp_path: Path, projected: list[int]) -> None:
    import datasets
    import trl

    rows = [{"prompt": "Say one", "chosen": " one two three", "rejected": " no"}] * 4
    arguments = trl.DPOConfig(output_dir=str(tmp_path), **ARGUMENTS)
    trainer = trl.DPOTrainer(
        model=with_lora(tiny_model()), args=arguments, processing_class=tiny_tokenizer(),
        train_dataset=datasets.Dataset.from_list(rows),
    )  # fmt: skip
    check_trl(trainer, projected, trained=2, reference=2)


def test_sft_trainer_is_counted_in_full(tmp_path: Path, projected: list[int]) -> None:
    import datasets
    import trl

    rows = [{"prompt": "Say one", "completion": " one two three"}] * 4
    arguments = trl.SFTConfig(output_dir=str(tmp_path), **ARGUMENTS)
    trainer = trl.SFTTrainer(
        model=with_lora(tiny_model()), args=arguments, processing_class=tiny_tokenizer(),
        train_dataset=datasets.Dataset.from_list(rows),
    )  # fmt: skip
    check_trl(trainer, projected, trained=2, reference=0)


def test_labels_decide_on_a_gpu_where_the_kernel_skips_the_rest() -> None:
    from harness.lm.metering import _fused_positions, _Pending

    labels = torch.tensor([[5, -100, 7, 8], [-100, -100, -100, 2]])
    cpu, cuda = (_Pending(2, 4, False, cuda) for cuda in (False, True))
    assert _fused_positions(cpu, {"labels": labels}) == 6
    assert _fused_positions(cuda, {"labels": labels}) == 3
    assert _fused_positions(cuda, {"shift_labels": labels}) == 4
    assert _fused_positions(cpu, {}) == 8


# ---------------------------------------------------------------- after the cap, and copies


def test_after_the_cap_neither_decoder_nor_head_computes_anything() -> None:
    model = tiny_model()
    meter = Recording(model, cap=1.0)
    ran: list[str] = []
    layer = model.model.layers[0]
    layer.register_forward_hook(lambda *_: ran.append("layer"))
    ids = torch.tensor([[1, 2, 3]])
    with metered(model, meter), torch.no_grad():
        with pytest.raises(BudgetExceeded):
            model(ids)
        spent = meter.spend
        for ask in (model, model.model):
            with pytest.raises(BudgetExceeded):
                ask(ids)
        with pytest.raises(BudgetExceeded):
            model.lm_head(torch.zeros(1, 1, 32))
    assert ran == ["layer"], "the forward that passed the cap, and no other"
    assert meter.spend == spent
    assert meter.stops == 4


def test_a_deep_copy_of_the_model_counts_on_the_same_meter() -> None:
    model = with_lora(tiny_model())
    meter = Meter(model=flop_model(model))
    ids = torch.tensor([[1, 2, 3]])
    with metered(model, meter), torch.no_grad():
        model(ids)
        once = meter.spend
        twin = copy.deepcopy(model)
        twin(ids)
    assert (meter.spend.forward_tokens, meter.spend.flops) == (2 * once.forward_tokens, 2 * once.flops)
