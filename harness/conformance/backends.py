"""Does a backend keep the promises of `contracts.Backend`? Checks for its author's own tests.

    from harness.conformance.backends import parametrize_backends_with_checks

    @parametrize_backends_with_checks([MyBackend], expected_failures={"adapter": "why it cannot pass"})
    def test_conformance(check):
        check()

Every check opens the kit's tiny model (random weights, a vocabulary of a few hundred tokens) on a CPU in fp32, so that
likelihoods can be summed over all tokens. What a backend does not declare is not asked for.
"""

from __future__ import annotations

import math
import tempfile
import unittest
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.conformance.checks import Check, CheckFailed, Outcome, known, outcomes, parametrized
from harness.conformance.toy import tiny_folder, tiny_model
from harness.contracts import Backend, Engine, EngineCapability, HarnessError, LoglikRequest
from harness.lm.rows import Group
from harness.meter import Meter

if TYPE_CHECKING:
    from harness.models.wheels import ModelFiles

SAME = 1e-3
"""Nats by which two ways to the same figure may differ."""
CONTEXTS = ((5, 9, 11), (7, 8, 20, 31, 40), (12,))
ANSWER = (30, 31, 32)
TEXTS = ("one two three", "the quick brown fox", "yes")
SHORT = 12
"""Tokens of a sample."""


class BackendLab:
    """One backend, and the tiny model's folder that it opens anew for every check."""

    def __init__(self, backend: type[Backend], head: int | None = None) -> None:
        self.backend = backend
        self.head = head
        """Width of the tiny model's attention heads, for engines whose kernels take no narrow ones."""
        self.name = backend.name

    @contextmanager
    def files(self) -> Iterator[ModelFiles]:
        """The tiny model on the disk."""
        from harness.models.find import resolve

        with tempfile.TemporaryDirectory() as folder:
            tiny = tiny_folder(Path(folder) / "tiny", head=self.head)
            yield resolve(str(tiny), registry_models={}, cache=Path(folder) / "cache")

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """The tiny model, opened."""
        with self.files() as files:
            engine = self.backend().open(files, device="cpu", precision="fp32")
            yield engine
            engine.close()

    def unless_it_can(self, *wanted: EngineCapability) -> None:
        """Skip the running check unless the backend declares all of these."""
        lacking = set(wanted) - self.backend.capabilities
        if lacking:
            raise unittest.SkipTest(f"backend {self.name} does not declare {', '.join(sorted(lacking))}")


def backend_checks(backend: type[Backend], *, head: int | None = None) -> Iterator[Check]:
    """All checks of one backend, in order; `head` is the width of the tiny model's attention heads, usually 8."""
    lab = BackendLab(backend, head)
    for check in CHECKS:
        yield Check(_name(check), partial(check, lab))


