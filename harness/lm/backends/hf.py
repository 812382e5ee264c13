"""The transformers backend: generation, scores, log-likelihoods, full distributions and embeddings on CPU or GPU.

The classes are light: torch is imported by their methods. Whoever constructs an engine around a model decides which
adapter is active.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from harness.contracts import EngineCapability, HarnessError, Loglik, LoglikRequest, TokenScores
from harness.hookspecs import hookimpl

if TYPE_CHECKING:
    from harness.contracts import Backend, Completion, FloatArray, ModelFolder, Span
    from harness.lm.rows import Group, TokenStats
    from harness.meter import Meter
    from harness.models.wheels import ModelFiles

Ids = tuple[int, ...]
CACHE_BYTES = 3 * 2**29
"""Keys and values of a decoding batch: a step of few rows spends its time on reading the weights."""
DEFAULT_MAX_LENGTH = 2048
"""Longest input where neither model nor tokenizer says (the default of lm-eval's HFLM)."""


class HfEngine:
    """Runs a transformers causal LM or a PEFT model. Gradients are off; the model's training mode is put back.

    `max_tokens` bounds the tokens of one forward when scoring (default: `harness.lm.rows.row_tokens`); `max_rows` and
    `batch_tokens` the rows and the cached tokens of a decoding batch (default: as many as `CACHE_BYTES` hold).
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        *,
        max_tokens: int | None = None,
        max_rows: int = 256,
        batch_tokens: int | None = None,
        max_length: int | None = None,
    ) -> None:
        self.model: Any = model
        self.tokenizer = tokenizer
        self._bare: Any = None  # the model without the adapter that `load` put on it
        self._max_tokens, self._max_length = max_tokens, max_length
        self.max_rows, self._batch_tokens = max_rows, batch_tokens

    @property
    def max_tokens(self) -> int:
        """Most tokens of one scoring forward."""
        from harness.lm.rows import row_tokens

        return self._max_tokens or row_tokens(self.model)

    @property
    def batch_tokens(self) -> int:
        """Most cached tokens of a decoding batch."""
        from harness.lm.peft_internals import cached_bytes

        return self._batch_tokens or max(1, CACHE_BYTES // cached_bytes(self.model))

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, by the rule of lm-eval's HFLM."""
        if self._max_length is not None:
            return self._max_length
        config = self.model.config.get_text_config()
        for attribute in ("n_positions", "max_position_embeddings", "n_ctx"):
            if (found := getattr(config, attribute, None)) is not None:
                return int(found)
        limit = int(getattr(self.tokenizer, "model_max_length", DEFAULT_MAX_LENGTH))
        return limit if limit < 10**9 else DEFAULT_MAX_LENGTH

    @property
    def device(self) -> Any:
        """Where the weights are."""
        return self.model.device

    @property
    def parameters(self) -> int:
        """Weights of the model, those of adapters left out."""
        return sum(weight.numel() for name, weight in self.model.named_parameters() if ".lora_" not in name)

    def parts(self) -> dict[str, str]:
        """What has answered."""
        library = f"transformers {metadata.version('transformers')}"
        return {"generate": library, "score": library}

    def load(self, folder: Path) -> None:
        """Answer with the adapter saved in `folder`, until `drop`."""
        from peft import PeftModel

        self.drop()
        self._bare, self.model = self.model, PeftModel.from_pretrained(self.model, str(folder))
        self.model.eval()

    def drop(self) -> None:
        """Take the adapter off that `load` put on."""
        if self._bare is not None:
            self.model.unload()
            vars(self._bare).pop("peft_config", None)
            self.model, self._bare = self._bare, None

    def adapter_off(self) -> AbstractContextManager[None]:
        """The base model's weights inside a `with` block; they are the model's own where it has no adapter."""
        found: AbstractContextManager[None]
        found = self.model.disable_adapter() if hasattr(self.model, "disable_adapter") else nullcontext()
        return found

    @contextmanager
    def metered(self, meter: Meter) -> Iterator[None]:
        """Count every forward of decoder and head at the price of this model."""
        from harness.lm.metering import flop_model, metered

        meter.attach(flop_model(self.model))
        with metered(self.model, meter):
            yield

    def close(self) -> None:
        """Let go of the model."""
        self.model = self._bare = None

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
        """`n` completions per prompt; temperature 0 is greedy. Prompts too long for the model are clipped on the left.

        A completion ends at an end-of-turn or end-of-sequence token or at a stop string (`finish="stop"`; the text ends
        before the string, the ids hold the tokens that wrote it), else after `max_new_tokens` (`finish="length"`).
        Raises HarnessError for an empty prompt or a setting out of range.
        """
        from harness.lm.decoding import sample
        from harness.lm.drawing import Sampling

        room = self.max_length - max_new_tokens
        if room < 1:
            raise HarnessError(f"max_new_tokens={max_new_tokens} was expected to be below {self.max_length}")
        how = Sampling(n, temperature, top_p, top_k, max_new_tokens, tuple(stop), seed)
        cut = [list(prompt)[-room:] for prompt in prompts]
        limits = {"max_rows": self.max_rows, "batch_tokens": self.batch_tokens}
        return sample(self.model, self.tokenizer, cut, how, **limits)

    def score(self, groups: Sequence[Group], *, entropy: bool = False) -> list[list[TokenScores]]:
        """Per-token log-probabilities (and entropies, from the same forward) of every group's completions."""
        from harness.lm.logprobs import group_logprobs
        from harness.lm.peft_internals import evaluating

        with evaluating(self.model):
            found = group_logprobs(self.model, groups, entropy=entropy, max_tokens=self.max_tokens)
        return [[_scores(stats) for stats in group] for group in found]

    def loglik(self, requests: Sequence[LoglikRequest], *, prefix: Sequence[int] = ()) -> list[Loglik]:
        """Log-likelihood of continuations, in order; `prefix` is read before every context.

        A context shared by several requests is computed once, and so is a prefix of 64 tokens or more that several
        contexts share. As in lm-eval's HFLM, an empty context becomes the bos (else eos) token, and what exceeds
        `max_length` is clipped on the left. Raises HarnessError for an empty or over-long continuation.
        """
        from harness.lm.peft_internals import evaluating
        from harness.lm.prefixes import clusters

        keys = [self._clip((*prefix, *r.context), r.continuation) for r in requests]
        wanted: dict[Ids, dict[Ids, None]] = {}
        for context, continuation in keys:
            wanted.setdefault(context, {})[continuation] = None
        found: dict[tuple[Ids, Ids], Loglik] = {}
        with evaluating(self.model):
            for shared, contexts in clusters(list(wanted), fewest_tokens=self.model.device.type == "cpu"):
                found.update(self._loglik(shared, {c: list(wanted[c]) for c in contexts}))
        return [found[key] for key in keys]

    def _clip(self, context: Ids, continuation: Ids) -> tuple[Ids, Ids]:
        if not 0 < len(continuation) <= self.max_length:
            raise HarnessError(f"a continuation of 1 to {self.max_length} tokens was expected, not {len(continuation)}")
        if not context:
            bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
            context = (eos if bos is None else bos,)
        room = self.max_length + 1 - len(continuation)
        return context[-room:], continuation

    def _loglik(self, shared: Ids, wanted: dict[Ids, list[Ids]]) -> Iterator[tuple[tuple[Ids, Ids], Loglik]]:
        """Scores of contexts that all start with `shared`."""
        from harness.lm.logprobs import group_logprobs, prefix_cache
        from harness.lm.probes import tree_attention
        from harness.lm.rows import Group

        groups = [Group(context, continuations) for context, continuations in wanted.items()]
        span = max(len(c) + max(map(len, continuations)) for c, continuations in wanted.items())
        cached = prefix_cache(self.model, shared) if shared and tree_attention(self.model, span) else None
        figures = group_logprobs(self.model, groups, max_tokens=self.max_tokens, prefix=cached)
        for group, stats in zip(groups, figures, strict=True):
            for continuation, one in zip(group.completions, stats, strict=True):
                yield (tuple(group.prompt), tuple(continuation)), _loglik(one)

    def logits(
        self, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]], *, chunk: int = 256
    ) -> Iterator[FloatArray]:
        """Log-probabilities over the vocabulary behind every completion token, in order, at most `chunk` rows a block.

        Neighbours with the same prompt share its forward. The model must not change while blocks are being read.
        """
        from harness.lm.logprobs import completion_log_softmax
        from harness.lm.peft_internals import evaluating

        if len(prompts) != len(completions):
            raise HarnessError(
                f"{len(prompts)} prompts were given with {len(completions)} completions; one each was expected"
            )
        blocks = completion_log_softmax(
            self.model, _merged(prompts, completions), chunk=chunk, max_tokens=self.max_tokens
        )
        while True:
            with evaluating(self.model):
                block = next(blocks, None)
            if block is None:
                return
            yield block.float().cpu().numpy()

    def embed(
        self,
        texts: Sequence[str],
        *,
        layer: int = -1,
        pool: Literal["mean", "last"] = "mean",
        spans: Sequence[Span] | None = None,
    ) -> FloatArray:
        """Hidden states after `layer` (0 is the embedding, -1 the last) pooled over each text's tokens, (N, D) fp32.

        With `spans`, one range of characters per text, only the tokens that touch it. Raises HarnessError for a
        layer that the model does not have, and for a span without any token.
        """
        import numpy as np

        from harness.lm.peft_internals import evaluating

        if pool not in ("mean", "last"):
            raise HarnessError(f"pool={pool!r} was given where 'mean' or 'last' was expected")
        rows, pooled = self._rows(texts, spans)
        out = np.zeros((len(rows), self.model.config.get_text_config().hidden_size), dtype=np.float32)
        with evaluating(self.model):
            for batch in _length_batches([len(row) for row in rows], self.max_tokens):
                out[batch] = self._embed([rows[i] for i in batch], [pooled[i] for i in batch], layer, pool)
        return out

    def _rows(self, texts: Sequence[str], spans: Sequence[Span] | None) -> tuple[list[list[int]], list[Span]]:
        """Token ids of each text, and which of its tokens are pooled (first, one past the last)."""
        rows, pooled = [], []
        for index, text in enumerate(texts):
            encoded = self.tokenizer(text, return_offsets_mapping=spans is not None)
            ids = list(encoded["input_ids"])[: self.max_length] or [self.tokenizer.eos_token_id]
            rows.append(ids)
            pooled.append((0, len(ids)))
            if spans is not None:
                first, last = spans[index]
                offsets = encoded["offset_mapping"][: self.max_length]
                inside = [i for i, (start, end) in enumerate(offsets) if start < last and end > first]
                if not inside:
                    raise HarnessError(f"text {index} has no token between characters {first} and {last}")
                pooled[-1] = (inside[0], inside[-1] + 1)
        return rows, pooled

    def _embed(self, rows: Sequence[Sequence[int]], pooled: Sequence[Span], layer: int, pool: str) -> FloatArray:
        import torch

        from harness.lm.peft_internals import decoder_of

        longest, device = max(map(len, rows)), self.model.device
        ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
        sizes = torch.tensor([len(row) for row in rows], device=device)
        first, last = torch.tensor(pooled, device=device).T
        place = torch.arange(longest, device=device)
        out = decoder_of(self.model)(
            input_ids=ids,
            attention_mask=(place < sizes[:, None]).long(),
            use_cache=False,
            output_hidden_states=layer != -1,
        )
        states = (out.last_hidden_state if layer == -1 else _layer(out.hidden_states, layer)).float()
        if pool == "last":
            chosen = states[torch.arange(len(rows), device=device), last - 1]
        else:
            inside = (place >= first[:, None]) & (place < last[:, None])
            chosen = (states * inside[..., None]).sum(1) / (last - first)[:, None]
        array: FloatArray = chosen.cpu().numpy()
        return array


