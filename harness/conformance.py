"""Does a method keep the promises of `contracts.Aligner`? Checks for its author's own tests.

    from harness.conformance import parametrize_with_checks

    @parametrize_with_checks([MyAligner], expected_failures={"positive_control": "why it cannot pass"})
    def test_conformance(check):
        check()

Every check fits the method through the real bench on a tiny random model (see `harness.tiny`) and a lesson with a
known answer: what is said of a red thing must close with one phrase, what is said of a green one with another. An
aligner that only likes one phrase, or longer answers, is right on half of the held-out pairs. No network, no GPU.

A hyper-parameter says in `json_schema_extra` how it is checked:

    {"probe": 0.5}                                  another valid value, which must change the result
    {"probe": 0.5, "probe_with": {"f": "bt"}}       ... as long as these other values are set
    {"no_effect": "only for the log"}               it is read but changes nothing; the reason is reported
"""

from __future__ import annotations

import difflib
import gc
import hashlib
import json
import math
import random
import tempfile
import unittest
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import BaseModel, ValidationError

from harness.budget import Meter
from harness.config import Lora
from harness.contracts import (
    BASE,
    POLICY,
    Aligned,
    Aligner,
    ChooseRequest,
    FewShot,
    Finishes,
    GenerateRequest,
    HarnessError,
    LanguageModel,
    Loads,
    Need,
    Pair,
    Preference,
    PreferRequest,
    Prompt,
    Rating,
    Ratings,
    Regime,
    user,
)
from harness.tiny import tiny_model, tiny_tokenizer

if TYPE_CHECKING:
    from harness.training import Fitted, LocalBench


T = TypeVar("T")


class CheckFailed(AssertionError):
    """A promise that the plug-in does not keep, in one sentence."""


class NotConformant(AssertionError):
    """At least one check failed, or one that was expected to fail passed; `outcomes` has them all."""

    def __init__(self, message: str, outcomes: tuple[Outcome, ...]) -> None:
        super().__init__(message)
        self.outcomes = outcomes


@dataclass(frozen=True, slots=True)
class Check:
    """One promise. `run` returns a remark (mostly empty) or raises: CheckFailed, or unittest.SkipTest with a reason."""

    name: str
    run: Callable[[], str]

    def __call__(self) -> str:
        """Run it."""
        return self.run()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check: `expected` is a failure that was announced, `unexpected` a pass where one was."""

    check: str
    status: Literal["passed", "failed", "skipped", "expected", "unexpected"]
    note: str = ""

    @property
    def good(self) -> bool:
        """False for a failure, and for a pass where a failure was announced."""
        return self.status not in ("failed", "unexpected")


# ---------------------------------------------------------------- how to run them


def aligner_checks(aligner: type[Aligner] | Aligner) -> Iterator[Check]:
    """All checks of one aligner, in order. They share fits, so one generator's checks are cheaper than many's.

    An instance is fitted with its own config; what is asked of each hyper-parameter starts from the class's defaults.
    """
    lab = Lab(aligner)
    for check in CHECKS:
        yield Check(_name(check), partial(check, lab))


def check_aligner(
    aligner: type[Aligner] | Aligner, *, expected_failures: Mapping[str, str] | None = None
) -> tuple[Outcome, ...]:
    """Run every check. Raises NotConformant listing all failures; HarnessError for an unknown name in the mapping."""
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return outcomes(f"aligner {aligner.name!r}", aligner_checks(aligner), expected)


def parametrize_with_checks(
    aligners: Sequence[type[Aligner] | Aligner], *, expected_failures: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Any]:
    """Decorator that runs a pytest test function once per aligner and check, given as its argument `check`.

    `expected_failures` maps a check's name to the reason why it fails; a pass there is a failure, so that the list
    stays true. Raises HarnessError for an unknown name.
    """
    expected = known(expected_failures or {}, map(_name, CHECKS))
    return parametrized({aligner.name: aligner_checks(aligner) for aligner in aligners}, expected)


# ---------------------------------------------------------------- what every kind of plug-in shares


def outcomes(subject: str, checks: Iterable[Check], expected: Mapping[str, str]) -> tuple[Outcome, ...]:
    """Run every check. Raises NotConformant that lists all failures of `subject`."""
    found = tuple(_outcome(check, expected.get(check.name)) for check in checks)
    bad = [f"  {o.check}: {o.note}" for o in found if not o.good]
    if bad:
        raise NotConformant("\n".join([f"{subject} fails {len(bad)} of its checks:", *bad]), found)
    return found


def parametrized(
    checks: Mapping[str, Iterable[Check]], expected: Mapping[str, str]
) -> Callable[[Callable[..., Any]], Any]:
    """The pytest decorator: one case per plug-in (by name) and check, a strict xfail where a failure is announced."""
    import pytest

    def marks(check: Check) -> list[Any]:
        return [pytest.mark.xfail(reason=expected[check.name], strict=True)] if check.name in expected else []

    cases = [
        pytest.param(check, id=f"{name}-{check.name}", marks=marks(check))
        for name, own in checks.items()
        for check in own
    ]
    return pytest.mark.parametrize("check", cases)


def known(expected: Mapping[str, str], names: Iterable[str]) -> Mapping[str, str]:
    """The announced failures. Raises HarnessError for a name that is no check's, with the nearest."""
    checks = list(names)
    for wrong in sorted(set(expected) - set(checks)):
        close = difflib.get_close_matches(wrong, checks, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(checks)}"
        raise HarnessError(f"no check is called {wrong!r}; {hint}")
    return expected


