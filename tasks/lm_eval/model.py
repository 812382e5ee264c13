"""A model of lm-eval's that asks ours: what `lm_eval.models.huggingface.HFLM` does for causal models, over `Aligned`.

Encoding follows HFLM (checked against 0.4.13), so token ids are those of the `lm_eval` command: context and
continuation encoded together and split, special tokens left to the tokenizer unless the text already starts with the
prefix token, over-long contexts clipped on the left. The class is put together in `lm` from `_AlignedModel` and
lm-eval's `TemplateLM`, since lm-eval is imported inside functions.

A model that lacks `loglik` but can `choose` is asked one closed question per context, whose labels and options are that
context's continuations; its normalised log-probabilities stand where the sums would.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from harness.contracts import (
    Aligned,
    ChooseRequest,
    Chooses,
    GenerateRequest,
    HarnessError,
    Loglik,
    LoglikRequest,
    Message,
    ScoresText,
    able_to,
    user,
)
from harness.util.chat import asking
from tasks.lm_eval import corners

CONTEXTS_PER_CALL = 64
"""Contexts handed to the model at a time: enough to share few-shot prefixes, few enough that progress moves."""
DEFAULT_NEW_TOKENS = 256
"""HFLM's `max_gen_toks`, where a task sets none."""

Progress = Callable[[str, int, int], None]
Encoded = tuple[tuple[str, str] | None, list[int], list[int]]


def lm(aligned: Aligned, *, seed: int = 0, progress: Progress | None = None) -> Any:
    """An `lm_eval.api.model.LM` that asks `aligned`; `scored` keeps sum, tokens and greediness of every text pair."""
    from lm_eval.api.model import TemplateLM

    model_class = type("AlignedLM", (_AlignedModel, TemplateLM), {})
    return model_class(aligned, seed, progress or (lambda stage, done, total: None))