def check_backend(backend: type[Backend], *, expected_failures: Mapping[str, str] | None = None) -> tuple[Outcome, ...]:
    """Run every check. Raises NotConformant listing all failures; HarnessError for an unknown name in the mapping."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return outcomes(f"backend {backend.name!r}", backend_checks(backend), expected)


def parametrize_backends_with_checks(
    backends: Sequence[type[Backend]],
    *,
    expected_failures: Mapping[str, str] | None = None,
    head: int | None = None,
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that runs a pytest test function once per backend and check, given as its argument `check`."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return parametrized({backend.name: backend_checks(backend, head=head) for backend in backends}, expected)


def _name(check: Callable[[BackendLab], str]) -> str:
    return check.__name__.removeprefix("check_")


def _require(promise: bool, failure: str) -> None:
    if not promise:
        raise CheckFailed(failure)


def _loglik(engine: Engine, context: Sequence[int], continuation: Sequence[int]) -> float:
    (found,) = engine.loglik([LoglikRequest(tuple(context), tuple(continuation))])
    return found.total


def _vocabulary(engine: Engine) -> int:
    return len(engine.tokenizer)


# ---------------------------------------------------------------- checks


def check_opens(lab: BackendLab) -> str:
    """An engine has a tokenizer that gives texts back, room for tokens, and a number of weights."""
    with lab.engine() as engine:
        ids = engine.tokenizer.encode(TEXTS[0], add_special_tokens=False)
        _require(engine.tokenizer.decode(ids) == TEXTS[0], f"{lab.name}: its tokenizer does not give a text back")
        _require(
            engine.max_length >= 64, f"{lab.name}: max_length is {engine.max_length}; the tiny model has 64 or more"
        )
        expected = sum(weight.numel() for weight in tiny_model(head=lab.head).parameters())
        _require(
            engine.parameters == expected, f"{lab.name}: it counts {engine.parameters} weights; there are {expected}"
        )
    return ""


def check_likelihoods_sum_to_one(lab: BackendLab) -> str:
    """Over all tokens that may follow a context, probabilities sum to one."""
    lab.unless_it_can("loglik")
    with lab.engine() as engine:
        for context in CONTEXTS:
            asked = [LoglikRequest(context, (token,)) for token in range(_vocabulary(engine))]
            total = math.fsum(math.exp(found.total) for found in engine.loglik(asked))
            _require(abs(total - 1) < SAME, f"{lab.name}: what may follow {context} has probability {total:.4f}, not 1")
    return ""


def check_likelihoods_add_up(lab: BackendLab) -> str:
    """The log-likelihood of a continuation is the sum over its tokens, each after what stands before it."""
    lab.unless_it_can("loglik")
    with lab.engine() as engine:
        for context in CONTEXTS:
            whole = _loglik(engine, context, ANSWER)
            parts = [_loglik(engine, (*context, *ANSWER[:i]), ANSWER[i : i + 1]) for i in range(len(ANSWER))]
            _require(
                abs(whole - math.fsum(parts)) < SAME,
                f"{lab.name}: {ANSWER} after {context} has {whole:.4f} nats, its tokens have {math.fsum(parts):.4f}",
            )
    return ""


def check_greedy_is_most_likely(lab: BackendLab) -> str:
    """Only the most likely continuation is called greedy, and temperature 0 samples it."""
    lab.unless_it_can("loglik", "generate")
    with lab.engine() as engine:
        for context in CONTEXTS:
            found = engine.loglik([LoglikRequest(context, (token,)) for token in range(_vocabulary(engine))])
            best = max(range(len(found)), key=lambda token: found[token].total)
            greedy = [token for token, one in enumerate(found) if one.is_greedy]
            _require(greedy == [best], f"{lab.name}: after {context} token {best} is most likely, greedy are {greedy}")
            ((sample,),) = engine.generate([context], temperature=0.0, max_new_tokens=1)
            _require(sample.ids[:1] == (best,), f"{lab.name}: temperature 0 gives {sample.ids}, most likely is {best}")
    return ""


def check_long_contexts_are_clipped(lab: BackendLab) -> str:
    """A context beyond `max_length` is clipped on the left; a continuation that is empty or too long is refused."""
    lab.unless_it_can("loglik")
    with lab.engine() as engine:
        long = tuple(5 + i % 50 for i in range(engine.max_length + 40))
        kept = long[-(engine.max_length + 1 - len(ANSWER)) :]
        moved = abs(_loglik(engine, long, ANSWER) - _loglik(engine, kept, ANSWER))
        _require(moved < SAME, f"{lab.name}: a context that is too long is not clipped on the left ({moved:.4f} nats)")
        for wrong in ((), long):
            try:
                _loglik(engine, (5,), wrong)
            except HarnessError:
                continue
            raise CheckFailed(f"{lab.name}: a continuation of {len(wrong)} tokens was expected to be refused")
    return ""


def check_scores_agree(lab: BackendLab) -> str:
    """`score` gives for each token what `loglik` sums, and `logits` gives the same within the whole distribution."""
    lab.unless_it_can("loglik", "score")
    with lab.engine() as engine:
        for context in CONTEXTS:
            expected = _loglik(engine, context, ANSWER)
            found = engine.score([Group(context, [ANSWER])])[0][0].total
            _require(abs(found - expected) < SAME, f"{lab.name}: score sums to {found:.4f}, loglik to {expected:.4f}")
            if "logits" in lab.backend.capabilities:
                rows = [row for block in engine.logits([context], [ANSWER], chunk=2) for row in block]
                total = math.fsum(float(row[token]) for row, token in zip(rows, ANSWER, strict=True))
                _require(abs(total - expected) < SAME, f"{lab.name}: logits sum to {total:.4f}, loglik {expected:.4f}")
    return ""


def check_entropies_agree(lab: BackendLab) -> str:
    """The entropy at every token is that of the distribution which `logits` gives there."""
    lab.unless_it_can("entropy", "score", "logits")
    with lab.engine() as engine:
        found = engine.score([Group(CONTEXTS[0], [ANSWER])], entropy=True)[0][0].entropies
        _require(found is not None, f"{lab.name}: no entropies came where they were asked for")
        rows = [row for block in engine.logits([CONTEXTS[0]], [ANSWER]) for row in block]
        expected = [-math.fsum(math.exp(float(v)) * float(v) for v in row) for row in rows]
        moved = max(abs(float(a) - b) for a, b in zip(found if found is not None else (), expected, strict=True))
        _require(moved < SAME, f"{lab.name}: its entropies differ from those of its logits by {moved:.4f} nats")
    return ""


def check_samples_are_whole(lab: BackendLab) -> str:
    """There are as many samples as were asked for, none too long, each with its own text and the right `finish`."""
    lab.unless_it_can("generate")
    with lab.engine() as engine:
        groups = engine.generate(CONTEXTS, n=3, max_new_tokens=SHORT, seed=1)
        _require([len(group) for group in groups] == [3] * len(CONTEXTS), f"{lab.name}: not 3 samples for each prompt")
        for one in (sample for group in groups for sample in group):
            _require(0 < len(one.ids) <= SHORT, f"{lab.name}: a sample of {len(one.ids)} tokens; at most {SHORT} fit")
            whole = one.finish == "stop" or len(one.ids) == SHORT
            _require(whole, f"{lab.name}: a sample of {len(one.ids)} tokens ends for its length; {SHORT} were allowed")
            text = engine.tokenizer.decode(one.ids, skip_special_tokens=True)
            _require(one.text == text, f"{lab.name}: a sample's text is {one.text!r}, its tokens say {text!r}")
    return ""


def check_seed_decides(lab: BackendLab) -> str:
    """The same seed gives the same samples, another seed gives others; the process's random states do not matter."""
    lab.unless_it_can("generate")
    with lab.engine() as engine:
        ask = partial(engine.generate, CONTEXTS, n=2, max_new_tokens=SHORT)
        first, again, other = ask(seed=1), ask(seed=1), ask(seed=2)
        _require(first == again, f"{lab.name}: asked twice with one seed, it gives other samples")
        _require(first != other, f"{lab.name}: two seeds give the same samples")
    return ""