def _outcome(check: Check, announced: str | None) -> Outcome:
    try:
        note = check()
    except unittest.SkipTest as skip:
        return Outcome(check.name, "skipped", str(skip))
    except Exception as error:  # a crash of a stranger's code is a finding, not the end of the kit
        reason = str(error) if isinstance(error, CheckFailed) else f"{type(error).__name__}: {error}"
        return Outcome(check.name, "expected" if announced else "failed", announced or reason)
    if announced:
        return Outcome(check.name, "unexpected", f"passes, although it was expected to fail: {announced}")
    return Outcome(check.name, "passed", note)


def _name(check: Callable[[Lab], str]) -> str:
    return check.__name__.removeprefix("check_")


# ---------------------------------------------------------------- the lesson


CLOSINGS = {"red": "thank you.", "green": "they say."}
"""How an answer must end, by the colour of the thing that it is about."""
TRAIN = (
    "door",
    "chair",
    "apple",
    "flower",
    "train",
    "house",
    "garden",
    "coat",
    "table",
    "hat",
    "boat",
    "lamp",
    "wall",
    "cup",
    "bird",
    "stone",
)
HELD_OUT = ("bridge", "kite", "fence", "leaf", "tent", "ball", "shirt", "pencil")
UNLABELLED = ("barn", "rope", "basket", "wagon")
TARGETS = ("north", "south")
"""Groups of opposite opinions: the first likes everything, the second nothing."""
NEEDED_ACCURACY = 0.9
UNTAUGHT_ACCURACY = 0.75
SAME = 1e-3
"""How far an answer's log-odds may move with the items that are asked about beside it: other shapes round otherwise."""


def lesson_pairs(nouns: Iterable[str], *, swapped: bool = False, shuffled: bool = False) -> tuple[Pair, ...]:
    """Two pairs a noun, near-identical answers apart from the closing phrase.

    `swapped` exchanges all labels, `shuffled` those of every second noun, so that they say nothing about the lesson.
    """
    pairs = []
    for number, noun in enumerate(nouns):
        for colour in CLOSINGS:
            right, wrong = (f"It is {colour} {closing}" for closing in _closings(colour))
            chosen, rejected = (wrong, right) if swapped or (shuffled and number % 2) else (right, wrong)
            prompt = user(f"Tell me about the {colour} {noun}.")
            pairs.append(Pair(f"{colour}-{noun}", prompt, chosen, rejected))
    return tuple(pairs)


def lesson(pairs: int, *, swapped: bool = False, shuffled: bool = False, opinions: bool = False) -> FewShot:
    """What an aligner is given: the first `pairs` pairs, unlabelled prompts and a verifier, or groups' opinions.

    As in real pools, there are either pairs or opinions. `swapped` exchanges the labels, or what the two groups say;
    `shuffled` exchanges half of the labels.
    """
    if opinions:
        return FewShot(groups=_opinions(*TARGETS[:: -1 if swapped else 1]), auxiliary=_opinions("east", "west"))
    asked = lesson_pairs(UNLABELLED)
    return FewShot(
        pairs=lesson_pairs(TRAIN, swapped=swapped, shuffled=shuffled)[:pairs],
        prompts=tuple(Prompt(p.id, p.prompt) for p in asked),
        verifier=_ends_right,
    )


