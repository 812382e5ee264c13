"""GEM's equations, spans and settings: nothing here trains, and most of it needs no torch."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from aligners import gem
from aligners.gem import Gem, GemConfig
from harness.contracts import Completion, FewShot, HarnessError, Pair, Prompt, Spans, TokenLogprobs, user
from harness.methods.figures import grouped
from harness.methods.losses import entropies, kl_loss
from harness.methods.spans import Split, marker_pattern, marker_tokens, nothing_to_filter, split
from tests.tiny import flat_regime

core = pytest.mark.core
REGIME = flat_regime(4, 32, "last", 256, 64, 64, 4)
SHARES = (0.2, 0.25)


def config(**values: Any) -> GemConfig:
    return GemConfig.model_validate(values)


def joined(tokens: Sequence[str]) -> tuple[list[int], Callable[[Sequence[int]], str]]:
    """Token ids and a decoder for a text cut at arbitrary places."""
    return list(range(len(tokens))), lambda ids: "".join(tokens[i] for i in ids)


# ---------------------------------------------------------------- settings


@core
def test_lambda_is_set_by_its_paper_name_and_survives_json() -> None:
    made = config(**{"lambda": 0.4})
    assert made.lambda_ == 0.4
    assert config(lambda_=0.4) == made
    assert GemConfig.model_validate_json(made.model_dump_json()) == made
    assert GemConfig.model_validate_json(made.model_dump_json(by_alias=True)) == made


@core
def test_paper_preset_takes_the_papers_rates_and_yields_to_a_given_one() -> None:
    assert (config(preset="paper").sft_lr, config(preset="paper").sega_lr) == (2e-5, 1e-5)
    assert config(preset="paper", sega_lr=3e-6).sega_lr == 3e-6
    assert (config().sft_lr, config().sega_lr) == (1e-3, 1e-4)


@core
@pytest.mark.parametrize("bad", [{"batch": 4}, {"max_new_tokens": 99}, {"lamda": 1}, {"use_final": False, "lambda": 0}])
def test_shared_unknown_and_senseless_settings_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**bad)


@core
def test_every_setting_names_its_source_and_a_valid_probe() -> None:
    for name, info in GemConfig.model_fields.items():
        extra = info.json_schema_extra
        assert isinstance(extra, dict)
        assert info.description is not None
        assert any(source in info.description for source in ("paper", "code", "authors", "ours")), name
        probed = config(**extra.get("probe_with", {}), **{name: extra["probe"]})
        assert getattr(probed, name) != getattr(config(), name), name


@core
def test_fitting_without_data_is_refused() -> None:
    bench: Any = None
    with pytest.raises(HarnessError, match="pairs or prompts"):
        Gem(config()).fit(bench, FewShot())
    with pytest.raises(HarnessError, match="gem needs pairs"):
        Gem(config(optimise="none")).fit(bench, FewShot())


# ---------------------------------------------------------------- prompts, rows, steps


@core
def test_cot_prompt_is_added_only_where_the_marker_is_not_asked_for() -> None:
    asking = config(cot_prompt=gem.COT)
    plain = gem.with_cot(user("Which drug?"), asking)
    assert plain[0].role == "system"
    assert "Final Answer:" in plain[0].content
    asked = user("Which drug? Close with final\nanswer.")
    assert gem.with_cot(asked, asking) == asked
    joint = gem.with_cot(user("Which drug?", system="Be brief."), config(cot_prompt=gem.COT, marker="Verdict"))
    assert [m.role for m in joint] == ["system", "user"]
    assert joint[0].content.startswith("Be brief.\n\n")
    assert "Verdict:" in joint[0].content
    assert gem.with_cot(user("Which drug?"), config()) == user("Which drug?")


@core
def test_sft_learns_chosen_and_reflection_shows_both_answers_in_an_order_that_tells_nothing() -> None:
    pairs = [Pair(str(i), user(f"Question {i}?"), f"good {i}", f"bad {i}") for i in range(40)]
    assert [answer for _, answer in gem.sft_rows(pairs, config(), 0)] == [p.chosen for p in pairs]
    rows = gem.sft_rows(pairs, config(reflect_on_pair=True), 0)
    assert len(rows) == 80
    reflections = rows[40:]
    first = [text[-1].content.index("good") < text[-1].content.index("bad") for text, _ in reflections]
    assert 8 < sum(first) < 32
    assert all(answer == pair.chosen for (_, answer), pair in zip(reflections, pairs, strict=True))
    assert all(pair.rejected not in answer for (_, answer), pair in zip(rows, pairs * 2, strict=True))


@core
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (32, 8)),
        ({"sft_steps": 10}, (10, 22)),
        ({"sft_steps": 40}, (40, 8)),
        ({"sega_steps": 8}, (32, 8)),
        ({"sega_steps": 50}, (32, 50)),
        ({"sega_epochs": 1.0}, (32, 18)),
        ({"sega_epochs": 1.0, "sega_steps": 3}, (32, 3)),
        ({"sft_steps": 3, "sega_steps": 2}, (3, 2)),
        ({"optimise": "none"}, (32, 0)),
        ({"optimise": "none", "sft_steps": 20}, (20, 0)),
    ],
)
def test_steps_of_the_two_phases(values: dict[str, Any], expected: tuple[int, int]) -> None:
    """The first phase takes as many steps as the aligner `sft`, so that the two differ by SEGA alone."""
    assert gem.phase_steps(config(**values), REGIME, 8, 70) == expected
    assert gem.phase_steps(config(), REGIME, 64, 70) == (48, 8), "three passes over 64 pairs"


@core
def test_without_pairs_sega_takes_all_steps() -> None:
    assert gem.phase_steps(config(), REGIME, 0, 70) == (0, 32)


def test_the_plan_says_where_answers_are_split_and_what_whole_passes_cost() -> None:
    pairs = tuple(Pair(str(i), user(f"q{i}"), "yes", "no") for i in range(8))
    few_shot = FewShot(pairs, tuple(Prompt(f"u{i}", user(f"u{i}")) for i in range(12)), spans="positional")
    (split,) = gem.Gem(config()).ahead(REGIME, few_shot)
    assert "by position, without a floor on markers, as the pool says" in split
    (_, cost) = gem.Gem(config(sega_epochs=3, spans="marker")).ahead(REGIME, few_shot)
    steps = gem.phase_steps(config(sega_epochs=3), REGIME, 8, 20)[1]
    assert f"over 20 prompts takes about {steps} steps of SEGA, where the default takes 8" in cost
    assert f": {steps * REGIME.sample_prompts * 5} samples of up to {REGIME.new_tokens} tokens" in cost
    assert gem.Gem(config(optimise="none")).ahead(REGIME, few_shot) == ()


# ---------------------------------------------------------------- spans


@core
@pytest.mark.parametrize(
    ("tokens", "reasoning", "final"),
    [
        (["It", " is", " A", ".", " Final", " Answer", ":", " A"], "It is A.", ": A"),
        (["It is.", " Fi", "nal", " Ans", "wer", ": ", "A"], "It is.", ": A"),
        (["It is.", " Final Answer:", " A", "."], "It is.", " A."),
        (["It is", ". Final", " Answer", " A"], "It is", " A"),
        (["It.", "**", "FINAL", "\n", "answer", "**", " A"], "It.**", "** A"),
        (["Final Answer", " A. ", "No", ": ", "Final Answer", " B"], "Final Answer A. No: ", " B"),
        (["Final Answer", " A", " then", " Final", " ", "thoughts"], "Final Answer", " A then Final thoughts"),
        (["One", " two", " Final", " Answer"], "One two", " Answer"),
    ],
)
def test_spans_around_the_last_marker(tokens: list[str], reasoning: str, final: str) -> None:
    ids, decode = joined(tokens)
    found = split(ids, decode, "Final Answer", SHARES, "marker")
    assert found.marked
    assert decode(ids[: found.reasoning]) == reasoning
    assert decode(ids[found.final :]) == final


@core
@pytest.mark.parametrize(
    ("length", "fallback", "final"), [(10, 0.2, 8), (9, 0.2, 8), (2, 0.2, 1), (30, 0.1, 27), (3, 0.99, 1)]
)
def test_without_a_marker_the_last_share_is_the_final_answer(length: int, fallback: float, final: int) -> None:
    ids, decode = joined(["finally "] * length)
    for spans in ("marker", "positional"):
        found = split(ids, decode, "Final Answer", (fallback, 0.5), spans)
        assert found == Split(final, final, length, marked=False)


@core
@pytest.mark.parametrize("at", [0, 3, 18])
def test_the_authors_split_takes_a_quarter_where_the_marker_occurs_anywhere(at: int) -> None:
    tokens = [" word"] * 20
    tokens[at] = " Final Answer:"
    ids, decode = joined(tokens)
    assert split(ids, decode, "Final Answer", SHARES, "positional") == Split(15, 15, 20, marked=False)


PIECES = st.lists(
    st.sampled_from(["Final Answer", "final  answer", "Final", " Answer", "é", "🙂", " x", "\n", "答"]), max_size=9
)


@core
@settings(max_examples=300, deadline=None)
@given(before=PIECES, after=PIECES, seed=st.integers(0, 10**6))
def test_spans_hold_for_any_cut_of_the_bytes(before: list[str], after: list[str], seed: int) -> None:
    """Tokens may end within a character or a marker: neither span may take a whole marker in, or leave text out."""
    text = "".join([*before, "Final Answer", *after])
    data, rng = text.encode(), random.Random(seed)
    cuts = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(rng.randrange(len(data))))})
    tokens = [data[a:b] for a, b in pairwise(cuts)]
    ids = list(range(len(tokens)))
    found = marker_tokens(ids, lambda part: b"".join(tokens[i] for i in part).decode(errors="replace"), "Final Answer")
    assert found is not None
    *_, last = marker_pattern("Final Answer").finditer(text)
    ends = [len(text[: last.start()].encode()), len(text[: last.end()].encode())]
    start, end = cuts[found[0]], cuts[found[1]]
    assert start <= ends[0] < cuts[found[0] + 1]  # the first token of the range holds the marker's first byte
    assert cuts[found[1] - 1] < ends[1] <= end  # and its last token holds the marker's last byte


@core
def test_a_sample_is_a_candidate_only_when_finished_and_long_enough() -> None:
    ids, decode = joined(list("abcdefgh"))
    done = Completion("abcdefgh", (*ids, 99), "stop")
    made = gem.candidate(done, decode, config(min_tokens=8), "marker")
    assert made is not None
    assert made.ids[-1] == 99  # the end of turn is part of the action
    assert made.split.length == 8  # and of no span
    assert gem.candidate(done, decode, config(min_tokens=9), "marker") is None
    cut = Completion("abcdefghhh", (*ids, 7, 7), "length")
    assert gem.candidate(cut, decode, config(), "marker") is None
    kept = gem.candidate(cut, decode, config(), "positional")
    assert kept is not None, "the authors' split keeps truncated samples"
    assert kept.split == Split(8, 8, 10, marked=False)


# ---------------------------------------------------------------- Eq. 1


@core
def test_score_by_hand() -> None:
    entropies = [0.1, 0.2, 2.0, 0.3, 0.4, 9.0, 1.0, 3.0]  # five of reasoning, one of the marker, two of the answer
    spans = Split(5, 6, 8, marked=True)
    one = gem.score(entropies, spans, config())
    assert (one.h_final, one.h_fork, one.s) == (2.0, 2.0, 0.0)
    assert gem.score(entropies, spans, config(top_m=0.4)).h_fork == pytest.approx(1.2)
    assert gem.score(entropies, spans, config(top_m=0.4, fork_norm="n")).h_fork == pytest.approx(2.4 / 5)
    assert gem.score(entropies, spans, config(**{"lambda": 2.0})).s == 2.0
    assert gem.score(entropies, spans, config(**{"lambda": 0})).s == -2.0
    assert gem.score(entropies, spans, config(use_final=False)).s == 2.0


@core
@pytest.mark.parametrize(("n", "m"), [(1, 1), (9, 1), (10, 1), (29, 2), (30, 3), (70, 7)])
def test_forks_are_a_tenth_of_the_reasoning_and_at_least_one(n: int, m: int) -> None:
    entropies = [float(i) for i in range(n)] + [0.0]
    expected = fmean(range(n - m, n))
    assert gem.score(entropies, Split(n, n, n + 1, marked=True), config()).h_fork == pytest.approx(expected)


def test_controls_replace_the_score_and_keep_the_figures() -> None:
    import torch

    members = [gem.Candidate([], Split(n - 2, n - 2, n, marked=True)) for n in (9, 7)]
    scored = [TokenLogprobs(torch.zeros(n), torch.rand(n)) for n in (9, 7)]

    def found(**values: Any) -> list[gem.CotScore]:
        return gem.filtered(scored, members, config(**values), random.Random(0))

    plain, noise = found(), found(weights="random")
    assert [s.s for s in plain] == pytest.approx([s.h_fork - s.h_final for s in plain])
    assert [s.s for s in noise] != [s.s for s in plain]
    assert [s.h_final for s in noise] == [s.h_final for s in plain]
    assert [s.s for s in found(weights="length")] == [9.0, 7.0]


# ---------------------------------------------------------------- Eq. 2

SCORES = st.lists(st.floats(-20, 20), min_size=2, max_size=8)


@core
@given(scores=SCORES, f=st.sampled_from(["identity", "softmax", "bt"]), scale=st.sampled_from(["std", "none"]))
def test_advantages_sum_to_zero_and_keep_the_order(scores: list[float], f: str, scale: str) -> None:
    made = gem.advantages(scores, config(f=f, scale=scale))
    if made is None:
        assert stdev(gem.shape(scores, config(f=f))) < 1e-6
        return
    assert math.fsum(made) == pytest.approx(0, abs=1e-6)
    assert all(
        a <= b
        for (_, a), (_, b) in zip(
            sorted(zip(scores, made, strict=True)), sorted(zip(scores, made, strict=True))[1:], strict=False
        )
    )
    if scale == "std":
        assert stdev(made) == pytest.approx(1, abs=0.02)


@core
def test_shapes_by_hand() -> None:
    scores = [0.0, math.log(3.0)]
    assert gem.shape(scores, config(f="softmax")) == pytest.approx([0.25, 0.75])
    assert gem.shape(scores, config(f="bt")) == pytest.approx([0.25, 0.75])
    assert gem.shape(scores, config(f="bt", tau=0.5)) == pytest.approx([0.1, 0.9])
    assert gem.advantages([1.0, 3.0], config(scale="none")) == [-1.0, 1.0]
    assert gem.advantages([1.0, 3.0], config()) == pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])


@core
@pytest.mark.parametrize("scores", [[1.0], [], [2.0, 2.0, 2.0], [1.0, 1.0 + 1e-7]])
@pytest.mark.parametrize("f", ["identity", "softmax", "bt"])
def test_a_group_that_tells_nothing_apart_is_skipped(scores: list[float], f: str) -> None:
    assert gem.advantages(scores, config(f=f)) is None


# ---------------------------------------------------------------- liveness


@core
@pytest.mark.parametrize(
    ("marker", "used", "reasoned", "spans", "word"),
    [
        (0.79, 1.0, 1.0, "marker", "marker"),
        (0.8, 0.74, 1.0, "marker", "groups"),
        (0.8, 0.75, 0.5, "marker", None),
        (0.1, 0.1, 0.1, "marker", "marker"),
        (1.0, 1.0, 0.49, "marker", "fewer than 8 tokens"),
        (0.0, 1.0, 1.0, "positional", None),
        (0.0, 0.74, 1.0, "positional", "groups"),
        (0.0, 1.0, 0.49, "positional", "fewer than 8 tokens"),
    ],
)
def test_floors(marker: float, used: float, reasoned: float, spans: Spans, word: str | None) -> None:
    reason = nothing_to_filter({"marker_rate": marker, "groups_used": used, "reasoned": reasoned}, spans)
    assert reason is None if word is None else reason is not None and word in reason


@core
def test_sample_figures_count_every_sample_and_score_figures_the_scored_ones() -> None:
    ids, decode = joined([*"abcdefg", "Final Answer", "x"])
    good, bad = Completion(decode(ids), (*ids, 99), "stop"), Completion("aaaa", (1, 1, 1, 1), "length")
    member = gem.candidate(good, decode, config(), "marker")
    assert member is not None
    figures = grouped([[good, good], [good, bad]], [[member, member], [member]])
    assert figures["truncation"] == 0.25
    assert figures["dropped"] == 0.25
    assert figures["sample_tokens"] == pytest.approx((3 * 10 + 4) / 4)
    assert figures["groups_used"] == 0.5
    assert figures["distinct_2"] == pytest.approx((9 + 1) / (3 * 9 + 3))
    scores = [[gem.CotScore(1.0, 2.0, 3.0), gem.CotScore(2.0, 2.0, 4.0), gem.CotScore(3.0, 2.0, 5.0)]]
    splits = [Split(7, 8, 9, marked=True), Split(8, 8, 10, marked=False), Split(9, 10, 12, marked=True)]
    found = gem.score_figures(scores, splits)
    assert found["marker_rate"] == pytest.approx(2 / 3)
    assert found["reasoning_tokens"] == 8
    assert found["reasoned"] == pytest.approx(2 / 3)
    assert (found["h_fork"], found["score_std"]) == (4.0, 1.0)


# ---------------------------------------------------------------- losses and the model behind them


def tiny() -> Any:
    from harness.conformance.toy import tiny_model

    return tiny_model()


def groups(count: int = 2) -> list[Any]:
    from harness.lm.rows import Group

    rng = random.Random(0)
    words = [[rng.randrange(5, 390) for _ in range(n)] for n in (9, 6, 14, 11, 8, 12, 7)]
    return [Group(words[0], words[1:4]), Group(words[2], words[4:7])][:count]


def test_uniform_logits_have_entropy_ln_v_and_one_hot_logits_none() -> None:
    import torch

    from harness.lm.logprobs import group_logprobs

    model = tiny()
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head.mul_(1e6)
        sharp = group_logprobs(model, groups(), entropy=True)
        head.zero_()
        flat = group_logprobs(model, groups(), entropy=True)
    for group in flat:
        for one in group:
            assert entropies(one) == pytest.approx([math.log(head.shape[0])] * len(one.logprobs), abs=1e-5)
    assert max(h for group in sharp for one in group for h in entropies(one)) < 1e-3


def test_scores_and_log_probabilities_do_not_depend_on_padding_or_company() -> None:
    """Together, each group alone, each sample alone, and the library's own forward on right-padded rows."""
    import torch

    from harness.lm.logprobs import group_logprobs
    from harness.lm.rows import Group

    model, both = tiny(), groups()
    together = [one for group in group_logprobs(model, both, entropy=True) for one in group]
    alone = [group_logprobs(model, [Group(g.prompt, [c])], entropy=True)[0][0] for g in both for c in g.completions]
    rows = [[*g.prompt, *c] for g in both for c in g.completions]
    longest = max(map(len, rows)) + 3
    padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        logp = model(input_ids=padded, attention_mask=mask).logits.double().log_softmax(-1)
    starts = [len(g.prompt) for g in both for _ in g.completions]
    for i, (a, b, row, start) in enumerate(zip(together, alone, rows, starts, strict=True)):
        plain = logp[i, start - 1 : len(row) - 1]
        wanted = plain[range(len(row) - start), row[start:]]
        spans = Split(2, 3, len(row) - start - 1, marked=True)
        s = [gem.score(entropies(one), spans, config()).s for one in (a, b)]
        plain_s = gem.score((-(plain.exp() * plain).sum(-1)).tolist(), spans, config()).s
        assert s == pytest.approx([plain_s] * 2, abs=1e-4)
        assert a.logprobs.tolist() == pytest.approx(wanted.tolist(), abs=1e-4)
        assert b.logprobs.tolist() == pytest.approx(wanted.tolist(), abs=1e-4)


