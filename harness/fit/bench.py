"""The bench: everything an aligner may use, metered, checkpointed and resumable.

An interrupted fit is started again from the top. Each call of `train` is a numbered phase with its own folder: a phase
that was finished is loaded instead of run, one that was under way goes on from its last whole checkpoint. The meter,
the tallies and the length of the log are stored with every checkpoint, so that a resumed fit ends with the same figures
as an undisturbed one.
"""

from __future__ import annotations

import copy
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch

from harness.config import Lora
from harness.contracts import (
    BASE,
    POLICY,
    Aligned,
    Aligner,
    BudgetExceeded,
    Completion,
    FewShot,
    Finishes,
    HarnessError,
    JudgeItem,
    LanguageModel,
    Loads,
    Messages,
    Pair,
    Regime,
    Span,
    TokenScores,
    Verdict,
)
from harness.fit.demands import refuse_unmet, takes
from harness.fit.journal import Journal
from harness.fit.phases import OWN_CHECKPOINT, Pristine, last_checkpoint, silence
from harness.lm.backends.hf import HfBackend
from harness.lm.language_model import ModelAligned
from harness.lm.metering import flop_model, metered
from harness.lm.rows import Group
from harness.meter import Meter
from harness.util.chat import encode_completion, render_prompt
from harness.util.files import read_json, write_json

if TYPE_CHECKING:
    from harness.contracts import FloatArray
    from harness.judging.open import Judges


ConfigT = TypeVar("ConfigT")


# What all aligners share: an aligner that sets one of these would not be compared under the same terms.
SHARED = frozenset(
    {
        *("output_dir", "seed", "data_seed", "bf16", "fp16", "use_cpu", "gradient_accumulation_steps"),
        *("max_length", "max_prompt_length", "max_completion_length", "num_train_epochs", "gradient_checkpointing"),
        *("save_strategy", "save_steps", "save_total_limit", "report_to", "logging_steps", "disable_tqdm"),
    }
)


HELD_OUT_SHARE = 0.25