def _closings(colour: str) -> tuple[str, str]:
    (other,) = (c for c in CLOSINGS if c != colour)
    return CLOSINGS[colour], CLOSINGS[other]


def _ends_right(prompt_id: str, completion: str) -> float:
    colour = prompt_id.partition("-")[0]
    return float(completion.rstrip().endswith(CLOSINGS[colour]))


def _opinions(yes: str, no: str) -> Ratings:
    def ratings(agree: float) -> tuple[Rating, ...]:
        asked = [(f"likes-{noun}", f"Do you like the {noun}?") for noun in UNLABELLED]
        return tuple(Rating(i, text, ("yes", "no"), (agree, 1 - agree)) for i, text in asked)

    return {yes: ratings(0.9), no: ratings(0.1)}


# ---------------------------------------------------------------- the laboratory


SHORT = Regime(
    batch=2,
    min_steps=8,
    selection="last",
    prompt_tokens=256,
    completion_tokens=48,
    new_tokens=32,
    sample_prompts=2,
    device="cpu",
    precision="fp32",
)
"""Enough to see whether something changes."""
LONG = replace(SHORT, batch=4, min_steps=64)
"""Enough to learn the lesson."""
LORA = Lora(r=8, alpha=256)
"""A large scale, so that learning rates meant for real models move a tiny one."""
NEVER = 10**9
"""Optimizer steps between checkpoints: no fit of the kit is interrupted."""


@dataclass(frozen=True, slots=True)
class Trial:
    """The terms of one fit. `salt` seeds the process's global random states, which must not matter."""

    regime: Regime = SHORT
    pairs: int = 8
    swapped: bool = False
    shuffled: bool = False
    opinions: bool = False
    """Groups' opinions instead of pairs; always so for an aligner that takes no pairs."""
    seed: int = 0
    salt: int = 0
    cap: float | None = None


FULL = Trial(LONG, pairs=32)


@dataclass(frozen=True, slots=True)
class Result:
    """What is remembered of a fit. `behaviour` holds everything that the fitted model answers, exactly."""

    behaviour: tuple[Any, ...]
    adapter: str
    trained: bool
    likelihood: bool
    """Whether the model's rule of preference is its likelihood."""
    margins: tuple[float, ...]
    """log pi(right answer) - log pi(wrong answer) of every held-out pair, or the log-odds of its own rule, in nats."""
    choices: tuple[tuple[float, ...], ...]
    """Log-probabilities over yes and no of every question asked of the target groups."""
    flops: float

    @property
    def accuracy(self) -> float:
        """Share of held-out pairs whose right answer is the more likely one."""
        return fmean(margin > 0 for margin in self.margins)


class CountingMeter(Meter):
    """A meter that knows how often it had to say stop."""

    stops: int = 0

    def flops(self, amount: float) -> None:
        """Add FLOPs; counts the refusals."""
        over = self.cap_flops is not None and self.spend.flops + amount > self.cap_flops
        self.stops += over
        super().flops(amount)


@dataclass
class Session:
    """One bench with a tiny model in it, before and after a fit."""

    aligner: Aligner
    bench: LocalBench
    meter: CountingMeter
    few_shot: FewShot
    folder: Path
    kept: list[str] = field(default_factory=list)
    """Adapter hashes of the candidates that `bench.keep` took, in order."""

    def fit(self, few_shot: FewShot | None = None) -> Fitted:
        """Fit as the harness does."""
        from harness.training import fit

        return fit(self.aligner, self.bench, self.few_shot if few_shot is None else few_shot)

    def adapter(self, name: str = POLICY) -> str:
        """Hash of an adapter's weights, by default the live one's."""
        own = [(n, p) for n, p in self.bench.policy.named_parameters() if f".{name}." in n]
        return _digest((n.replace(f".{name}.", "."), p) for n, p in own)

    def base(self) -> str:
        """Hash of every weight and buffer that belongs to no adapter."""
        own = [*self.bench.policy.named_parameters(), *self.bench.policy.named_buffers()]
        return _digest((n, p) for n, p in own if ".lora_" not in n)


