"""Values and protocols that plug-ins implement.

This module is the whole vocabulary of the harness. It imports no heavy package, so a plug-in can be read, listed and
checked without torch. Units: log-probabilities in nats, lengths in tokens, compute in FLOPs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar, get_args, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pydantic import BaseModel

    FloatArray = NDArray[np.float32]

Role = Literal["system", "user", "assistant"]
Need = Literal["pairs", "prompts", "verifier", "groups", "auxiliary"]
Capability = Literal["generate", "loglik", "choose", "prefer"]
BackendCapability = Literal["generate", "score", "entropy", "logits", "embed"]
SourceKind = Literal["hub", "folder", "sample", "file"]

POLICY = "default"
"""Adapter name of the live policy (the name that PEFT and TRL expect)."""
BASE = "base"
"""Pseudo adapter name: the model with every adapter off."""


class HarnessError(Exception):
    """A mistake of the user's that one sentence can explain; the command line prints it and exits with 2."""


class DatasetAbsent(HarnessError):
    """A source does not hold a data set at all; one that it holds in part or broken is a plain `HarnessError`."""


class BudgetExceeded(Exception):
    """The track's cap on compute was reached; what `Bench.keep` holds survives."""


# ---------------------------------------------------------------- text


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


Messages = tuple[Message, ...]


def user(text: str, *, system: str | None = None) -> Messages:
    """A single-turn prompt, with an optional system message before it."""
    turn = Message("user", text)
    return (turn,) if system is None else (Message("system", system), turn)


@dataclass(frozen=True, slots=True)
class Prompt:
    """An unlabelled prompt. `id` is stable across draws and sources."""

    id: str
    messages: Messages


@dataclass(frozen=True, slots=True)
class Pair:
    """One labelled preference: `chosen` is better than `rejected` as the assistant's next turn after `prompt`.

    `cluster` names the independent unit (the question) when several pairs stem from one; intervals resample clusters.
    """

    id: str
    prompt: Messages
    chosen: str
    rejected: str
    cluster: str | None = None

    @property
    def unit(self) -> str:
        """The independent unit this pair belongs to."""
        return self.cluster or self.id


