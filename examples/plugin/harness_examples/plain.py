"""Backend `plain`: unchanged transformers, one row at a time. Results of a faster engine can be compared with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar

from harness.contracts import Backend, Completion, EngineCapability, HarnessError, Loglik, LoglikRequest, ModelFolder
from harness.hookspecs import hookimpl


class PlainEngine:
    """A causal language model and its tokenizer. It generates and scores, with an adapter or without."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model, self.tokenizer, self.device = model, tokenizer, model.device
        self.parameters = int(model.num_parameters())
        self.max_length = int(model.config.get_text_config().max_position_embeddings)
        self.adapter: Path | None = None

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
        """Draw each sample alone, from its own seed, so that the other prompts of a call change nothing."""
        how: dict[str, Any] = {"max_new_tokens": max_new_tokens, "stop_strings": list(stop) or None}
        how |= {"do_sample": temperature > 0, "temperature": temperature or 1.0, "top_p": top_p, "top_k": top_k}
        kept = [list(prompt)[-(self.max_length - max_new_tokens) :] for prompt in prompts]
        return [[self._sample(one, hash((seed, k, *one)), how) for k in range(n)] for one in kept]

    def _sample(self, prompt: list[int], seed: int, how: dict[str, Any]) -> Completion:
        import torch

        end = self.tokenizer.eos_token_id
        self.model.generation_config = type(self.model.generation_config)(eos_token_id=end, pad_token_id=end, **how)
        row = torch.tensor([prompt], device=self.device)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            whole = self.model.generate(row, attention_mask=torch.ones_like(row), tokenizer=self.tokenizer)
        ids = whole[0, len(prompt) :].tolist()
        text = str(self.tokenizer.decode(ids, skip_special_tokens=True))
        found = [text.index(string) for string in how["stop_strings"] or () if string in text]
        return Completion(text[: min(found, default=None)], tuple(ids), "stop" if found or ids[-1] == end else "length")

    def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik]:
        """Run one forward for each request."""
        return [self._loglik(request.context, request.continuation) for request in requests]

    def _loglik(self, context: tuple[int, ...], wanted: tuple[int, ...]) -> Loglik:
        import torch

        if not 0 < len(wanted) <= self.max_length:
            raise HarnessError(f"a continuation of 1 to {self.max_length} tokens was expected, not {len(wanted)}")
        context = (context or (self.tokenizer.eos_token_id,))[-(self.max_length + 1 - len(wanted)) :]
        out = self.model(input_ids=torch.tensor([[*context, *wanted[:-1]]], device=self.device))
        rows = out.logits[0, -len(wanted) :].double().log_softmax(-1).cpu()
        return Loglik(
            float(rows[range(len(wanted)), wanted].sum()), len(wanted), rows.argmax(-1).tolist() == list(wanted)
        )

    def load(self, folder: Path) -> None:
        """Apply the adapter that was saved in `folder`."""
        self.drop()
        self.model.load_adapter(str(folder))
        self.adapter = folder

    def drop(self) -> None:
        """Remove the adapter."""
        if self.adapter is not None:
            self.model.delete_adapter("default")
        self.adapter = None

    def adapter_off(self) -> ExitStack:
        """Remove the adapter for the length of a `with` block."""
        afterwards = ExitStack()
        if self.adapter is not None:
            afterwards.callback(self.load, self.adapter)
        self.drop()
        return afterwards

    def metered(self, meter: Any) -> Any:
        """Count the tokens that every forward reads, and 2 FLOPs for each weight and token."""

        def count(model: Any, arguments: Any, named: Any) -> None:
            meter.add(forward_tokens=(read := named["input_ids"].numel()), flops=2.0 * self.parameters * read)

        return self.model.register_forward_pre_hook(count, with_kwargs=True)

    def close(self) -> None:
        self.model = None


class Plain:
    """Opens a model with transformers; `generate` and the forwards are those of transformers."""

    name: ClassVar[str] = "plain"
    capabilities: ClassVar[frozenset[EngineCapability]] = frozenset({"generate", "loglik", "adapters"})

    def open(self, files: ModelFolder, *, device: str, precision: str) -> Any:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        dtype = {"fp32": "float32", "bf16": "bfloat16"}[precision]
        model: Any = AutoModelForCausalLM.from_pretrained(files.folder, dtype=dtype)
        return PlainEngine(model.to(device).eval().requires_grad_(False), AutoTokenizer.from_pretrained(files.folder))


@hookimpl
def harness_backends() -> list[type[Backend]]:
    return [Plain]