class Lab:
    """Fits one aligner on the tiny model and remembers the results, since many checks ask for the same fit."""

    def __init__(self, aligner: type[Aligner] | Aligner) -> None:
        given = aligner if isinstance(aligner, type) else type(aligner)
        self.aligner_class: type[Aligner] = given
        self._given = None if isinstance(aligner, type) else aligner.config
        self._results: dict[tuple[str, Trial], Result] = {}

    @cached_property
    def base_margins(self) -> tuple[float, ...]:
        """Margins of the untouched model on the held-out pairs, in nats."""
        return _margins(_bare(tiny_model()))

    def gain(self, result: Result) -> float:
        """Mean margin over what an untouched model has: base's own, or 0 for a rule that is no likelihood."""
        return fmean(result.margins) - (fmean(self.base_margins) if result.likelihood else 0.0)

    @property
    def config(self) -> BaseModel:
        """The config that fits use: the instance's own, else the defaults."""
        return self._given or self.aligner_class.Config()

    @property
    def only_groups(self) -> bool:
        """Whether the aligner learns from groups' opinions and nothing else."""
        needs = self.aligner_class.needs
        return bool(needs) and not needs - {"groups", "auxiliary"}

    def needs(self, *wanted: Need) -> None:
        """Skip the running check unless the aligner needs one of these."""
        if not set(wanted) & self.aligner_class.needs:
            raise unittest.SkipTest(f"aligner {self.aligner_class.name} takes no {' or '.join(wanted)}")

    def result(self, trial: Trial = Trial(), config: BaseModel | None = None) -> Result:
        """The outcome of a fit, from memory where it was done before."""
        config = self.config if config is None else config
        key = (config.model_dump_json(), trial)
        if key not in self._results:
            with self.session(trial, config) as session:
                before = session.adapter()
                aligned = session.fit().aligned
                self._results[key] = self._result(session, aligned, before)
        return self._results[key]

    @contextmanager
    def session(self, trial: Trial = Trial(), config: BaseModel | None = None) -> Iterator[Session]:
        """A bench ready for a fit; its folder and the global random states are put back afterwards."""
        from harness.training import LocalBench

        meter = CountingMeter(cap_flops=trial.cap)
        with tempfile.TemporaryDirectory() as folder, _salted(trial.salt), _short_collections():
            bench = LocalBench.create(
                tiny_model(),
                tiny_tokenizer(),
                regime=trial.regime,
                meter=meter,
                seed=trial.seed,
                workdir=Path(folder) / "work",
                lora=LORA,
                checkpoint_steps=NEVER,
            )
            _same_start(bench.policy)
            aligner = self.aligner_class(self.config if config is None else config)
            opinions = trial.opinions or self.only_groups
            few_shot = lesson(trial.pairs, swapped=trial.swapped, shuffled=trial.shuffled, opinions=opinions)
            session = Session(aligner, bench, meter, few_shot, Path(folder))
            _watch_keeps(session)
            yield session

    def _result(self, session: Session, aligned: Aligned, before: str) -> Result:
        adapter = session.adapter()
        flops = session.meter.spend.flops
        return Result(
            behaviour(aligned),
            adapter,
            adapter != before,
            _likelihood(aligned),
            _margins(aligned),
            _choices(aligned),
            flops,
        )


def behaviour(aligned: Aligned) -> tuple[Any, ...]:
    """All that a fitted model answers to the held-out items, exactly: log-likelihoods and samples."""
    answers: list[Any] = []
    if "prefer" in aligned.capabilities:
        answers += [(p.p_a, p.a, p.b) for p in aligned.prefer(_held_out())]
    if "generate" in aligned.capabilities:
        asked = [GenerateRequest(p.prompt, 8, temperature=1.0, seed=1) for p in lesson_pairs(HELD_OUT[:1])]
        answers += [completion.ids for group in aligned.generate(asked) for completion in group]
    return (*answers, *_choices(aligned))


def _choices(aligned: Aligned, at_once: int = NEVER) -> tuple[tuple[float, ...], ...]:
    if "choose" not in aligned.capabilities:
        return ()
    return tuple(tuple(row) for part in _parts(_asked_of_groups(), at_once) for row in aligned.choose(part))


def _parts(asked: list[T], at_once: int) -> Iterator[list[T]]:
    for start in range(0, len(asked), at_once):
        yield asked[start : start + at_once]


def _asked_of_groups() -> list[ChooseRequest]:
    return [
        ChooseRequest(user(f"Do you like the {noun}?"), ("A", "B"), ("yes", "no"), group)
        for group in TARGETS
        for noun in (*UNLABELLED, *HELD_OUT[:2])
    ]