@dataclass(frozen=True, slots=True)
class Rating:
    """A group's opinion on one question: probabilities over `options`, summing to 1."""

    question: str
    prompt: str
    options: tuple[str, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Completion:
    """A sampled answer: its text, its token ids (end-of-turn token included when `finish == "stop"`), how it ended."""

    text: str
    ids: tuple[int, ...]
    finish: Literal["stop", "length"]


class Verifier(Protocol):
    """Checks answers to prompts of a pool; every distinct prompt asked about costs one label."""

    def __call__(self, prompt_id: str, completion: str) -> float:
        """Reward in [0, 1]. Raises KeyError for an unknown prompt."""
        ...


Ratings = Mapping[str, tuple[Rating, ...]]
Span = tuple[int, int]
"""A range of characters of a text: first, one past the last."""


@dataclass(frozen=True, slots=True)
class FewShot:
    """What the budget buys, and all the data an aligner ever sees."""

    pairs: tuple[Pair, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    verifier: Verifier | None = None
    groups: Ratings = field(default_factory=dict)
    """The target groups and the ratings of theirs that were bought: a method's context."""
    auxiliary: Ratings = field(default_factory=dict)
    """Other groups and all their ratings on the questions that are not held out; counted apart from the labels."""

    def unmet(self, needs: Collection[Need]) -> tuple[Need, ...]:
        """Those of an aligner's needs that stop it: a missing verifier, or everything where nothing at all is there."""
        missing = tuple(need for need in get_args(Need) if need in needs and not getattr(self, need))
        nothing = len(missing) == len(frozenset(needs))
        return missing if nothing else tuple(need for need in missing if need == "verifier")


# ---------------------------------------------------------------- data


@runtime_checkable
class Source(Protocol):
    """Where rows come from: the hub, a folder, or the sample that ships in the wheel."""

    @property
    def kind(self) -> SourceKind: ...

    def describe(self) -> str:
        """One line: what this is, and its revision; tables never mix sources with different lines."""
        ...

    def announce(self) -> str:
        """One line for people: the source, and why it was chosen where nobody asked for it."""
        ...

    def rows(self, dataset: Dataset, split: str) -> Sequence[Mapping[str, Any]]:
        """All rows of one split. Raises HarnessError naming dataset, split and place when they cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """A public data set under its three addresses.

    `folder` is its name below `--data PATH` and in the shipped sample; `hub` its address on the hub, with `config`, or
    with `hub_folder` where the data set there is several folders of files and declares no configurations;
    `splits` maps our split names (`pool`, `eval`) to the files' and the hub's, `hub_splits` to the hub's where those
    are others.
    """

    folder: str
    hub: str
    config: str | None = None
    splits: Mapping[str, str] = field(default_factory=lambda: {"pool": "train", "eval": "test"})
    hub_splits: Mapping[str, str] = field(default_factory=dict)
    hub_folder: str | None = None


@runtime_checkable
class Pool(Protocol):
    """A source of labels. Constructed without arguments; every method is given the source to read."""

    name: ClassVar[str]
    licence: ClassVar[str]
    dataset: ClassVar[Dataset]

    def revision(self, source: Source) -> str:
        """Hash of the data and of the templates that turn rows into prompts."""
        ...

    def pairs(self, source: Source, split: str = "pool") -> Sequence[Pair]:
        """Every labelled pair of a split; empty when the pool has none."""
        ...

    def questions(self, source: Source) -> Mapping[str, str]:
        """Bare question text of every training row by pair or prompt id, for the leak gate."""
        ...

    def prompts(self, source: Source) -> Sequence[Prompt]:
        """Every prompt of the training split, labelled or not; the draw keeps them disjoint from the pairs."""
        ...

    def groups(self, source: Source) -> Ratings:
        """Opinions by group; empty when the pool has none."""
        ...

    def verifier(self, source: Source) -> Verifier | None:
        """A checker of answers, or None."""
        ...


# ---------------------------------------------------------------- aligner side


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Per-token figures of one completion, all of shape (T,), fp32, untempered; `entropies` only where asked."""

    logprobs: FloatArray
    entropies: FloatArray | None = None

    @property
    def total(self) -> float:
        """Summed log-probability in nats."""
        return float(self.logprobs.sum(dtype="float64"))


ConfigT = TypeVar("ConfigT")


class Bench(Protocol):
    """All that an aligner may use. Every use is metered against the budget.

    Adapters go by name: `contracts.POLICY` is the live one, `contracts.BASE` the model with adapters off, others are
    made by `fork`. Completions are given either as text (encoded with a closing end-of-turn token) or as `Completion`
    (its own ids are used: a truncated one has no end-of-turn token).
    """

    @property
    def policy(self) -> Any:
        """The PEFT model with the live adapter."""
        ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def seed(self) -> int: ...

    @property
    def workdir(self) -> Path:
        """A folder that survives a crash and is deleted when the fit is done."""
        ...

    @property
    def regime(self) -> Regime: ...

    def log(self, event: str, **figures: float | int | str | bool) -> None:
        """Append one line to the run's log and show it as progress."""
        ...

    def liveness(self, *, degenerate: str | None = None, **figures: float) -> None:
        """Figures that show the method did its work; `degenerate` says why the run is below its floor."""
        ...

    def render(self, prompt: Messages) -> list[int]:
        """Token ids of a prompt under the study's chat template, ready for the assistant's turn; clipped to length."""
        ...

    def encode(self, completion: str | Completion) -> list[int]:
        """Token ids of an answer, closed by the end-of-turn token unless truncated; clipped to length."""
        ...

    def arguments(self, config_class: type[ConfigT], **method: Any) -> ConfigT:
        """A transformers/TRL training-arguments object with the shared settings filled in.

        Raises HarnessError when `method` sets something that all aligners share (batch, length, precision, seed).
        """
        ...

    def split(self, pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], tuple[Pair, ...]]:
        """(training, held-out) pairs under the regime's selection: nothing is held out but under `holdout25`."""
        ...

    def train(self, trainer: Any, *, held_out: Sequence[Pair] = ()) -> None:
        """Run `trainer.train()`: metered, checkpointed, resumed, shown; undoes what the trainer patched on the model.

        With `held_out` pairs the policy is scored on them along the way and the best one is restored at the end.
        A call that an earlier, interrupted process finished is not run again: its adapter is loaded.
        Raises BudgetExceeded at the track's cap.
        """
        ...

    def store(self, state: Mapping[str, Any]) -> None:
        """Write a checkpoint of a training loop of the aligner's own; it replaces the one before.

        `state` holds tensors and plain values. What was counted, tallied and logged so far is stored with it; `train`
        does all this by itself.
        """
        ...

    def stored(self) -> Mapping[str, Any] | None:
        """The `state` of the last `store` of an interrupted fit, None where there is none.

        What was spent since then is no longer counted, and what was logged since is forgotten.
        """
        ...

    def tally(self, **figures: float) -> Mapping[str, float]:
        """Add to running sums that survive a resume (unlike attributes of a trainer); returns all sums."""
        ...

    def fork(self, name: str, of: str = POLICY) -> None:
        """Copy an adapter under a new name, frozen."""
        ...

    def drop(self, name: str) -> None:
        """Delete an adapter made by `fork`."""
        ...

    def using(self, adapter: str) -> AbstractContextManager[None]:
        """Make `adapter` the active one inside a `with` block."""
        ...

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
        """`n` samples per prompt; temperature 0 is greedy; `max_new_tokens` None is the regime's."""
        ...

    def score(
        self,
        prompts: Sequence[Messages],
        completions: Sequence[Sequence[str | Completion]],
        *,
        of: str = POLICY,
        entropy: bool = False,
    ) -> list[list[TokenScores]]:
        """Log-probability of every completion token given its prompt, without gradient."""
        ...

    def logits(
        self,
        prompts: Sequence[Messages],
        completions: Sequence[str | Completion],
        *,
        of: str = POLICY,
        chunk: int = 256,
    ) -> Iterator[FloatArray]:
        """Full-vocabulary log-probabilities at the completion positions, in blocks of `chunk` rows, in order."""
        ...

    def embed(
        self,
        texts: Sequence[str],
        *,
        of: str = BASE,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """Hidden states pooled over each text's tokens, shape (N, D); a text is computed once for each setting.

        With `spans`, one range of characters per text, only the tokens that touch it are pooled.
        """
        ...

    def judge(self, name: str, items: Sequence[JudgeItem]) -> list[Verdict]:
        """A registered judge's verdicts. What its model computes counts; calls, tokens and cost are tallied.

        Raises HarnessError for an unknown judge, with the nearest name. An aligner that asks one also implements
        `AsksJudge`.
        """
        ...

    def keep(self, score: float, name: str = POLICY) -> bool:
        """Remember the adapter as the best so far if `score` is the highest; it survives BudgetExceeded."""
        ...

    def restore_best(self) -> bool:
        """Load the kept adapter into the policy; False when nothing was kept."""
        ...

    def spend(self, flops: float) -> None:
        """Count work done outside the language model."""
        ...

    def aligned(self, demonstrations: Sequence[Pair] = ()) -> LanguageModel:
        """The live policy as the result of the fit, behind optional in-context demonstrations."""
        ...


@dataclass(frozen=True, slots=True)
class Regime:
    """The shared settings that an aligner may read and may not change."""

    batch: int
    """Pairs per optimizer step."""
    min_steps: int
    """Optimizer steps that a method takes at the least, over all its phases."""
    selection: str
    """`last`, `holdout25`, or `kfold`: the hyper-parameters were chosen by trials, and the last step counts."""
    prompt_tokens: int
    completion_tokens: int
    new_tokens: int
    """Longest sample, in tokens."""
    sample_prompts: int
    """Prompts per on-policy sampling step."""
    device: str
    precision: str


class Aligner(Protocol):
    """A method. One file each; constructed with its validated config; holds no other state.

    A method whose result is more than the adapted language model also implements `Loads`; one that goes by other names
    has a class attribute `aliases: ClassVar[tuple[str, ...]]`.
    """

    name: ClassVar[str]
    paper: ClassVar[str]
    """arXiv id or URL; empty for controls."""
    version: ClassVar[str]
    """Raise it when a change alters results: it is part of a run's identity."""
    needs: ClassVar[frozenset[Need]]
    Config: ClassVar[type[BaseModel]]
    """Frozen pydantic model. Every field carries `description` (with its source) and, in `json_schema_extra`, a
    `probe`: a second valid value that must change the result."""

    @property
    def config(self) -> BaseModel: ...

    def __init__(self, config: Any) -> None: ...

    def fit(self, bench: Bench, few_shot: FewShot) -> Aligned:
        """Train on `few_shot` through `bench`."""
        ...


@runtime_checkable
class Loads(Protocol):
    """What an aligner adds when tasks must not ask the adapted language model directly (a re-ranker, a module)."""

    @classmethod
    def load(cls, model: LanguageModel, folder: Path) -> Aligned:
        """The result of a fit from what its `save` wrote, around the model with the fit's adapter."""
        ...


@runtime_checkable
class Finishes(Protocol):
    """What an aligner adds whose result is not the adapted model itself: called where the cap stopped `fit`."""

    def finish(self, bench: Bench) -> Aligned:
        """The result with the adapter as it stands: the best that was kept, else the last."""
        ...


@runtime_checkable
class AsksJudge(Protocol):
    """What an aligner adds that may ask a registered judge while it fits: the judge's version is part of the fit."""

    @property
    def asked_judge(self) -> str | None:
        """The judge's name under this aligner's settings, or None."""
        ...


# ---------------------------------------------------------------- task side


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """A generation: `context` is raw text (already templated) or a conversation."""

    context: str | Messages
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    temperature: float = 0.0
    top_p: float = 1.0
    n: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class LoglikRequest:
    """Score `continuation` after `context`, both as token ids, as lm-eval encodes them."""

    context: tuple[int, ...]
    continuation: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Loglik:
    """Summed log-probability, number of tokens, and whether greedy decoding would have produced it."""

    total: float
    tokens: int
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class ChooseRequest:
    """A closed question with labelled options, asked on behalf of `group` where there is one."""

    prompt: Messages
    labels: tuple[str, ...]
    options: tuple[str, ...]
    group: str | None = None


@dataclass(frozen=True, slots=True)
class PreferRequest:
    """Which of two answers is better?"""

    prompt: Messages
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Preference:
    """P(a better) by the model's own rule, and the log-probabilities behind it: (sum, tokens) of each answer.

    `a` and `b` are None where the rule is no likelihood.
    """

    p_a: float
    a: tuple[float, int] | None
    b: tuple[float, int] | None


class Aligned(Protocol):
    """A fitted model: all that a task may ask."""

    @property
    def capabilities(self) -> frozenset[Capability]: ...

    @property
    def tokenizer(self) -> Any: ...

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        ...

    def generate(self, requests: Sequence[GenerateRequest]) -> list[list[Completion]]: ...

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]: ...

    def choose(self, requests: Sequence[ChooseRequest]) -> list[list[float]]:
        """Log-probabilities over each request's options, normalised."""
        ...

    def prefer(self, requests: Sequence[PreferRequest]) -> list[Preference]: ...

    def save(self, folder: Path) -> None:
        """Write everything that is needed to load it again: safetensors and JSON only."""
        ...


class LanguageModel(Aligned, Protocol):
    """The adapted language model: what `Bench.aligned` returns, and what `Loads.load` is given to build on."""

    @property
    def device(self) -> Any:
        """Where its weights are: torch's device."""
        ...

    @property
    def prompt_tokens(self) -> int:
        """Longest prompt in tokens."""
        ...

    @property
    def completion_tokens(self) -> int:
        """Longest answer in tokens."""
        ...

    def render(self, prompt: Messages) -> list[int]:
        """Token ids of a prompt, ready for the assistant's turn."""
        ...

    def encode(self, completion: str | Completion) -> list[int]:
        """Token ids of an answer, closed by the end-of-turn token unless truncated."""
        ...

    def embed(
        self,
        texts: Sequence[str],
        *,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """As `Bench.embed`, of the adapted model."""
        ...

    def adapter_off(self) -> AbstractContextManager[None]:
        """The base model's weights inside a `with` block."""
        ...

    def spend(self, flops: float) -> None:
        """Count an answer's work outside the language model; that of the model itself is always counted."""
        ...


@dataclass(frozen=True, slots=True)
class SampleRow:
    """One evaluated item: per-metric values, the independent unit, and what is needed to audit it."""

    id: str
    unit: str
    values: Mapping[str, float]
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Prompt, answer, gold: JSON values only."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A metric that is one figure for the whole set and no mean over rows, with its own 95 % interval over units."""

    value: float
    ci95: tuple[float, float] | None
    """None where the data do not allow one."""
    n: int
    """Independent units behind it."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A task's result: one row per sample; `notes` are figures of the data, not of the model (shortcut controls)."""

    rows: tuple[SampleRow, ...]
    notes: Mapping[str, float] = field(default_factory=dict)
    whole: Mapping[str, Whole] = field(default_factory=dict)
    """Metrics of the whole set, under other names than the rows' (a fit over all rows)."""


@dataclass(frozen=True, slots=True)
class EvalContext:
    """All that a task is given beside the model."""

    source: Source
    limit: int | None
    num_fewshot: int
    seed: int
    demonstrations: tuple[Pair, ...] = ()
    """The cell's own labelled pairs, for few-shot prompts."""
    track: str = "labels"
    pool: Pool | None = None
    """The pool that the cell trains on; held-out pairs for preference accuracy come from its `eval` split."""
    judge: Judge | None = None
    """Constructed and given its tools; None where the task is not judged."""
    baseline: Mapping[str, SampleRow] | None = None
    """Rows, by id, of the run that answers are judged against; None means the task's own reference outputs, if any."""
    base: Mapping[str, SampleRow] | None = None
    """The base model's rows on the same items, by id, for ratios to it; None while base itself is scored."""
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    groups: Ratings = field(default_factory=dict)
    """The cell's target groups with the ratings that were bought; a task about groups scores the rest of theirs."""
    auxiliary: Ratings = field(default_factory=dict)
    """The cell's other groups: a question that stands here was seen with other groups' answers."""
    training_pairs: tuple[Pair, ...] = ()
    """The whole labelled pool less the evaluation items: shortcut classifiers are fitted on it."""


@runtime_checkable
class Task(Protocol):
    """What is scored. Never sees an aligner."""

    name: ClassVar[str]
    paper: ClassVar[str]
    licence: ClassVar[str]
    main_metric: ClassVar[str]
    metrics: ClassVar[Mapping[str, str]]
    """Every metric with a one-line meaning."""
    default_pool: ClassVar[str]
    needs: ClassVar[frozenset[Capability]]

    def revision(self, source: Source) -> str:
        """Hash of the evaluation data and of the prompt template."""
        ...

    def questions(self, source: Source, limit: int | None) -> Mapping[str, str]:
        """Text of every evaluated item by id, for the leak gate."""
        ...

    def evaluate(self, aligned: Aligned, ctx: EvalContext) -> Scores: ...


@runtime_checkable
class Family(Protocol):
    """What a class of tasks or judges adds when the user picks one of many by what follows a colon.

    `--task lm_eval:arc_easy` is the class called `lm_eval`, asked for `arc_easy`.
    """

    @classmethod
    def named(cls, argument: str) -> type:
        """The class of that one, whose `name` is the full one. Raises HarnessError for an unknown argument."""
        ...


@runtime_checkable
class Judged(Protocol):
    """What a task adds when a judge compares its answers."""

    default_judge: ClassVar[str]
    """Used where the user names none."""


@runtime_checkable
class FollowsPool(Protocol):
    """What a task adds when the items that it scores are those of the pool that a cell trains on."""

    def for_pool(self, pool: Pool) -> Task:
        """The task on this pool's items."""
        ...


# ---------------------------------------------------------------- judges, backends, the rest


@dataclass(frozen=True, slots=True)
class JudgeItem:
    """Two answers to one instruction, and a reference where there is one."""

    id: str
    prompt: Messages
    a: str
    b: str
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """P(a better) with the per-order values behind it; `status` is `ok` or says why there is no verdict."""

    p_a: float
    per_order: tuple[float, ...]
    raw: str
    tokens: int
    cost: float
    status: str = "ok"


@runtime_checkable
class Judge(Protocol):
    """Compares answers.

    One that measures closeness to the reference answer has a class attribute `compares_with_reference = True`: the
    reference would beat everything, so answers are judged against the base model's unless the user says otherwise.
    """

    name: ClassVar[str]
    version: ClassVar[str]

    def compare(self, items: Sequence[JudgeItem]) -> list[Verdict]: ...


@dataclass(frozen=True, slots=True)
class JudgeTools:
    """What a judge may use beside the answers."""

    load: Callable[[str], LanguageModel]
    """An untouched base model by its harness name, hub id or folder; "" is the study's own."""
    cache: Path
    """A folder of the judge's own, kept between runs; it may not exist yet."""
    progress: Callable[[str, int, int], None] = lambda stage, done, total: None


@runtime_checkable
class TakesTools(Protocol):
    """What a judge adds when it needs a model, a cache or progress."""

    def with_tools(self, tools: JudgeTools) -> Judge:
        """This judge with its tools; called once, before it compares anything."""
        ...


class Backend(Protocol):
    """Runs a model: says which of generate, score, entropy, logits and embed it can do."""

    name: ClassVar[str]
    capabilities: ClassVar[frozenset[BackendCapability]]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """A built-in model that comes from package-index wheels rather than the hub.

    `wheels` maps `name==version` to the sha256 of the file; `gguf` names the member(s) inside, joined in order.
    """

    name: str
    licence: str
    wheels: Mapping[str, str]
    gguf: tuple[str, ...]
    description: str = ""


class RunObserver(Protocol):
    """Told of a run's life: for trackers and notifications. An observer that raises is reported and ignored."""

    def started(self, run_id: str, summary: Mapping[str, Any]) -> None: ...

    def logged(self, run_id: str, event: Mapping[str, Any]) -> None: ...

    def finished(self, run_id: str, record: Mapping[str, Any]) -> None: ...


class Executor(Protocol):
    """Runs independent jobs somewhere: here, on Ray, on Slurm."""

    name: ClassVar[str]

    def map(self, job: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]: ...
