"""The adapters of one PEFT model, by name: copied, switched, remembered, written."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from harness.contracts import BASE, POLICY, HarnessError
from harness.util.checked import demanded, write_checked

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Pristine:
    """What trainers are known to change on a model and leave behind."""

    forwards: frozenset[str]
    dropouts: dict[str, float]
    pads: tuple[int | None, int | None]
    adapters: frozenset[str]

    @staticmethod
    def of(model: Any) -> Pristine:
        """The state of `model` before a trainer is given it."""
        return Pristine(
            forwards=frozenset(name for name, module in model.named_modules() if "forward" in vars(module)),
            dropouts={n: m.p for n, m in model.named_modules() if isinstance(m, torch.nn.Dropout)},
            pads=(model.config.pad_token_id, model.generation_config.pad_token_id),
            adapters=frozenset(model.peft_config),
        )

    def restore(self, model: Any, keep: frozenset[str]) -> None:
        """Undo what a trainer patched; adapters named in `keep` stay."""
        for name, module in model.named_modules():
            if "forward" in vars(module) and name not in self.forwards:
                del module.forward
            if isinstance(module, torch.nn.Dropout) and name in self.dropouts:
                module.p = self.dropouts[name]
        model.config.pad_token_id, model.generation_config.pad_token_id = self.pads
        for adapter in set(model.peft_config) - self.adapters - keep:
            model.delete_adapter(adapter)
        model.zero_grad(set_to_none=True)
        model.eval()


class Adapters:
    """`POLICY` is the live adapter, `BASE` the model with adapters off; others are made by `fork`."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.best: tuple[float, State] | None = None
        """The kept adapter with its score."""
        self._forks: set[str] = set()
        self._pristine = Pristine.of(model)

    def fork(self, name: str, of: str) -> None:
        """Copy an adapter under a new name, frozen."""
        if name in (POLICY, BASE) or name in self.model.peft_config:
            raise HarnessError(f"adapter {name!r} exists already; pick another name or drop it first")
        self._known(of)
        self.model.add_adapter(name, copy.deepcopy(self.model.peft_config[POLICY]))
        with torch.no_grad():
            for key, parameter in self.model.named_parameters():
                if f".{name}." in key:
                    parameter.copy_(self.model.get_parameter(key.replace(f".{name}.", f".{of}.")))
                    parameter.requires_grad_(False)
        self._forks.add(name)
        self.model.set_adapter(POLICY)

    def drop(self, name: str) -> None:
        """Delete an adapter made by `fork`."""
        if name not in self._forks:
            raise HarnessError(f"no adapter {name!r} was forked; forked: {', '.join(sorted(self._forks)) or 'none'}")
        self.model.delete_adapter(name)
        self._forks.discard(name)

    def using(self, name: str) -> AbstractContextManager[None]:
        """Make an adapter the active one inside a `with` block."""
        self._known(name)
        if name == POLICY:
            return nullcontext()
        return self._off() if name == BASE else self._on(name)

    @contextmanager
    def quiet(self, of: str) -> Iterator[None]:
        """Eval mode, no gradient, the asked adapter."""
        training = self.model.training
        self.model.eval()
        try:
            with torch.no_grad(), self.using(of):
                yield
        finally:
            self.model.train(training)

    def clean(self) -> None:
        """Undo what a trainer left on the model."""
        self._pristine.restore(self.model, frozenset(self._forks))
        self.model.set_adapter(POLICY)

    def state(self, name: str = POLICY) -> State:
        """A copy of an adapter's tensors."""
        from peft import get_peft_model_state_dict

        state: State = get_peft_model_state_dict(self.model, adapter_name=name)
        return {k: v.detach().clone() for k, v in state.items()}

    def load(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put tensors of `state` into the live adapter."""
        from peft import set_peft_model_state_dict

        set_peft_model_state_dict(self.model, dict(state), adapter_name=POLICY)

    def keep(self, score: float, name: str) -> bool:
        """Remember the adapter as the best so far, where `score` is the highest."""
        if self.best is not None and score <= self.best[0]:
            return False
        self.best = (score, self.state(name))
        return True

    def restore_best(self) -> bool:
        """Load the kept adapter into the policy; False when nothing was kept."""
        if self.best is None:
            return False
        self.load(self.best[1])
        return True

    def write(self, folder: Path) -> None:
        """The live adapter for others to read: safetensors and JSON."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.detach().cpu().contiguous() for k, v in self.state(POLICY).items()}
        save_file(state, str(folder / "adapter_model.safetensors"))
        self.model.peft_config[POLICY].save_pretrained(str(folder))

    def save_private(self, path: Path) -> None:
        """The live and the kept adapter, as a torch file that is deleted when the fit is done.

        The trainer's own checkpoint is not enough: with a second adapter on the model (a reference) transformers saves
        the live one and does not load it again.
        """
        content = BytesIO()
        torch.save({"adapter": self.state(POLICY), "best": self.best}, content)
        write_checked(path, content.getvalue())

    def load_private(self, path: Path) -> None:
        """Put back what `save_private` wrote. Raises `Damaged` where it is not there, or not what was written."""
        saved = torch.load(BytesIO(demanded(path)), weights_only=True)
        self.load(saved["adapter"])
        self.best = saved["best"]

    def _known(self, name: str) -> None:
        if name != BASE and name not in self.model.peft_config:
            known = ", ".join([BASE, *self.model.peft_config])
            raise HarnessError(f"unknown adapter {name!r}; there are {known}")

    @contextmanager
    def _off(self) -> Iterator[None]:
        with self.model.disable_adapter():
            yield

    @contextmanager
    def _on(self, name: str) -> Iterator[None]:
        self.model.set_adapter(name)
        try:
            yield
        finally:
            self.model.set_adapter(POLICY)