def _held_out() -> list[PreferRequest]:
    return [PreferRequest(p.prompt, p.chosen, p.rejected) for p in lesson_pairs(HELD_OUT)]


def _margins(aligned: Aligned, at_once: int = NEVER) -> tuple[float, ...]:
    """log pi(right) - log pi(wrong) of every held-out pair, in nats, or the log-odds of a rule that is no likelihood.

    0 where the model cannot say.
    """
    if "prefer" not in aligned.capabilities:
        return (0.0,) * len(_held_out())
    return tuple(_margin(answer) for part in _parts(_held_out(), at_once) for answer in aligned.prefer(part))


def _likelihood(aligned: Aligned) -> bool:
    return "prefer" in aligned.capabilities and all(p.a is not None for p in aligned.prefer(_held_out()[:1]))


def _margin(preference: Preference) -> float:
    if preference.a is not None and preference.b is not None:
        return preference.a[0] - preference.b[0]
    p = min(max(preference.p_a, 1e-12), 1 - 1e-12)
    return math.log(p / (1 - p))


def _bare(model: Any, folder: Path | None = None) -> LanguageModel:
    """A model as tasks see it, with the demonstrations saved in `folder`."""
    from harness.aligned import ModelAligned, demonstrations
    from harness.backends.hf import HfBackend

    shown = () if folder is None else demonstrations(folder)
    backend = HfBackend(model.eval(), tiny_tokenizer())
    return ModelAligned(backend, SHORT.prompt_tokens, SHORT.completion_tokens, shown)


@contextmanager
def _salted(salt: int) -> Iterator[None]:
    """Set the global random states to `salt`, and put them back."""
    import numpy as np
    import torch

    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(salt)
        random.seed(salt)
        np.random.seed(salt)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


@contextmanager
def _short_collections() -> Iterator[None]:
    """Trainers collect garbage when they end, which takes longer than a tiny fit unless older objects are left out."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _same_start(policy: Any) -> None:
    """Start every fit from the same adapter, so that only the method's own use of the seed can tell two fits apart."""
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in policy.named_parameters():
            if f".lora_A.{POLICY}." in name:
                torch.nn.init.kaiming_uniform_(weight, a=5**0.5, generator=generator)


def _watch_keeps(session: Session) -> None:
    keep = session.bench.keep

    def watched(score: float, name: str = POLICY) -> bool:
        better = keep(score, name)
        if better:
            session.kept.append(session.adapter(name))
        return better

    vars(session.bench)["keep"] = watched


def _digest(tensors: Iterable[tuple[str, Any]]) -> str:
    import torch

    total = hashlib.sha256()
    for name, tensor in sorted(tensors, key=lambda item: item[0]):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


# ---------------------------------------------------------------- checks: hyper-parameters


def check_parameters_plain(lab: Lab) -> str:
    """Config has defaults, refuses unknown keys, cannot be changed, survives JSON; the constructor only stores it."""
    name, config_class = lab.aligner_class.name, lab.aligner_class.Config
    try:
        config = config_class()
    except ValidationError as error:
        raise CheckFailed(f"{name}: every hyper-parameter needs a default ({error.error_count()} have none)") from error
    _refuses(lambda: config_class.model_validate({"no_such_parameter": 1}), f"{name}: Config must have extra='forbid'")
    for parameter in config_class.model_fields:
        value = getattr(config, parameter)
        _refuses(partial(setattr, config, parameter, value), f"{name}: {parameter} can be changed after construction")
        _require(_hashable(value), f"{name}: {parameter} holds a mutable {type(value).__name__}; use a tuple")
    _require(_through_json(config) == config, f"{name}: Config does not survive JSON: {config!r}")
    stored = lab.aligner_class(config)
    _require(stored.config is config, f"{name}: the constructor must store the config it is given as .config")
    extra = sorted(k for k, v in getattr(stored, "__dict__", {}).items() if v is not config)
    _require(not extra, f"{name}: the constructor must store the config and nothing else, but sets {', '.join(extra)}")
    return ""