def gradient(model: Any, loss: Any) -> Any:
    import torch

    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])


def totals(model: Any, group: Any) -> Any:
    import torch

    from harness.lm.logprobs import group_logprobs

    return torch.stack([one.logprobs.sum() for one in group_logprobs(model, [group], entropy=True)[0]])


def test_at_two_samples_the_gradient_is_parallel_to_the_difference_of_log_probabilities() -> None:
    import torch

    from harness.lm.rows import Group

    model = tiny()
    pair = Group(groups()[0].prompt, groups()[0].completions[:2])
    weights = gem.advantages([0.7, -0.4], config())
    assert weights is not None
    values = totals(model, pair)
    sega = gradient(model, gem.sega_loss(values, weights))
    values = totals(model, pair)
    difference = gradient(model, -(values[0] - values[1]))
    assert torch.cosine_similarity(sega, difference, dim=0) == pytest.approx(1, abs=1e-5)
    assert sega.norm() == pytest.approx(float(difference.norm()) * weights[0] / 2, rel=1e-4)
    values = totals(model, pair)
    dpo = gradient(model, gem.dpo_loss(values, values.detach(), [0.7, -0.4], beta=0.1))
    assert torch.cosine_similarity(dpo, sega, dim=0) == pytest.approx(1, abs=1e-5)
    assert dpo.norm() == pytest.approx(float(difference.norm()) * 0.1 / 2, rel=1e-4)  # sigmoid(0) = 1/2


