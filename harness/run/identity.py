"""A cell's manifest: everything that decides its outcome, put together here and nowhere else.

Three sections. `fit` decides the adapter; `answers`, on top of it, what the fitted model is asked and answers;
`judgement` who judges that, and against what. A fit's id is the hash of the first, a run's of all three. Command line,
study, leaderboards and documents are in none of them, nor is a path, a time, or the place of the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.contracts import Aligner, HasBasis, JudgeBasis, Pair, Ratings
from harness.fit.demands import takes
from harness.models.load import NOT_HERE
from harness.models.templates import clock
from harness.records.provenance import (
    Decisive,
    differences,
    digest,
    environment,
    harness_code,
    plugin_code,
    python,
    versions,
)
from harness.run.folds import chosen_fold
from harness.run.job import FIT_BACKEND
from harness.util.hashes import content_hash

if TYPE_CHECKING:
    from harness.plugins.registry import Registry
    from harness.run.plan import Plan

FIT_ROOMS = (
    *("contracts", "fit", "lm", "methods", "models", "opinions", "util"),
    *("meter.py", "judging/open.py", "run/worker.py", "run/job.py"),
)
"""What of `harness` a fit runs through."""
EVALUATION_ROOMS = ("contracts", "data", "judging", "lm", "opinions", "run", "stats", "util", "meter.py")
"""What of `harness` an evaluation runs through, beside the fit's."""


SECTIONS = ("fit", "answers", "judgement")
"""What a run's id is made of."""


def manifest(plan: Plan, registry: Registry) -> Decisive:
    """Everything decisive of a cell, as plain JSON values. Reads all code of its plug-ins."""
    return {"fit": _fit(plan, registry), "answers": _answers(plan, registry), "judgement": _judgement(plan, registry)}


def fit_code(aligner: type[Aligner], backend: str, registry: Registry) -> dict[str, str]:
    """The hashes under `code` of the section `fit`, from the files as they are now."""
    code = plugin_code(aligner, registry.backend(backend))
    return {"harness": harness_code(*FIT_ROOMS), "plug-ins": code.digest}


def base_basis(section: Mapping[str, Any]) -> str:
    """Hash of all in the section `fit` that can change what the base model says of given tokens, or what that costs.

    Model, tokenizer and template with their files; the adapter's shape, which the meter counts; lengths; device,
    precision, threads, fast paths, interpreter; libraries, and the harness's code. Neither method, labels nor seeds.
    """
    kept = {name: section[name] for name in ("model", "adapter", "lengths", "machine", "backend", "libraries")}
    return content_hash(kept, section["code"]["harness"])


def _fit(plan: Plan, registry: Registry) -> dict[str, Any]:
    config, machine, aligner = plan.config, plan.machine, plan.aligner_class
    code = plugin_code(aligner, registry.backend(FIT_BACKEND))
    return {
        "model": _model(plan),
        "adapter": config.lora.model_dump(),
        "lengths": config.lengths.model_dump(),
        "machine": {
            "device": machine.device,
            "kind": machine.kind,
            "precision": machine.precision,
            "processes": config.processes,  # a sum over them rounds otherwise
            "sharding": plan.sharding and plan.sharding.model_dump(mode="json"),  # longer rows round otherwise, too
            "threads": machine.threads,
            "fast_paths": machine.fast_paths,
            "gradient_checkpointing": config.gradient_checkpointing,  # counted compute, and with it a cap, differ
            "python": python(),
            "environment": environment(),
        },
        "aligner": {
            "name": aligner.name,
            "version": aligner.version,
            "from": _origin(registry, "aligner", aligner.name),
            "settings": plan.aligner_config.model_dump(mode="json", by_alias=True),
        },
        "backend": {"name": FIT_BACKEND, "from": _origin(registry, "backend", FIT_BACKEND)},
        "checkpoint_steps": config.checkpoint_steps,
        "seeds": {"draw": config.draw_seed, "training": config.seed},
        "code": fit_code(aligner, FIT_BACKEND, registry),
        "libraries": versions(code.imports),
        **(_labels(plan, registry) if takes(aligner) else {}),
    }


def _model(plan: Plan) -> dict[str, Any]:
    files = plan.files
    return {"files": dict(files.contents), "remote_code": files.trust_remote_code, "clock": clock(files.folder)}


def _labels(plan: Plan, registry: Registry) -> dict[str, Any]:
    """What a fit learns from, by what it is and by content."""
    few, config = plan.few_shot, plan.config
    asked = plan.fit_judge
    return {
        "pool": _pool(plan, registry),
        "drawn": {
            "pairs": len(few.pairs),
            "prompts": len(few.prompts),
            "content": content_hash(_pairs(few.pairs), [asdict(prompt) for prompt in few.prompts]),
            "ratings": _ratings(few.groups),
            "auxiliary": _ratings(few.auxiliary),
            "shuffled": config.shuffle_labels,
            "spans": few.spans,
        },
        "budget": config.budget.model_dump(),
        "fold": _fold(plan),
        "judge": None if asked is None else _judge(asked, plan, registry),
    }