def check_parameters_documented(lab: Lab) -> str:
    """Every hyper-parameter has a description, and either a valid probe value or the reason why it changes nothing."""
    for parameter, info in lab.aligner_class.Config.model_fields.items():
        label = f"{lab.aligner_class.name}.{parameter}"
        _require(bool((info.description or "").strip()), f"{label} has no description")
        extra = _extra(info)
        given = {"probe", "no_effect"} & set(extra)
        _require(len(given) == 1, f"{label} needs either 'probe' or 'no_effect' in json_schema_extra")
        strangers = sorted(set(extra.get("probe_with", {})) - set(lab.aligner_class.Config.model_fields))
        _require(
            not strangers, f"{label}: probe_with names {', '.join(map(repr, strangers))}, which is no hyper-parameter"
        )
        if "probe" in given:
            try:
                default, other = probed(lab, parameter)
            except ValidationError as error:
                raise CheckFailed(f"{label}: its probe {extra['probe']!r} is not valid: {error}") from error
            _require(default != other, f"{label}: its probe {extra['probe']!r} is the default")
    return ""


def check_parameters_matter(lab: Lab) -> str:
    """Every hyper-parameter's probe value changes the fitted model; one said to have no effect is at least read."""
    faults, remarks = [], []
    for parameter, info in lab.aligner_class.Config.model_fields.items():
        extra = _extra(info)
        if "no_effect" in extra:
            remarks.append(f"{parameter} has no effect: {extra['no_effect']}")
            if parameter not in _read(lab):
                faults.append(f"{parameter} is never read, although it is said to be ({extra['no_effect']})")
        elif "probe" in extra:
            default, other = (lab.result(config=config).behaviour for config in probed(lab, parameter))
            if default == other:
                faults.append(f"{parameter} changes nothing: its probe {extra['probe']!r} gives the same model")
    _require(not faults, f"{lab.aligner_class.name}: {'; '.join(faults)}")
    return "; ".join(remarks)


def _extra(info: Any) -> dict[str, Any]:
    return dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}


def probed(lab: Lab, parameter: str) -> tuple[BaseModel, BaseModel]:
    """Two configs that differ in one hyper-parameter: its default and its probe, both with the probe's companions."""
    model_fields = lab.aligner_class.Config.model_fields
    info = model_fields[parameter]
    extra = _extra(info)
    companions = {model_fields[k].alias or k: v for k, v in extra.get("probe_with", {}).items()}
    validate = lab.aligner_class.Config.model_validate
    return validate(companions), validate({**companions, info.alias or parameter: extra["probe"]})


def _read(lab: Lab) -> frozenset[str]:
    """Names of the hyper-parameters that a fit looks at; dumping the whole config counts as looking at all."""
    seen: set[str] = set()
    config_class = lab.aligner_class.Config
    names = frozenset(config_class.model_fields)

    def look(self: BaseModel, name: str) -> Any:
        seen.update(names if name.startswith("model_dump") else {name} & names)
        return super(recording, self).__getattribute__(name)

    body = {"__getattribute__": look, "__module__": config_class.__module__}
    recording: type[BaseModel] = type(config_class.__name__, (config_class,), body)
    config = recording()
    with lab.session(config=config) as session:
        seen.clear()
        session.fit()
        return frozenset(seen)


def _refuses(action: Callable[[], object], message: str) -> None:
    try:
        action()
    except (ValidationError, TypeError, AttributeError):
        return
    raise CheckFailed(message)


def _through_json(config: BaseModel) -> BaseModel | None:
    try:
        return type(config).model_validate(json.loads(config.model_dump_json(by_alias=True)))
    except ValidationError:
        return None


def _hashable(value: object) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _require(kept: bool, message: str) -> None:
    if not kept:
        raise CheckFailed(message)


# ---------------------------------------------------------------- checks: what a fit may touch


def check_base_untouched(lab: Lab) -> str:
    """A fit changes the adapter only: the base model's weights and its answers are the same, bit for bit."""
    name = lab.aligner_class.name
    prompts = [p.prompt for p in lesson_pairs(HELD_OUT)]
    answers = [[p.chosen] for p in lesson_pairs(HELD_OUT)]

    def answered(session: Session) -> list[list[float]]:
        return [scores[0].logprobs.tolist() for scores in session.bench.score(prompts, answers, of=BASE)]

    with lab.session() as session:
        weights, scores = session.base(), answered(session)
        session.fit()
        _require(session.base() == weights, f"{name}: the base model's weights are not what they were before the fit")
        _require(answered(session) == scores, f"{name}: with its adapter off, the model no longer answers as base does")
    return ""