class _AlignedModel:
    """What HFLM does for causal models, over `Aligned`; to be mixed with lm-eval's `TemplateLM`."""

    backend = "causal"

    def __init__(self, aligned: Aligned, seed: int, progress: Progress) -> None:
        super().__init__()
        self.aligned = aligned
        self.tokenizer = aligned.tokenizer
        self.scored: dict[tuple[str, str], Loglik] = {}
        self.clipped: set[str] = set()
        self._seed = seed
        self._progress = progress

    @property
    def eot_token_id(self) -> int:
        """End of text: the tokenizer's EOS, as in HFLM."""
        return int(self.tokenizer.eos_token_id)

    @property
    def prefix_token_id(self) -> int:
        """What stands before an empty context: BOS, or EOS where there is none."""
        bos = self.tokenizer.bos_token_id
        return self.eot_token_id if bos is None else int(bos)

    @property
    def max_length(self) -> int:
        """Longest context plus continuation, in tokens."""
        return self.aligned.max_length

    @property
    def tokenizer_name(self) -> str:
        """Name for lm-eval's request fingerprints."""
        return str(self.tokenizer.name_or_path).replace("/", "__")

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Token ids of `string`; the tokenizer's special tokens unless it already starts with the prefix token."""
        if add_special_tokens is None and string.startswith(self.tokenizer.decode(self.prefix_token_id)):
            add_special_tokens = False
        keywords = {} if add_special_tokens is None else {"add_special_tokens": add_special_tokens}
        return list(self.tokenizer.encode(string, **keywords))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as text; without its system turns where the template refuses them, as in HFLM."""
        from jinja2.exceptions import TemplateError

        try:
            return self._conversation(chat_history, add_generation_prompt)
        except TemplateError:
            turns = [turn for turn in chat_history if turn["role"] != "system"]
            return self._conversation(turns, add_generation_prompt)

    def _conversation(self, turns: list[dict[str, str]], ask: bool) -> str:
        if ask:
            return asking(self.tokenizer, tuple(Message(cast("Any", turn["role"]), turn["content"]) for turn in turns))
        return str(self.tokenizer.apply_chat_template(turns, tokenize=False, continue_final_message=True))

    def _loglikelihood_tokens(self, requests: Sequence[Encoded], **_: Any) -> list[tuple[float, bool]]:
        """Called by TemplateLM with encoded pairs: (sum of log-probabilities, is greedy) of each, in order.

        Raises HarnessError where the model can only choose and there is nothing to choose among.
        """
        chooses = isinstance(self.aligned, Chooses) and not isinstance(self.aligned, ScoresText)
        results = self._choose(requests) if chooses else self._score([self._request(*r) for r in requests])
        for (texts, _context, _continuation), result in zip(requests, results, strict=True):
            if texts is not None:
                self.scored[texts] = result
        return [(result.total, result.is_greedy) for result in results]

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of whole texts, in disjoint windows of at most the model's length, as HFLM cuts them."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        windows: list[Encoded] = []
        owners: list[int] = []
        for owner, request in enumerate(requests):
            ids = self.tok_encode(request.args[0])
            for window in get_rolling_token_windows(ids, self.prefix_token_id, self.max_length, context_len=1):
                windows.append((None, *make_disjoint_window(window)))
                owners.append(owner)
        totals = [0.0] * len(requests)
        for owner, (total, _greedy) in zip(owners, self._loglikelihood_tokens(windows), strict=True):
            totals[owner] += total
        return totals

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Generated texts, cut at the first stop sequence (end-of-text always being one)."""
        texts: list[str] = []
        writer = able_to("generate", self.aligned, by="lm-eval")
        wanted = self._distinct([self._generation(*request.args[:2]) for request in requests])
        for start in range(0, len(wanted), CONTEXTS_PER_CALL):
            chunk = wanted[start : start + CONTEXTS_PER_CALL]
            answers = writer.generate(chunk)
            texts += [_cut(answer[0].text, request.stop) for request, answer in zip(chunk, answers, strict=True)]
            self._progress("answers", len(texts), len(requests))
        return texts

    def _request(self, texts: tuple[str, str] | None, context: list[int], continuation: list[int]) -> LoglikRequest:
        if not context or not 0 < len(continuation) <= self.max_length:
            raise HarnessError(
                f"cannot score {len(continuation)} tokens after {len(context)}: expected at least one of each"
                f" and at most {self.max_length} to score"
            )
        room = self.max_length + 1 - len(continuation)  # the last token is predicted, never fed
        if len(context) > room and texts is not None:
            self.clipped.add(texts[0])
        return LoglikRequest(tuple(context[-room:]), tuple(continuation))

    def _score(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Score in chunks of contexts, longest first (so that a chunk pads little and time left is over-estimated)."""
        scorer = able_to("loglik", self.aligned, by="lm-eval")
        by_context: dict[tuple[int, ...], list[int]] = {}
        for index, request in enumerate(requests):
            by_context.setdefault(request.context, []).append(index)
        contexts = sorted(by_context, key=lambda ids: (-len(ids), ids))
        results: dict[int, Loglik] = {}
        for start in range(0, len(contexts), CONTEXTS_PER_CALL):
            chunk = [index for ids in contexts[start : start + CONTEXTS_PER_CALL] for index in by_context[ids]]
            results.update(zip(chunk, scorer.loglik([requests[index] for index in chunk]), strict=True))
            self._progress("answers", len(results), len(requests))
        return [finite(results[index]) for index in range(len(requests))]

    def _choose(self, requests: Sequence[Encoded]) -> list[Loglik]:
        """One closed question per context; `is_greedy` marks the likeliest of its continuations."""
        chooser = able_to("choose", self.aligned, by="lm-eval")
        by_context: dict[str, list[int]] = {}
        for index, (texts, _context, _continuation) in enumerate(requests):
            by_context.setdefault("" if texts is None else texts[0], []).append(index)
        results: dict[int, Loglik] = {}
        contexts = list(by_context.items())
        for start in range(0, len(contexts), CONTEXTS_PER_CALL):
            chunk = contexts[start : start + CONTEXTS_PER_CALL]
            asked = [_closed_question([requests[index] for index in indices]) for _, indices in chunk]
            for (_, indices), logprobs in zip(chunk, chooser.choose(asked), strict=True):
                top = max(logprobs)
                for index, value in zip(indices, logprobs, strict=True):
                    results[index] = Loglik(value, len(requests[index][2]), value == top)
            self._progress("answers", len(results), len(requests))
        return [finite(results[index]) for index in range(len(requests))]

    def _generation(self, context: str, settings: Mapping[str, Any]) -> GenerateRequest:
        wanted = corners.generation(settings, DEFAULT_NEW_TOKENS, self.tokenizer.decode(self.eot_token_id))
        stop = wanted.pop("until")
        tokens, sampled = int(wanted.pop("max_gen_toks")), bool(wanted.pop("do_sample"))
        temperature, top_p = float(wanted.pop("temperature", 1.0)), float(wanted.pop("top_p", 1.0))
        if wanted:
            raise HarnessError(f"lm-eval asks for {sorted(wanted)}; of sampling, only temperature and top_p can be set")
        self._note_clipping(context, self.max_length - tokens)
        return GenerateRequest(
            context=context,
            max_new_tokens=tokens,
            stop=tuple(stop),
            temperature=temperature if sampled else 0.0,
            top_p=top_p if sampled else 1.0,
            seed=self._seed,
        )

    @staticmethod
    def _distinct(requests: Sequence[GenerateRequest]) -> list[GenerateRequest]:
        """The same requests; of equal ones (a task's repeats) every further one has the next seed."""
        seen: Counter[GenerateRequest] = Counter()
        out: list[GenerateRequest] = []
        for request in requests:
            out.append(replace(request, seed=request.seed + seen[request]) if request.temperature else request)
            seen[request] += 1
        return out

    def _note_clipping(self, context: str, room: int) -> None:
        """Remember a prompt that `Aligned.generate` will clip on the left to make room for the new tokens."""
        if room <= 0:
            raise HarnessError(
                f"no room for a prompt: the new tokens leave {room} of the model's {self.max_length} tokens"
            )
        if len(self.tok_encode(context)) > room:
            self.clipped.add(context)


def _closed_question(requests: Sequence[Encoded]) -> ChooseRequest:
    """The choice among the continuations of one context."""
    texts = [texts for texts, _context, _continuation in requests if texts is not None]
    if len(texts) < len(requests) or len(texts) < 2:
        raise HarnessError(
            "the model can choose but not score one text by itself (its capabilities lack loglik); "
            "a task with two or more continuations per context was expected"
        )
    continuations = tuple(continuation for _context, continuation in texts)
    return ChooseRequest(prompt=user(texts[0][0]), labels=continuations, options=continuations)


def finite(result: Loglik) -> Loglik:
    """The result itself. Raises FloatingPointError when its log-probability is not a finite number."""
    if not math.isfinite(result.total):
        raise FloatingPointError(
            f"log-probability {result.total} of {result.tokens} tokens: the model's output is broken"
        )
    return result


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        if stop:
            text = text.split(stop, maxsplit=1)[0]
    return text