def check_stops_at_a_string(lab: BackendLab) -> str:
    """A sample's text ends before the first stop string."""
    lab.unless_it_can("generate")
    with lab.engine() as engine:
        ((free,),) = engine.generate(CONTEXTS[:1], temperature=0.0, max_new_tokens=SHORT)
        middle = len(free.text) // 2
        stop = free.text[middle : middle + 2]
        if not stop.strip():
            raise unittest.SkipTest("the tiny model writes no text to stop at")
        ((cut,),) = engine.generate(CONTEXTS[:1], temperature=0.0, max_new_tokens=SHORT, stop=[stop])
        expected = free.text[: free.text.index(stop)]
        _require(
            (cut.text, cut.finish) == (expected, "stop"),
            f"{lab.name}: stopped at {stop!r}, the text is {cut.text!r} ({cut.finish}); {expected!r} was expected",
        )
    return ""


def check_alone_as_in_company(lab: BackendLab) -> str:
    """What else is asked in the same call changes no answer."""
    lab.unless_it_can("loglik", "generate")
    with lab.engine() as engine:
        asked = [LoglikRequest(context, ANSWER) for context in CONTEXTS]
        together = [found.total for found in engine.loglik(asked)]
        alone = [engine.loglik([one])[0].total for one in asked]
        moved = max(abs(a - b) for a, b in zip(together, alone, strict=True))
        _require(moved < SAME, f"{lab.name}: asked one by one, likelihoods differ by {moved:.4f} nats")
        ask = partial(engine.generate, temperature=0.0, max_new_tokens=SHORT)
        same = ask(CONTEXTS) == [ask([context])[0] for context in CONTEXTS]
        _require(same, f"{lab.name}: asked one by one, it samples other answers")
    return ""