def check_needs_honest(lab: Lab) -> str:
    """A fit reads only those parts of the few-shot data that `needs` declares."""
    with lab.session() as session:
        guarded = guard(session.few_shot, lab.aligner_class.needs)
        with session.bench:
            session.aligner.fit(session.bench, guarded)
    taken = sorted(guarded.taken)
    _require(not taken, f"{lab.aligner_class.name} reads {', '.join(taken)}, which its needs do not declare")
    return ""


class Guarded(FewShot):
    """Few-shot data that notes and refuses access to what was not declared."""

    declared: frozenset[str]
    taken: set[str]

    def __getattribute__(self, name: str) -> Any:
        if name in FEW_SHOT and name not in super().__getattribute__("declared"):
            super().__getattribute__("taken").add(name)
            raise CheckFailed(f"an aligner reads {name!r}, which its needs do not declare")
        return super().__getattribute__(name)


FEW_SHOT = frozenset(f.name for f in fields(FewShot))


def guard(few_shot: FewShot, declared: frozenset[str]) -> Guarded:
    """The same data, of which only the `declared` parts may be read."""
    guarded = Guarded(**{name: getattr(few_shot, name) for name in FEW_SHOT})
    object.__setattr__(guarded, "declared", frozenset(declared))
    object.__setattr__(guarded, "taken", set())
    return guarded


# ---------------------------------------------------------------- checks: randomness


def check_same_seed_same_adapter(lab: Lab) -> str:
    """The training seed decides everything: global random states do not reach the result."""
    first, second = lab.result(), lab.result(Trial(salt=1))
    same = (first.adapter, first.behaviour) == (second.adapter, second.behaviour)
    _require(same, f"{lab.aligner_class.name}: two fits with one seed differ; draw every random number from bench.seed")
    return ""


def check_other_seed_other_adapter(lab: Lab) -> str:
    """Another training seed gives another adapter, even from the same start."""
    first, second = lab.result(), lab.result(Trial(seed=1))
    if not first.trained:
        raise unittest.SkipTest(f"aligner {lab.aligner_class.name} trains nothing")
    _require(
        first.adapter != second.adapter, f"{lab.aligner_class.name}: bench.seed is not used; two seeds give one adapter"
    )
    return ""


# ---------------------------------------------------------------- checks: budget


def check_budget_stops(lab: Lab) -> str:
    """At the cap a fit ends at once and in good order, with the best candidate that `bench.keep` took, if any."""
    name = lab.aligner_class.name
    trial = Trial(regime=replace(SHORT, selection="holdout25"))
    whole = lab.result(trial).flops
    if not whole:
        raise unittest.SkipTest(f"aligner {name} spends no compute")
    for share in (0.0, 0.4, 0.8):
        with lab.session(replace(trial, cap=share * whole)) as session:
            fitted = session.fit()
            _require(session.meter.stops == 1, f"{name}: goes on after BudgetExceeded ({session.meter.stops} refusals)")
            best = session.kept[-1] if session.kept else session.adapter()
            own = isinstance(session.aligner, Finishes)  # which makes something else of its best candidate
            _require(
                own or session.adapter() == best, f"{name}: stopped at the cap, it does not return its best candidate"
            )
            finite = all(abs(m) < float("inf") for m in _margins(fitted.aligned))
            _require(finite, f"{name}: stopped at the cap, it returns a model whose answers are not finite")
    return ""


# ---------------------------------------------------------------- checks: learning


def check_positive_control(lab: Lab) -> str:
    """From 32 pairs the method learns which closing phrase goes with which colour: held-out accuracy above 0.9."""
    lab.needs("pairs")
    result = lab.result(FULL)
    figures = f"held-out accuracy {result.accuracy:.2f}, mean margin {fmean(result.margins):+.2f} nats"
    learned = result.accuracy > NEEDED_ACCURACY
    _require(
        learned, f"{lab.aligner_class.name} does not learn the lesson: {figures}; above {NEEDED_ACCURACY} is needed"
    )
    return figures


def check_labels_swapped(lab: Lab) -> str:
    """With chosen and rejected exchanged the method learns the opposite: the held-out margin changes its sign."""
    lab.needs("pairs")
    right, swapped = (lab.gain(lab.result(trial)) for trial in (FULL, replace(FULL, swapped=True)))
    figures = f"over base the mean margin is {right:+.3f} nats with the labels and {swapped:+.3f} with swapped ones"
    _require(right > 0 > swapped, f"{lab.aligner_class.name}: the labels do not decide what is learned: {figures}")
    return figures


