"""Memory that this process took."""

from __future__ import annotations

import resource
import sys


def peak_memory(device: str) -> int:
    """Bytes: of the accelerator where there is one, else this process's high-water mark."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