def _layer(states: Sequence[Any], layer: int) -> Any:
    if not -len(states) <= layer < len(states):
        raise HarnessError(
            f"layer {layer} was asked for; this model has layers 0 to {len(states) - 1}, or -1 for the last"
        )
    return states[layer]


def _scores(stats: TokenStats) -> TokenScores:
    entropies = None if stats.entropies is None else stats.entropies.float().cpu().numpy()
    return TokenScores(stats.logprobs.float().cpu().numpy(), entropies)


def _loglik(stats: TokenStats) -> Loglik:
    return Loglik(float(stats.logprobs.double().sum()), len(stats.logprobs), bool(stats.greedy.all()))


def _merged(prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]) -> list[Group]:
    """Groups in order, neighbours with equal prompts joined."""
    from harness.lm.rows import Group

    joined: list[tuple[Ids, list[Sequence[int]]]] = []
    for prompt, completion in zip(prompts, completions, strict=True):
        if not joined or joined[-1][0] != tuple(prompt):
            joined.append((tuple(prompt), []))
        joined[-1][1].append(completion)
    return [Group(prompt, members) for prompt, members in joined]


def _length_batches(lengths: Sequence[int], max_tokens: int) -> Iterator[list[int]]:
    """Indices in batches whose padded size stays within `max_tokens`, similar lengths together."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > max_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


class HfBackend:
    """transformers and PEFT, with torch, on a CPU or a GPU."""

    name: ClassVar[str] = "hf"
    capabilities: ClassVar[frozenset[EngineCapability]] = frozenset(
        {"generate", "loglik", "score", "entropy", "logits", "embed", "adapters"}
    )

    def open(self, files: ModelFolder, *, device: str, precision: str) -> HfEngine:
        """The model with its tokenizer. Raises HarnessError when the folder cannot be loaded."""
        from harness.models.load import load

        return HfEngine(*load(cast("ModelFiles", files), device=device, precision=precision))


@hookimpl
def harness_backends() -> list[type[Backend]]:
    """The built-in backend."""
    return [HfBackend]