def check_adapter(lab: BackendLab) -> str:
    """`load` changes the answers, `adapter_off` undoes this inside its block, and `drop` for good, bit for bit."""
    lab.unless_it_can("adapters", "loglik")
    with lab.engine() as engine, tempfile.TemporaryDirectory() as folder:
        ask = partial(_loglik, engine, CONTEXTS[0], ANSWER)
        before, expected = ask(), _adapted(Path(folder), lab.head)
        engine.load(Path(folder))
        loaded = ask()
        moved = abs(loaded - expected)
        _require(moved < SAME, f"{lab.name}: with an adapter, {loaded:.4f} nats came; {expected:.4f} were expected")
        with engine.adapter_off():
            _require(abs(ask() - before) < SAME, f"{lab.name}: with its adapter off, it answers with the adapter")
        _require(ask() == loaded, f"{lab.name}: an adapter that was off for a while does not come back")
        engine.drop()
        _require(ask() == before, f"{lab.name}: an adapter that was dropped leaves something behind")
    return ""


def _adapted(folder: Path, head: int | None) -> float:
    """Save a random adapter in `folder`; what the tiny model answers with it."""
    import torch
    from peft import LoraConfig, get_peft_model

    from harness.lm.backends.hf import HfEngine

    model = get_peft_model(tiny_model(head=head), LoraConfig(r=2, target_modules="all-linear"))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.copy_(0.3 * torch.randn(weight.shape, generator=generator))
    model.save_pretrained(str(folder))
    return _loglik(HfEngine(model.eval(), None), CONTEXTS[0], ANSWER)


def check_embeddings(lab: BackendLab) -> str:
    """There is one row for each text, whatever stands beside it, and another row for another text or pooling."""
    lab.unless_it_can("embed")
    with lab.engine() as engine:
        rows = engine.embed(TEXTS)
        _require(rows.ndim == 2 and len(rows) == len(TEXTS), f"{lab.name}: embeddings of shape {rows.shape}")
        moved = max(float(abs(engine.embed([text])[0] - row).max()) for text, row in zip(TEXTS, rows, strict=True))
        _require(moved < SAME, f"{lab.name}: asked one by one, embeddings differ by {moved:.4f}")
        apart = float(abs(rows[0] - rows[1]).max())
        _require(apart > SAME, f"{lab.name}: two texts have one embedding")
        pooled = float(abs(engine.embed(TEXTS, pool="last")[0] - rows[0]).max())
        _require(pooled > SAME, f"{lab.name}: pool='last' and pool='mean' give the same")
    return ""


def check_counts_what_it_reads(lab: BackendLab) -> str:
    """Tokens that are read inside `metered` are counted, and others are not."""
    lab.unless_it_can("loglik")
    with lab.engine() as engine:
        meter = Meter()
        with engine.metered(meter):
            _loglik(engine, CONTEXTS[1], ANSWER)
        read = meter.spend.forward_tokens
        fewest = len(CONTEXTS[1]) + len(ANSWER) - 1
        _require(read >= fewest, f"{lab.name}: {read} tokens were counted; {fewest} had to be read")
        _loglik(engine, CONTEXTS[1], ANSWER)
        _require(meter.spend.forward_tokens == read, f"{lab.name}: it goes on counting after the block has ended")
    return ""


def check_opens_again(lab: BackendLab) -> str:
    """After `close`, opening the same files again gives the same answers."""
    lab.unless_it_can("loglik")
    answers = []
    with lab.files() as files:
        for _ in range(2):
            engine = lab.backend().open(files, device="cpu", precision="fp32")
            answers.append(_loglik(engine, CONTEXTS[0], ANSWER))
            engine.close()
    _require(answers[0] == answers[1], f"{lab.name}: opened again, {answers[0]:.4f} nats have become {answers[1]:.4f}")
    return ""


CHECKS: tuple[Callable[[BackendLab], str], ...] = (
    check_opens,
    check_likelihoods_sum_to_one,
    check_likelihoods_add_up,
    check_greedy_is_most_likely,
    check_long_contexts_are_clipped,
    check_scores_agree,
    check_entropies_agree,
    check_samples_are_whole,
    check_seed_decides,
    check_stops_at_a_string,
    check_alone_as_in_company,
    check_adapter,
    check_embeddings,
    check_counts_what_it_reads,
    check_opens_again,
)