def test_sega_loss_is_its_formula_and_leaves_the_scores_alone() -> None:
    import torch

    values = torch.tensor([-3.0, -5.0, -4.0], requires_grad=True)
    loss = gem.sega_loss(values, [1.0, -1.5, 0.5])
    assert loss.item() == pytest.approx(-(1.0 * -3 + 1.5 * 5 - 0.5 * 4) / 3)
    loss.backward()
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([-1 / 3, 0.5, -0.5 / 3])


def test_kl_estimate_is_zero_at_the_reference_and_positive_elsewhere() -> None:
    import torch

    def scored(values: list[Any]) -> list[TokenLogprobs]:
        return [TokenLogprobs(one, None) for one in values]

    own = [torch.tensor([-1.0, -2.0]), torch.tensor([-0.5])]
    assert kl_loss(scored(own), scored(own)).item() == 0
    other = [torch.tensor([-1.5, -2.0]), torch.tensor([-0.2])]
    expected = ((math.exp(-0.5) + 0.5 - 1) + (math.exp(0.3) - 0.3 - 1)) / 2
    assert kl_loss(scored(own), scored(other)).item() == pytest.approx(expected)


@core
def test_importing_the_method_needs_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys, aligners.gem; print(sorted({'torch', 'transformers', 'trl'} & set(sys.modules)))"
    assert json.loads(subprocess.check_output([sys.executable, "-c", code], text=True)) == []


@core
def test_the_hook_offers_the_method() -> None:
    assert gem.harness_aligners() == [Gem]