def _fold(plan: Plan) -> list[int] | None:
    """Which part of the pairs is held out, from 0, and of how many."""
    fold = chosen_fold(plan.config)
    return None if fold is None else list(fold)


def _pool(plan: Plan, registry: Registry) -> dict[str, Any]:
    return {
        "name": plan.pool.name,
        "from": _origin(registry, "pool", plan.pool.name),
        "revision": plan.pool_revision,
        "rows": dict(plan.pool_rows),
        "code": plugin_code(type(plan.pool)).digest,
    }


def _pairs(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    return [asdict(pair) for pair in pairs]


def _ratings(ratings: Ratings) -> dict[str, str]:
    """Every group's ratings by content."""
    return {group: content_hash([asdict(rating) for rating in given]) for group, given in ratings.items()}


def _answers(plan: Plan, registry: Registry) -> dict[str, Any]:
    config, few = plan.config, plan.few_shot
    code = plugin_code(type(plan.task), type(plan.pool), registry.backend(config.backend))
    return {
        "backend": {"name": config.backend, "from": _origin(registry, "backend", config.backend)},
        "task": {
            "name": config.task,
            "from": _origin(registry, "task", family(config.task)),
            "revision": plan.task_revision,
            "limit": config.limit,
            "track": config.budget.track,
            "generate": config.generate,
        },
        "shown": {"number": config.num_fewshot, "content": content_hash(_pairs(few.pairs[: config.num_fewshot]))},
        "data": {"source": plan.source.describe(), "rows": dict(plan.task_rows)},
        "leaks": {"number": len(plan.labels.dropped), "content": content_hash(sorted(plan.labels.dropped))},
        "pool": _pool(plan, registry),
        "held_out": plan.held_out,
        "fold": _fold(plan),
        "groups": {"asked": _ratings(few.groups), "auxiliary": _ratings(few.auxiliary)},
        "code": {"harness": harness_code(*EVALUATION_ROOMS), "plug-ins": code.digest},
        "libraries": versions(code.imports),
        **({} if plan.stand_in is None else {"outputs": plan.stand_in.outputs.sha256}),
    }


def _judgement(plan: Plan, registry: Registry) -> dict[str, Any]:
    name = plan.config.judge
    return {
        "judge": None if name is None else _judge(name, plan, registry),
        "baseline": plan.config.baseline,
        "baseline_answers": plan.baseline_answers,
    }


def _judge(name: str, plan: Plan, registry: Registry) -> dict[str, Any]:
    judge = registry.judge(name)
    code = plugin_code(judge)
    basis = basis_of(judge)
    return {
        "name": name,
        "version": judge.version,
        "from": _origin(registry, "judge", family(name)),
        "models": {wanted: content_hash(dict(plan.judge_models[wanted].contents)) for wanted in basis.models},
        "facts": dict(basis.facts),
        "code": code.digest,
        "libraries": versions(code.imports),
    }


def basis_of(judge: type) -> JudgeBasis:
    """What a judge says its verdicts rest on; nothing where it says nothing."""
    opened: object = judge()
    return opened.basis() if isinstance(opened, HasBasis) else JudgeBasis()


def _origin(registry: Registry, kind: str, name: str) -> str:
    """Distribution and version of a third party's; of ours the release line: every change of ours is in the code."""
    found = registry.provenance.get(f"{kind}:{name}", "")
    owner, _, version = found.partition(" ")
    return f"{owner} {'.'.join(version.split('.')[:2])}" if owner == "align-harness" else found


def family(name: str) -> str:
    """The name that a plug-in offered: what stands before the colon of `lm_eval:arc_easy`."""
    return name.partition(":")[0]


def run_id(decisive: Decisive) -> str:
    """Hash of the fit and of everything that can change its scores."""
    return digest(decisive, *SECTIONS)


def id_on_any_gpu(decisive: Decisive) -> str:
    """The run's id as a machine without a GPU plans it: the GPU that computes it has no name yet."""
    machine = decisive["fit"]["machine"]
    if machine["device"] != "cuda":
        return run_id(decisive)
    return run_id({**decisive, "fit": {**decisive["fit"], "machine": {**machine, "kind": NOT_HERE}}})


def what_differs(before: Decisive, after: Decisive, *, any_gpu: bool) -> list[str]:
    """A line for everything that decides a run and differs, less the GPU's name where it was left open."""
    found = differences(before, after)
    return [one for one in found if not (any_gpu and one.startswith("fit.machine.kind: "))]


def without_threads(decisive: Decisive) -> Mapping[str, Any]:
    """The manifest of a cell whatever the number of threads: where an unfinished cell keeps its own."""
    machine = {name: value for name, value in decisive["fit"]["machine"].items() if name != "threads"}
    return {**decisive, "fit": {**decisive["fit"], "machine": machine}}
