"""The bench: everything an aligner may use, metered, checkpointed and resumable.

It puts together what stands in the modules beside it: the ledger counts, the adapters are switched and kept, the phases
train. What is asked of the model goes through its backend, or, where gradients are wanted, through the log-prob step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from harness.config import Lora
from harness.contracts import (
    BASE,
    POLICY,
    Completion,
    ConfigT,
    Engine,
    HarnessError,
    HeldOutFigure,
    Ids,
    JudgeItem,
    LanguageModel,
    Messages,
    Pair,
    Prompt,
    Regime,
    Span,
    TokenLogprobs,
    TokenScores,
    Trainers,
    Verdict,
)
from harness.fit.adapters import Adapters, State
from harness.fit.arguments import trainer_arguments
from harness.fit.beginnings import Beginnings
from harness.fit.embeddings import Embeddings
from harness.fit.held_out import likelihood_score, margin_score, split
from harness.fit.journal import Journal
from harness.fit.ledger import Ledger
from harness.fit.phases import OWN_CHECKPOINT, Phases
from harness.fit.shared import BaseCalls
from harness.fit.together import ALONE, Together
from harness.lm import rows
from harness.lm.backends.hf import HfEngine
from harness.lm.language_model import ModelAligned
from harness.lm.logprobs import completion_log_softmax, group_logprobs
from harness.lm.metering import flop_model, metered
from harness.lm.peft_internals import base_lm
from harness.lm.rows import Group
from harness.meter import Meter
from harness.util.chat import encode_completion, render_prompt
from harness.util.checked import read_checked, write_checked

if TYPE_CHECKING:
    from torch import Tensor

    from harness.contracts import FloatArray
    from harness.judging.open import Judges


class LocalBench:
    """A `contracts.Bench` over one PEFT model in this process."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        regime: Regime,
        meter: Meter,
        seed: int,
        workdir: Path,
        journal: Journal,
        checkpoint_steps: int,
        judges: Judges | None = None,
        engine: Callable[[Any, Any], Engine] = HfEngine,
        together: Together = ALONE,
    ) -> None:
        self.policy, self.tokenizer = model, tokenizer
        self.regime, self.seed, self.workdir = regime, seed, workdir
        self.meter, self.journal = meter, journal
        self.engine = engine(model, tokenizer)
        self.ledger = Ledger(meter, journal)
        self.adapters = Adapters(model)
        self.chosen_by: HeldOutFigure = "margin"
        self._checkpoint_steps = checkpoint_steps
        self.beginnings = Beginnings(self.adapters, self.ledger, regime.device)
        self._phases = Phases(workdir, self.ledger, self.adapters, self.beginnings, together)
        self.embeddings, self.shared = Embeddings(), BaseCalls(self.engine, self.adapters, meter)
        self._unlabelled: dict[Messages, str] = {}
        self._asked: Meter | None = None  # of results whose answers are a search's own work
        self._judges = judges
        if judges is not None:
            judges.loaded = self._count_judge
        self._hooks: list[AbstractContextManager[Any, Any]] = [metered(model, meter)]

    @classmethod
    def create(
        cls,
        model: Any,
        tokenizer: Any,
        *,
        regime: Regime,
        meter: Meter,
        seed: int,
        workdir: Path,
        lora: Lora,
        log: Journal | None = None,
        checkpoint_steps: int = 8,
        judges: Judges | None = None,
        engine: Callable[[Any, Any], Engine] = HfEngine,
        together: Together = ALONE,
    ) -> LocalBench:
        """A bench over a bare causal LM: adds the study's LoRA, seeded, and attaches the meter."""
        from harness.models.adapters import add_lora

        workdir.mkdir(parents=True, exist_ok=True)
        policy = add_lora(model, lora, seed)
        meter.attach(flop_model(policy))
        together.divide_weights(policy, regime.device)
        bench = cls(
            policy,
            tokenizer,
            regime=regime,
            meter=meter,
            seed=seed,
            workdir=workdir,
            journal=log or Journal(workdir / "log.jsonl"),
            checkpoint_steps=checkpoint_steps,
            judges=judges,
            engine=engine,
            together=together,
        )
        policy.eval()
        return bench

    def share(self, folder: Path, basis: str) -> None:
        """Share through a folder, with all fits of the same `basis`, what they would compute alike."""
        self.shared.keep_in(folder, basis)
        self.beginnings.keep_in(folder, basis)

    # ------------------------------------------------------------ what is counted and reported

    def log(self, event: str, **figures: float | int | str | bool) -> None:
        """Append one line to the run's log."""
        self.journal.write(event, **figures)

    def liveness(self, *, degenerate: str | None = None, **figures: float) -> None:
        """Figures that show the method did its work."""
        self.ledger.liveness(degenerate, figures)

    def tally(self, **figures: float) -> Mapping[str, float]:
        """Add to running sums that survive a resume; returns all of them."""
        return self.ledger.tally(figures)

    def latest(self, name: str, figures: Sequence[float], *, keep: int) -> list[float]:
        """Append to a list of at most `keep` figures that survives a resume; returns it."""
        return self.ledger.latest(name, figures, keep)

    def spend(self, flops: float) -> None:
        """Count work done outside the language model."""
        self.meter.flops(flops)

    def offer(self, prompts: Sequence[Prompt]) -> None:
        """The unlabelled prompts of the budget: each counts as used once it is sampled from."""
        self._unlabelled = {prompt.messages: prompt.id for prompt in prompts}

    # ------------------------------------------------------------ training

    @property
    def trainers(self) -> Trainers:
        """Trainers of the live policy."""
        from harness.fit.trainers import LocalTrainers

        return LocalTrainers(self)

    def arguments(self, config_class: type[ConfigT], **method: Any) -> ConfigT:
        """Trainer arguments with the shared settings filled in. Raises HarnessError when `method` sets one of them."""
        return trainer_arguments(
            config_class,
            method,
            self.regime,
            seed=self.seed,
            folder=self._phases.folder,
            checkpoint_steps=self._checkpoint_steps,
        )

    def split(self, pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """(training, held-out) pairs under the regime's selection."""
        return split(pairs, self.regime.selection)

    def train(self, trainer: Any, *, held_out: Sequence[Pair] = (), fit_steps: int | None = None) -> int | None:
        """Run one phase; see `contracts.Bench.train`."""

        def look(step: int) -> None:
            score = self.held_out_score(held_out)
            kept = self.keep(score)
            self.log("held_out", step=step, score=score, by=self.chosen_by, kept=kept)
            self.liveness(looks=self.tally(looks=1.0)["looks"])
            if kept:
                self.liveness(kept_look=step)

        decided_by = (self.seed, self.regime, self.chosen_by, list(held_out))
        self._phases.run(trainer, look=look if held_out else None, fit_steps=fit_steps, decided_by=decided_by)
        kept_look = self.ledger.alive.get("kept_look")
        return None if kept_look is None else int(kept_look)

    def held_out_score(self, pairs: Sequence[Pair]) -> float:
        """The figure by which held-out pairs choose for the method that is fitted (`ChosenBy`): higher is better."""
        prompts = [p.prompt for p in pairs]
        if self.chosen_by == "likelihood":
            return likelihood_score([scores for (scores,) in self.score(prompts, [(p.chosen,) for p in pairs])])
        answers = [(p.chosen, p.rejected) for p in pairs]
        return margin_score(self.score(prompts, answers), self.score(prompts, answers, of=BASE))

    def keep(self, score: float, name: str = POLICY) -> bool:
        """Remember the adapter as the best so far, where `score` is the highest; it survives BudgetExceeded."""
        return self.adapters.keep(score, name)

    def store(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint of an aligner's own training loop, whole or not at all."""
        torch.save({"state": dict(state), "bench": self.ledger.state()}, content := BytesIO())
        write_checked(self.workdir / OWN_CHECKPOINT, content.getvalue())

    def stored(self) -> Mapping[str, Any] | None:
        """The state that `store` wrote last; the bench's figures go back to that moment."""
        if (content := read_checked(self.workdir / OWN_CHECKPOINT)) is None:
            return None
        device = next(self.policy.parameters()).device
        saved = torch.load(BytesIO(content), weights_only=True, map_location=device)
        self.ledger.restore(saved["bench"])
        return dict(saved["state"])

    # ------------------------------------------------------------ adapters

    def fork(self, name: str, of: str = POLICY) -> None:
        """Copy an adapter under a new name, frozen."""
        self.adapters.fork(name, of)

    def drop(self, name: str) -> None:
        """Delete an adapter made by `fork`."""
        self.adapters.drop(name)

    def using(self, adapter: str) -> AbstractContextManager[None]:
        """Make `adapter` the active one inside a `with` block."""
        return self.adapters.using(adapter)

    def adapter_state(self, name: str = POLICY) -> State:
        """A copy of an adapter's tensors."""
        return self.adapters.state(name)

    # ------------------------------------------------------------ what is asked of the model

    def render(self, prompt: Messages) -> list[int]:
        """Token ids of a prompt, ready for the assistant's turn."""
        return render_prompt(self.tokenizer, prompt, self.regime.prompt_tokens)

    def encode(self, completion: str | Completion) -> list[int]:
        """Token ids of an answer, closed by the end-of-turn token unless truncated."""
        return encode_completion(self.tokenizer, completion, self.regime.completion_tokens)

    def generate(
        self,
        prompts: Sequence[Messages],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int | None = None,
        stop: Sequence[str] = (),
        seed: int = 0,
        of: str = POLICY,
    ) -> list[list[Completion]]:
        """`n` samples per prompt."""
        limit = max_new_tokens or self.regime.new_tokens
        with self.adapters.quiet(of):
            samples = self.engine.generate(
                [self.render(p) for p in prompts],
                n=n,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                max_new_tokens=min(limit, self.regime.new_tokens),
                stop=list(stop),
                seed=seed,
            )
        for prompt in set(prompts) & self._unlabelled.keys():
            self.meter.prompt(self._unlabelled[prompt])
        self.meter.generated(sum(len(c.ids) for group in samples for c in group))
        return samples

    def score(
        self,
        prompts: Sequence[Messages],
        completions: Sequence[Sequence[str | Completion]],
        *,
        of: str = POLICY,
        entropy: bool = False,
    ) -> list[list[TokenScores]]:
        """Log-probability of every completion token."""
        groups = [
            Group(self.render(p), [self.encode(c) for c in answers])
            for p, answers in zip(prompts, completions, strict=True)
        ]
        return self.shared.score(groups, of=of, entropy=entropy)

    def logprobs(
        self, prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], *, of: str = POLICY, entropy: bool = False
    ) -> list[list[TokenLogprobs]]:
        """Log-probability of every completion token, to be differentiated."""
        groups = [Group(p, answers) for p, answers in zip(prompts, completions, strict=True)]
        with nullcontext() if of == POLICY else torch.no_grad(), self.using(of):
            scored = group_logprobs(self.policy, groups, entropy=entropy)
        return [[TokenLogprobs(one.logprobs, one.entropies) for one in group] for group in scored]

    def distributions(
        self, prompts: Sequence[Ids], completions: Sequence[Sequence[Ids]], *, of: str = POLICY
    ) -> Iterator[Tensor]:
        """Log-probabilities over the vocabulary behind every completion token, in blocks."""
        groups = [Group(p, answers) for p, answers in zip(prompts, completions, strict=True)]
        vocabulary = base_lm(self.policy).config.get_text_config().vocab_size
        blocks = completion_log_softmax(self.policy, groups, chunk=max(1, rows.CHUNK_ELEMENTS // vocabulary))
        while True:
            with self.adapters.quiet(of):
                found = next(blocks, None)
            if found is None:
                return
            yield found

    def embed(
        self,
        texts: Sequence[str],
        *,
        of: str = BASE,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """Pooled hidden states, shape (N, D); those of the base model, which never changes, are remembered."""

        def compute(new: Sequence[str], parts: Sequence[Span] | None) -> FloatArray:
            return self.shared.embed(list(new), of=of, layer=layer, pool=pool, spans=parts)

        width = self.policy.config.get_text_config().hidden_size
        return self.embeddings.embed(texts, spans, (layer, pool), compute, width=width, remember=of == BASE)

    def judge(self, name: str, items: Sequence[JudgeItem]) -> list[Verdict]:
        """See `contracts.Bench.judge`."""
        if self._judges is None:
            raise HarnessError(f"judge {name!r} was asked for, but this bench was given no judges")
        verdicts = self._judges.get(name).compare(items)
        tokens, cost = sum(v.tokens for v in verdicts), sum(v.cost for v in verdicts)
        sums = self.tally(judge_calls=float(len(items)), judge_tokens=float(tokens), judge_cost=cost)
        self.liveness(judge_calls=sums["judge_calls"], judge_tokens=sums["judge_tokens"], judge_cost=sums["judge_cost"])
        return verdicts

    def _count_judge(self, engine: Engine) -> None:
        """A judge's model spends from the same budget, at its own price per token."""
        hooks = engine.metered(self.meter.beside())
        hooks.__enter__()
        self._hooks.append(hooks)

    def aligned(self, demonstrations: Sequence[Pair] = ()) -> LanguageModel:
        """The live policy as the result of the fit."""
        return ModelAligned(
            self.engine,
            self.regime.prompt_tokens,
            self.regime.completion_tokens,
            tuple(demonstrations),
            self.adapters.write,
            self._asked,
        )

    # ------------------------------------------------------------ a search's benches, and the end

    def within(self, folder: Path) -> LocalBench:
        """Another bench over the same model, with a folder, phases and tallies of its own; its work counts here."""
        folder.mkdir(parents=True, exist_ok=True)
        inner = LocalBench(
            self.policy,
            self.tokenizer,
            regime=self.regime,
            meter=self.meter,
            seed=self.seed,
            workdir=folder,
            journal=self.journal,
            checkpoint_steps=self._checkpoint_steps,
            engine=lambda model, tokenizer: self.engine,
        )
        inner._judges = self._judges  # whose models this bench counts as long as it is open itself
        inner.embeddings = self.embeddings
        inner._asked = self.meter
        return inner

    def seconds(self) -> float:
        """Seconds of this fit, those of the part before an interruption that counts included."""
        return self.ledger.seconds()

    def close(self) -> None:
        """Remove the meter's hooks."""
        for hooks in self._hooks:
            hooks.__exit__(None, None, None)

    def __enter__(self) -> LocalBench:
        self._hooks[0].__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