HELD_OUT_LOOKS = 4
"""How often a phase looks at its held-out pairs."""


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
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._regime = regime
        self._seed = seed
        self._workdir = workdir
        self._checkpoint_steps = checkpoint_steps
        self.meter = meter
        self.journal = journal
        self._judges = judges
        if judges is not None:
            judges.loaded = self._count_judge
        self.backend = HfBackend(model, tokenizer)
        self.alive: dict[str, float] = {}
        self.degenerate: str | None = None
        self.seconds_before = 0.0
        self._started = time.monotonic()
        self._tallies: dict[str, float] = {}
        self._forks: set[str] = set()
        self._phase = 0
        self._embedded: dict[tuple[Any, ...], Any] = {}
        self._best: tuple[float, dict[str, torch.Tensor]] | None = None
        self._asked: Meter | None = None  # of results whose answers are a search's own work
        self._pristine = Pristine.of(model)
        self._hooks = [metered(model, meter)]

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
    ) -> LocalBench:
        """A bench over a bare causal LM: adds the study's LoRA, seeded, and attaches the meter."""
        from harness.models.adapters import add_lora

        workdir.mkdir(parents=True, exist_ok=True)
        policy = add_lora(model, lora, seed)
        meter.attach(flop_model(policy))
        journal = log or Journal(workdir / "log.jsonl")
        bench = cls(
            policy,
            tokenizer,
            regime=regime,
            meter=meter,
            seed=seed,
            workdir=workdir,
            journal=journal,
            checkpoint_steps=checkpoint_steps,
            judges=judges,
        )
        policy.eval()
        return bench

    # ------------------------------------------------------------ what an aligner sees

    @property
    def policy(self) -> Any:
        """The PEFT model with the live adapter."""
        return self._model

    @property
    def tokenizer(self) -> Any:
        """The model's tokenizer."""
        return self._tokenizer

    @property
    def seed(self) -> int:
        """The training seed."""
        return self._seed

    @property
    def workdir(self) -> Path:
        """A folder that survives a crash."""
        return self._workdir

    @property
    def regime(self) -> Regime:
        """The shared settings."""
        return self._regime

    def log(self, event: str, **figures: float | int | str | bool) -> None:
        """Append one line to the run's log."""
        self.journal.write(event, **figures)

    def liveness(self, *, degenerate: str | None = None, **figures: float) -> None:
        """Figures that show the method did its work."""
        self.alive.update({k: float(v) for k, v in figures.items()})
        self.degenerate = degenerate or self.degenerate

    def tally(self, **figures: float) -> Mapping[str, float]:
        """Add to running sums that survive a resume; returns all of them."""
        for name, value in figures.items():
            self._tallies[name] = self._tallies.get(name, 0.0) + float(value)
        return dict(self._tallies)

    def render(self, prompt: Messages) -> list[int]:
        """Token ids of a prompt, ready for the assistant's turn."""
        return render_prompt(self._tokenizer, prompt, self._regime.prompt_tokens)

    def encode(self, completion: str | Completion) -> list[int]:
        """Token ids of an answer, closed by the end-of-turn token unless truncated."""
        return encode_completion(self._tokenizer, completion, self._regime.completion_tokens)

    def arguments(self, config_class: type[ConfigT], **method: Any) -> ConfigT:
        """Trainer arguments with the shared settings filled in. Raises HarnessError when `method` sets one of them."""
        clash = sorted(SHARED & set(method))
        if clash:
            raise HarnessError(f"{', '.join(clash)} is shared by all aligners and may not be set by one")
        batches = {self._regime.batch, self._regime.sample_prompts}
        batch = method.pop("per_device_train_batch_size", self._regime.batch)
        if batch not in batches:
            raise HarnessError(
                f"per_device_train_batch_size must be one of the regime's {sorted(batches)}, not {batch}"
            )
        settings: dict[str, Any] = {
            "output_dir": str(self._phase_dir()),
            "per_device_train_batch_size": batch,
            "max_steps": self._regime.min_steps,
            "seed": self._seed,
            "data_seed": self._seed,
            "use_cpu": self._regime.device == "cpu",
            "bf16": self._regime.precision == "bf16",
            "fp16": False,
            "gradient_checkpointing": False,
            "weight_decay": 0.0,
            "max_grad_norm": 1.0,
            "save_strategy": "steps",
            "save_steps": self._checkpoint_steps,
            "save_total_limit": 2,
            "logging_steps": 1,
            "logging_nan_inf_filter": False,
            "report_to": [],
            "disable_tqdm": True,
            "remove_unused_columns": False,
            "dataloader_pin_memory": False,
        }
        known = set(getattr(config_class, "__dataclass_fields__", {}))
        if "max_length" in known:
            settings["max_length"] = self._regime.prompt_tokens + self._regime.completion_tokens
        settings.update(method)
        return config_class(**{k: v for k, v in settings.items() if k in known or k in method})

    def split(self, pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """(training, held-out) pairs; whole units are held out, the last quarter of the draw's order."""
        everything = tuple(pairs)
        if self._regime.selection != "holdout25":
            return everything, ()
        units = list(dict.fromkeys(p.unit for p in everything))
        if len(units) < 2:
            return everything, ()
        held = set(units[-max(1, int(len(units) * HELD_OUT_SHARE)) :])
        return tuple(p for p in everything if p.unit not in held), tuple(p for p in everything if p.unit in held)

    def train(self, trainer: Any, *, held_out: Sequence[Pair] = ()) -> None:
        """Run one phase; see `contracts.Bench.train`."""
        folder = self._phase_dir()
        self._phase += 1
        done = folder / "done.pt"
        if done.exists():
            self._load_phase(done)
            self._clean()
            return
        checkpoint = last_checkpoint(folder)
        silence(trainer)
        trainer.add_callback(_PhaseCallback.make(self, checkpoint, tuple(held_out)))
        try:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            self._clean()
        if held_out:
            self.restore_best()
        self._save_phase(done)
        for old in folder.glob("checkpoint-*"):
            shutil.rmtree(old)

    def fork(self, name: str, of: str = POLICY) -> None:
        """Copy an adapter under a new name, frozen."""
        if name in (POLICY, BASE) or name in self._model.peft_config:
            raise HarnessError(f"adapter {name!r} exists already; pick another name or drop it first")
        self._known_adapter(of)
        self._model.add_adapter(name, copy.deepcopy(self._model.peft_config[POLICY]))
        with torch.no_grad():
            for key, parameter in self._model.named_parameters():
                if f".{name}." in key:
                    parameter.copy_(self._model.get_parameter(key.replace(f".{name}.", f".{of}.")))
                    parameter.requires_grad_(False)
        self._forks.add(name)
        self._model.set_adapter(POLICY)

    def drop(self, name: str) -> None:
        """Delete an adapter made by `fork`."""
        if name not in self._forks:
            raise HarnessError(f"no adapter {name!r} was forked; forked: {', '.join(sorted(self._forks)) or 'none'}")
        self._model.delete_adapter(name)
        self._forks.discard(name)

    def using(self, adapter: str) -> AbstractContextManager[None]:
        """Make `adapter` the active one inside a `with` block."""
        self._known_adapter(adapter)
        if adapter == POLICY:
            return nullcontext()
        return self._adapters_off() if adapter == BASE else self._adapter_on(adapter)

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
        limit = max_new_tokens or self._regime.new_tokens
        with self._quiet(of):
            samples = self.backend.generate(
                [self.render(p) for p in prompts],
                n=n,
                temperature=temperature,
                top_p=top_p,
                top_k=top_k,
                max_new_tokens=min(limit, self._regime.new_tokens),
                stop=list(stop),
                seed=seed,
            )
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
        with self._quiet(of):
            return self.backend.score(groups, entropy=entropy)

    def logits(
        self,
        prompts: Sequence[Messages],
        completions: Sequence[str | Completion],
        *,
        of: str = POLICY,
        chunk: int = 256,
    ) -> Iterator[FloatArray]:
        """Full-vocabulary log-probabilities in blocks."""
        rendered = [self.render(p) for p in prompts]
        encoded = [self.encode(c) for c in completions]
        with self._quiet(of):
            yield from self.backend.logits(rendered, encoded, chunk=chunk)

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
        import numpy as np

        memory = self._embedded if of == BASE else {}
        keys = [(text, None if spans is None else spans[i], layer, pool) for i, text in enumerate(texts)]
        new = list(dict.fromkeys(key for key in keys if key not in memory))
        if new:
            with self._quiet(of):
                found = self.backend.embed(
                    [key[0] for key in new],
                    layer=layer,
                    pool=pool,
                    spans=None if spans is None else [key[1] for key in new if key[1] is not None],
                )
            memory.update(zip(new, found, strict=True))
        width = self._model.config.get_text_config().hidden_size
        return np.stack([memory[key] for key in keys]) if keys else np.zeros((0, width), dtype=np.float32)

    def save_embedded(self, path: Path) -> None:
        """Write what `embed` remembers, for a search that is interrupted later; nothing where it remembers nothing."""
        if self._embedded:
            torch.save([(key, torch.from_numpy(row)) for key, row in self._embedded.items()], path)

    def load_embedded(self, path: Path) -> None:
        """Remember what `save_embedded` wrote."""
        if path.exists():
            self._embedded.update((key, row.numpy()) for key, row in torch.load(path, weights_only=True))

    def judge(self, name: str, items: Sequence[JudgeItem]) -> list[Verdict]:
        """See `contracts.Bench.judge`."""
        if self._judges is None:
            raise HarnessError(f"judge {name!r} was asked for, but this bench was given no judges")
        verdicts = self._judges.get(name).compare(items)
        tokens, cost = sum(v.tokens for v in verdicts), sum(v.cost for v in verdicts)
        sums = self.tally(judge_calls=float(len(items)), judge_tokens=float(tokens), judge_cost=cost)
        self.liveness(judge_calls=sums["judge_calls"], judge_tokens=sums["judge_tokens"], judge_cost=sums["judge_cost"])
        return verdicts

    def _count_judge(self, model: Any) -> None:
        """A judge's model spends from the same budget, at its own price per token."""
        beside = Meter(self.meter.cap_flops, self.meter.spend, flop_model(model))
        hooks = metered(model, beside)
        hooks.__enter__()
        self._hooks.append(hooks)

    def keep(self, score: float, name: str = POLICY) -> bool:
        """Remember the adapter as the best so far."""
        if self._best is not None and score <= self._best[0]:
            return False
        self._best = (score, self.adapter_state(name))
        return True

    def restore_best(self) -> bool:
        """Load the kept adapter into the policy."""
        if self._best is None:
            return False
        self.load_adapter_state(self._best[1])
        return True

    def spend(self, flops: float) -> None:
        """Count work done outside the language model."""
        self.meter.flops(flops)

    def aligned(self, demonstrations: Sequence[Pair] = ()) -> LanguageModel:
        """The live policy as the result of the fit."""
        return ModelAligned(
            self.backend,
            self._regime.prompt_tokens,
            self._regime.completion_tokens,
            tuple(demonstrations),
            self.save_adapter,
            self._asked,
        )

    # ------------------------------------------------------------ what the engine uses

    def save_adapter(self, folder: Path) -> None:
        """Write the live adapter: safetensors and JSON."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().cpu().contiguous() for k, v in self.adapter_state(POLICY).items()}
        save_file(state, str(folder / "adapter_model.safetensors"))
        self._model.peft_config[POLICY].save_pretrained(str(folder))

    def seconds(self) -> float:
        """Seconds of this fit, those of the part before an interruption that counts included."""
        return self.seconds_before + time.monotonic() - self._started

    def store(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint of an aligner's own training loop, whole or not at all."""
        path = self.workdir / OWN_CHECKPOINT
        temporary = path.with_suffix(".tmp")
        torch.save({"state": dict(state), "bench": self.checkpoint_state()}, temporary)
        temporary.replace(path)

    def stored(self) -> Mapping[str, Any] | None:
        """The state that `store` wrote last; the bench's figures go back to that moment."""
        path = self.workdir / OWN_CHECKPOINT
        if not path.exists():
            return None
        saved = torch.load(path, weights_only=True, map_location=next(self.policy.parameters()).device)
        self.restore_state(saved["bench"])
        state: Mapping[str, Any] = saved["state"]
        return state

    def checkpoint_state(self) -> dict[str, Any]:
        """What is stored with a checkpoint beside the trainer's own state."""
        return {
            "meter": self.meter.state(),
            "tallies": dict(self._tallies),
            "log": self.journal.size(),
            "seconds": self.seconds(),
            "alive": dict(self.alive),
        }

    def restore_state(self, state: Mapping[str, Any], *, cut: bool = True) -> None:
        """Go back to the figures of a checkpoint; `cut` forgets what was logged after it."""
        self.meter.restore(state["meter"])
        self._tallies = dict(state["tallies"])
        self.alive = dict(state["alive"])
        if cut:
            self.journal.cut(int(state["log"]))
        self.seconds_before, self._started = float(state["seconds"]), time.monotonic()

    def best_state(self) -> tuple[float, dict[str, torch.Tensor]] | None:
        """The kept adapter with its score."""
        return self._best

    def save_private(self, path: Path) -> None:
        """The live and the kept adapter, as a torch file that is deleted when the fit is done.

        The trainer's own checkpoint is not enough: with a second adapter on the model (a reference) transformers saves
        the live one and does not load it again.
        """
        torch.save({"adapter": self.adapter_state(POLICY), "best": self._best}, path)

    def load_private(self, path: Path) -> None:
        """Put back what `save_private` wrote."""
        saved = torch.load(path, weights_only=True)
        self.load_adapter_state(saved["adapter"])
        self._best = saved["best"]

    def held_out_score(self, pairs: Sequence[Pair]) -> float:
        """Mean log sigmoid of the log-ratio margin to the base model: higher is better. Costs two forwards a pair."""
        prompts = [p.prompt for p in pairs]
        answers = [(p.chosen, p.rejected) for p in pairs]
        total = 0.0
        policy = self.score(prompts, answers)
        base = self.score(prompts, answers, of=BASE)
        for (a, b), (c, d) in zip(policy, base, strict=True):
            margin = torch.tensor((a.total - c.total) - (b.total - d.total), dtype=torch.float64)
            total += float(torch.nn.functional.logsigmoid(0.1 * margin))
        return total / len(pairs)

    def within(self, folder: Path) -> LocalBench:
        """Another bench over the same model, with a folder, phases and tallies of its own; its work counts here."""
        folder.mkdir(parents=True, exist_ok=True)
        inner = LocalBench(
            self._model,
            self._tokenizer,
            regime=self._regime,
            meter=self.meter,
            seed=self._seed,
            workdir=folder,
            journal=self.journal,
            checkpoint_steps=self._checkpoint_steps,
        )
        inner._judges = self._judges  # whose models this bench counts as long as it is open itself
        inner._embedded = self._embedded
        inner._asked = self.meter
        return inner

    def close(self) -> None:
        """Remove the meter's hooks."""
        for hooks in self._hooks:
            hooks.__exit__(None, None, None)

    def __enter__(self) -> LocalBench:
        self._hooks[0].__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ------------------------------------------------------------ inside

    def _phase_dir(self) -> Path:
        return self._workdir / f"phase-{self._phase}"

    def _known_adapter(self, name: str) -> None:
        if name != BASE and name not in self._model.peft_config:
            known = ", ".join([BASE, *self._model.peft_config])
            raise HarnessError(f"unknown adapter {name!r}; there are {known}")

    @contextmanager
    def _adapters_off(self) -> Iterator[None]:
        with self._model.disable_adapter():
            yield

    @contextmanager
    def _adapter_on(self, name: str) -> Iterator[None]:
        self._model.set_adapter(name)
        try:
            yield
        finally:
            self._model.set_adapter(POLICY)

    @contextmanager
    def _quiet(self, of: str) -> Iterator[None]:
        """Eval mode, no gradient, the asked adapter."""
        training = self._model.training
        self._model.eval()
        try:
            with torch.no_grad(), self.using(of):
                yield
        finally:
            self._model.train(training)

    def _clean(self) -> None:
        self._pristine.restore(self._model, frozenset(self._forks))
        self._model.set_adapter(POLICY)

    def adapter_state(self, name: str = POLICY) -> dict[str, torch.Tensor]:
        """A copy of an adapter's tensors."""
        from peft import get_peft_model_state_dict

        state: dict[str, torch.Tensor] = get_peft_model_state_dict(self._model, adapter_name=name)
        return {k: v.detach().clone() for k, v in state.items()}

    def load_adapter_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put tensors of `adapter_state` into the live adapter."""
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self._model, dict(state), adapter_name=POLICY)

    def _save_phase(self, path: Path) -> None:
        temporary = path.with_suffix(".tmp")
        self.save_private(temporary)
        write_json(path.with_suffix(".json"), self.checkpoint_state())
        temporary.replace(path)

    def _load_phase(self, path: Path) -> None:
        """Put back a finished phase; what the next one logged stays where that one can be put back, too."""
        self.load_private(path)
        following = self._phase_dir()
        onward = (following / "done.pt").exists() or last_checkpoint(following) is not None
        self.restore_state(read_json(path.with_suffix(".json")) or {}, cut=not onward)


class _PhaseCallback:
    """Made inside a function because the base class comes from transformers."""

    @staticmethod
    def make(bench: LocalBench, checkpoint: Path | None, held_out: tuple[Pair, ...]) -> Any:
        from transformers import TrainerCallback

        class Callback(TrainerCallback):  # type: ignore[misc]
            """Counts steps, shows progress, stores the bench's state with each checkpoint, looks at held-out pairs."""

            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                bench.journal.progress.stage(f"fit, phase {bench._phase}", state.max_steps)
                if checkpoint is not None:
                    bench.load_private(checkpoint / "bench.pt")
                    bench.restore_state(read_json(checkpoint / "bench.json") or {})

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                bench.meter.step()
                bench.journal.progress.advance(state.global_step, state.max_steps)
                every = max(1, state.max_steps // HELD_OUT_LOOKS)
                if held_out and (state.global_step % every == 0 or state.global_step == state.max_steps):
                    score = bench.held_out_score(held_out)
                    bench.log("held_out", step=state.global_step, score=score, kept=bench.keep(score))

            def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
                figures = {k: v for k, v in (logs or {}).items() if isinstance(v, int | float)}
                bench.log("train", step=state.global_step, **figures)

            def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                bench.save_private(folder / "bench.pt")
                write_json(folder / "bench.json", bench.checkpoint_state())

        return Callback()


@dataclass(frozen=True)
class Fitted:
    """The outcome of a fit."""

    aligned: Aligned
    status: Literal["ok", "degenerate"]
    reason: str | None
    liveness: dict[str, float]


def fit(aligner: Aligner, bench: LocalBench, few_shot: FewShot) -> Fitted:
    """Run an aligner: gives it what it declares to need, counts the labels, survives the cap.

    Raises HarnessError where `few_shot` is not what the aligner asks for.
    """
    given = _only_needed(aligner, few_shot, bench.meter)
    with bench:
        try:
            aligned = aligner.fit(bench, given)
        except BudgetExceeded:
            aligned = _cut_short(aligner, bench)
        excess = bench.meter.excess  # also where the aligner made the best of the cap by itself
        if excess:
            bench.log("cap", reason=excess)
    status: Literal["ok", "degenerate"] = "degenerate" if bench.degenerate else "ok"
    reason = f"stopped at the cap: {excess}" if excess else None
    return Fitted(aligned, status, bench.degenerate or reason, dict(bench.alive))


def _cut_short(aligner: Aligner, bench: LocalBench) -> Aligned:
    """The result of a fit that the cap stopped: the adapter as it stands, or what the aligner makes of it.

    An aligner whose result is something else, and that cannot say what it is by now, has none: the row says so.
    """
    bench.restore_best()
    if isinstance(aligner, Finishes):
        return aligner.finish(bench)
    if isinstance(aligner, Loads):
        bench.liveness(degenerate=f"the cap stopped {aligner.name} before it had a result; the model alone answers")
    return bench.aligned()


def _only_needed(aligner: Aligner, few_shot: FewShot, meter: Meter) -> FewShot:
    refuse_unmet(aligner, few_shot, "this fit")
    taken = takes(aligner)
    if "pairs" in taken:
        for pair in few_shot.pairs:
            meter.label(pair.id)
    if "prompts" in taken:
        for prompt in few_shot.prompts:
            meter.prompt(prompt.id)
    verifier = few_shot.verifier if "verifier" in taken else None
    bought = {pair.id for pair in few_shot.pairs} if "pairs" in taken else set[str]()
    if "groups" in taken:
        for group, ratings in few_shot.groups.items():
            for rating in ratings:
                meter.label(f"{group}\x1f{rating.question}")
    if "auxiliary" in taken:
        known = sum(len(ratings) for ratings in few_shot.auxiliary.values())
        meter.spend.auxiliary_labels = max(meter.spend.auxiliary_labels, known)  # the same ones in each fit of a search
    return FewShot(
        pairs=few_shot.pairs if "pairs" in taken else (),
        prompts=few_shot.prompts if "prompts" in taken else (),
        verifier=_counted(verifier, meter, bought, len(few_shot.pairs)) if verifier is not None else None,
        groups=few_shot.groups if "groups" in taken else {},
        auxiliary=few_shot.auxiliary if "auxiliary" in taken else {},
    )


def _counted(verifier: Any, meter: Meter, bought: set[str], most: int) -> Any:
    """Each distinct item asked about is one label; where pairs were drawn, this fit has as many labels as pairs.

    `bought` are labels that it has already. The meter would not do: it counts those of earlier fits of a search, too.
    """

    def ask(prompt_id: str, completion: str) -> float:
        meter.label(prompt_id)
        bought.add(prompt_id)
        if most and len(bought) > most:
            raise HarnessError(f"the verifier was asked about {len(bought)} items; the budget has {most} labels")
        return float(verifier(prompt_id, completion))

    return ask