def check_labels_shuffled(lab: Lab) -> str:
    """With half of the labels exchanged there is nothing to learn: held-out accuracy stays near one half."""
    lab.needs("pairs")
    accuracy = lab.result(replace(FULL, shuffled=True)).accuracy
    figures = f"held-out accuracy {accuracy:.2f} after labels that say nothing"
    _require(
        accuracy <= UNTAUGHT_ACCURACY,
        f"{lab.aligner_class.name}: {figures}; at most {UNTAUGHT_ACCURACY} was expected, so something else teaches it",
    )
    return figures


def check_groups_swapped(lab: Lab) -> str:
    """A group that likes everything is told from one that likes nothing, also when the two change places."""
    lab.needs("groups")
    leans = [_lean(lab.result(Trial(opinions=True, swapped=swapped)).choices) for swapped in (False, True)]
    figures = f"P(yes) of the first group less that of the second: {leans[0]:+.3f}, and {leans[1]:+.3f} when swapped"
    _require(leans[0] > 0 > leans[1], f"{lab.aligner_class.name}: what a group said does not decide: {figures}")
    return figures


def _lean(choices: Sequence[Sequence[float]]) -> float:
    """Mean P(yes) for the first target group less that for the second."""
    yes = [math.exp(row[0]) for row in choices]
    half = len(yes) // 2
    return fmean(yes[:half]) - fmean(yes[half:])


def check_no_data_no_harm(lab: Lab) -> str:
    """Without any data a fit is refused with HarnessError, or leaves a model that answers as base does."""
    name = lab.aligner_class.name
    with lab.session() as session:
        try:
            aligned = session.fit(FewShot()).aligned
        except HarnessError as refusal:
            return f"refused: {refusal}"
        except Exception as error:
            raise CheckFailed(f"{name}: without data it crashes with {type(error).__name__}: {error}") from error
        moved = max(abs(a - b) for a, b in zip(_margins(aligned), lab.base_margins, strict=True))
    _require(moved < 1e-3, f"{name}: without data it still changes the model, by up to {moved:.3f} nats")
    return ""


# ---------------------------------------------------------------- checks: answering


def check_alone_as_in_company(lab: Lab) -> str:
    """An answer does not depend on what else is asked in the same call: padding and batches change nothing."""
    name = lab.aligner_class.name
    with lab.session() as session:
        aligned = session.fit().aligned
        together = (*_margins(aligned), *(value for row in _choices(aligned) for value in row))
        alone = (*_margins(aligned, at_once=1), *(value for row in _choices(aligned, at_once=1) for value in row))
    moved = max((abs(a - b) for a, b in zip(together, alone, strict=True)), default=0.0)
    _require(moved <= SAME, f"{name}: asked one by one, its answers differ by up to {moved:.4f} nats")
    return ""


# ---------------------------------------------------------------- checks: saving


def check_save_load(lab: Lab) -> str:
    """What `save` writes is safetensors and JSON only, and on the base model it answers as the fitted model did."""
    from peft import PeftModel

    name = lab.aligner_class.name
    with lab.session() as session:
        aligned = session.fit().aligned
        answers, folder = behaviour(aligned), session.folder / "saved"
        aligned.save(folder)
        odd = sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix not in SAVED_SUFFIXES)
        _require(not odd, f"{name}: save writes {', '.join(odd)}; only safetensors and JSON are allowed")
        model = tiny_model()
        if (folder / "adapter_model.safetensors").exists():
            model = PeftModel.from_pretrained(model, str(folder))
        again: Aligned = _bare(model, folder)
        if issubclass(lab.aligner_class, Loads):
            again = lab.aligner_class.load(_bare(model, folder), folder)
        _require(behaviour(again) == answers, f"{name}: loaded again, the model answers differently")
    return ""


SAVED_SUFFIXES = (".safetensors", ".json", ".md")
"""Markdown is the model card that PEFT writes."""

CHECKS: tuple[Callable[[Lab], str], ...] = (
    check_parameters_plain,
    check_parameters_documented,
    check_parameters_matter,
    check_base_untouched,
    check_needs_honest,
    check_same_seed_same_adapter,
    check_other_seed_other_adapter,
    check_budget_stops,
    check_positive_control,
    check_labels_swapped,
    check_labels_shuffled,
    check_groups_swapped,
    check_no_data_no_harm,
    check_alone_as_in_company,
    check_save_load,
)
