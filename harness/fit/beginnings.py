"""The first phase of a fit, computed once for all fits of a store that begin with the same one.

GEM fine-tunes on the chosen answers as `sft` does, before its own phase, and so do its ablations: a study would compute
the same fine-tuning several times. What is kept is the state behind the phase: the adapter, all that was counted, and
the log. Its name is a hash of everything that decides it: the basis (`base_basis`), what the trainer consists of, the
regime, the seed, the held-out pairs and the steps at which they are looked at, and where the fit stood before.

What the phase cost is counted wherever it is taken from here, its seconds and its memory too: what a method spends does
not depend on which cell came first. Under a cap, and with several processes, nothing is taken or kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import torch

from harness.fit.adapters import Adapters, State
from harness.fit.ledger import Ledger
from harness.util.checked import Damaged, read_checked, write_checked
from harness.util.hashes import content_hash
from harness.util.memory import peak_memory

PLACES = frozenset({"output_dir", "logging_dir", "run_name"})
"""Training arguments that decide nothing."""
OF_THIS_FIT = frozenset({"seconds", "log", "log_digest"})
"""Figures of a ledger that two equal beginnings do not share."""


@dataclass(frozen=True)
class Described:
    """What a trainer of the bench was put together from, so that its phase can be told from another's."""

    content: object
    """Its kind and its rows, with a canonical JSON form."""
    data: object
    """The rows as the trainer holds them: with others it is another trainer."""


def describe(trainer: Any, kind: str, rows: Sequence[Any]) -> Any:
    """The trainer, saying what it consists of; whoever builds one and does not say so has its phase computed."""
    trainer.described = Described([kind, list(rows)], trainer.train_dataset)
    return trainer


class Beginnings:
    """First phases of fits, once `keep_in` says where they are kept."""

    def __init__(self, adapters: Adapters, ledger: Ledger, device: str) -> None:
        self._adapters, self._ledger, self._device = adapters, ledger, device
        self._folder: Path | None = None
        self._basis = ""
        self.hits = 0
        self.peak_memory = 0
        """Bytes that the phase took at its peak, where it was taken from another fit."""

    def keep_in(self, folder: Path, basis: str) -> None:
        """Share first phases through a folder with all fits of the same `basis`."""
        self._folder, self._basis = folder, basis

    def place(self, trainer: Any, decided_by: Sequence[object]) -> Path | None:
        """Where the phase that `trainer` is about to run is kept; None where it cannot be told from others.

        `decided_by`: what decides the phase beside the trainer, with a canonical JSON form.
        """
        described = getattr(trainer, "described", None)
        if self._folder is None or self._ledger.meter.cap_flops is not None or described is None:
            return None
        if trainer.train_dataset is not described.data or self._adapters.best is not None:
            return None
        arguments = {name: value for name, value in trainer.args.to_dict().items() if name not in PLACES}
        callbacks = [type(one).__qualname__ for one in trainer.callback_handler.callbacks]
        before = {name: value for name, value in self._ledger.state().items() if name not in OF_THIS_FIT}
        begin = [_digest(self._adapters.state()), before]
        name = content_hash(self._basis, described.content, arguments, callbacks, list(decided_by), begin)
        return self._folder / f"{name}.pt"

    def take(self, place: Path) -> bool:
        """Go to the state behind the phase; False where it is not kept, or not what was written."""
        try:
            content = read_checked(place)
        except Damaged:
            return False
        if content is None:
            return False
        kept = torch.load(BytesIO(content), weights_only=True)
        journal = self._ledger.journal
        for line in kept["log"]:
            entry = json.loads(line)
            del entry["time"]
            journal.write(entry.pop("event"), **entry)
        self._adapters.load(kept["adapter"])
        self._adapters.best = kept["best"]
        seconds = self._ledger.seconds()
        self._ledger.restore(
            {
                **json.loads(kept["ledger"]),
                "log": journal.size(),
                "log_digest": journal.digest(),
                "seconds": seconds + kept["seconds"],
            }
        )
        self.peak_memory = int(kept["peak_memory"])
        self.hits += 1
        return True

    def keep(self, place: Path, begin: Mapping[str, Any]) -> None:
        """Keep the state behind the phase; `begin` is the ledger's before it."""
        state = self._ledger.state()
        content = BytesIO()
        torch.save(
            {
                "adapter": self._adapters.state(),
                "best": self._adapters.best,
                "ledger": json.dumps({name: value for name, value in state.items() if name not in OF_THIS_FIT}),
                "log": self._ledger.journal.since(begin["log"]),
                "seconds": state["seconds"] - begin["seconds"],
                "peak_memory": max(self.peak_memory, peak_memory(self._device)),
            },
            content,
        )
        place.parent.mkdir(parents=True, exist_ok=True)
        write_checked(place, content.getvalue())


def _digest(state: State) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
