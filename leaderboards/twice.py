"""What a record states twice, as one table: here, and in the facts whose hash is the run's id.

`fit`, `answers` and `judgement` are sections of `manifest.decisive`; every other path begins at the record itself. The
settings that the command to make a run again is built from are compared with the record's own fields, too, most of
which the decisive facts hold in their turn. A fact that an older record lacks is not compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.records.schema import Record
from leaderboards import alike
from leaderboards.alike import Facts, Same

SECTIONS = ("fit", "answers", "judgement")
"""What decides an outcome: their hash is the run's id."""
LONGEST = 160
"""Characters of a value in a message."""
ABSENT = object()
"""Stands where a record, or what decided it, has no such fact."""


@dataclass(frozen=True, slots=True)
class Twice:
    """One thing in two places, and what it is for both to say the same."""

    here: str
    there: str
    same: Same = alike.equal


STATED_TWICE: tuple[Twice, ...] = (
    Twice("aligner.name", "fit.aligner.name"),
    Twice("aligner.version", "fit.aligner.version"),
    Twice("aligner.config", "fit.aligner.settings", alike.as_fitted),
    Twice("aligner.changed", "fit.aligner.settings", alike.part_of),
    Twice("budget", "fit.budget", alike.without_profile),
    Twice("budget.track", "answers.task.track"),
    Twice("data.auxiliary_groups", "fit.drawn.auxiliary", alike.names_of),
    Twice("data.auxiliary_groups", "answers.groups.auxiliary", alike.names_of),
    Twice("data.dropped_leaks", "answers.leaks.number", alike.number_of),
    Twice("data.dropped_leaks", "answers.leaks.content", alike.hash_of),
    Twice("data.fold", "fit.fold", alike.fold),
    Twice("data.fold", "answers.fold", alike.fold),
    Twice("data.pair_ids", "fit.drawn.pairs", alike.number_of),
    Twice("data.pool", "fit.pool.name"),
    Twice("data.pool", "answers.pool.name"),
    Twice("data.pool_revision", "fit.pool.revision"),
    Twice("data.pool_revision", "answers.pool.revision"),
    Twice("data.prompt_ids", "fit.drawn.prompts", alike.number_of),
    Twice("data.rating_ids", "fit.drawn.ratings", alike.names_of),
    Twice("data.rating_ids", "answers.groups.asked", alike.names_of),
    Twice("data.shuffled_labels", "fit.drawn.shuffled"),
    Twice("data.source", "answers.data.source"),
    Twice("manifest.device", "fit.machine.kind", alike.device),
    Twice("manifest.packages", "fit.libraries", alike.versions),
    Twice("manifest.packages", "answers.libraries", alike.versions),
    Twice("manifest.python", "fit.machine.python", alike.interpreter),
    Twice("manifest.threads", "fit.machine.threads"),
    Twice("model.backend", "answers.backend.name"),
    Twice("model.device", "fit.machine.device"),
    Twice("model.fit_backend", "fit.backend.name", alike.where_fitted),
    Twice("model.lengths", "fit.lengths"),
    Twice("model.lora", "fit.adapter"),
    Twice("model.precision", "fit.machine.precision"),
    Twice("model.trust_remote_code", "fit.model.remote_code"),
    Twice("model.weights_hash", "fit.model.files.weights"),
    Twice("outputs.generator", "fit.aligner.settings.generator", alike.whose_outputs),
    Twice("outputs.sha256", "answers.outputs"),
    Twice("seed.draw", "fit.seeds.draw"),
    Twice("seed.training", "fit.seeds.training"),
    Twice("task.baseline", "judgement.baseline", alike.reference),
    Twice("task.generate", "answers.task.generate"),
    Twice("task.judge", "judgement.judge.name"),
    Twice("task.judge_version", "judgement.judge.version"),
    Twice("task.limit", "answers.task.limit"),
    Twice("task.name", "answers.task.name"),
    Twice("task.num_fewshot", "answers.shown.number"),
    Twice("task.revision", "answers.task.revision"),
    # What was asked for, from which the command to make the run again is built.
    Twice("manifest.settings.aligner", "aligner.name"),
    Twice("manifest.settings.aligner_config", "fit.aligner.settings", alike.part_of),
    Twice("manifest.settings.backend", "model.backend"),
    Twice("manifest.settings.baseline", "judgement.baseline"),
    Twice("manifest.settings.budget", "budget", alike.less_the_profile),
    Twice("manifest.settings.checkpoint_steps", "fit.checkpoint_steps"),
    Twice("manifest.settings.data", "data.source", alike.place_of_data),
    Twice("manifest.settings.device", "model.device", alike.as_asked),
    Twice("manifest.settings.draw_seed", "seed.draw"),
    Twice("manifest.settings.fast_paths", "fit.machine.fast_paths", alike.switch),
    Twice("manifest.settings.fold", "data.fold", alike.fold_index),
    Twice("manifest.settings.folds", "data.fold", alike.fold_number),
    Twice("manifest.settings.generate", "task.generate"),
    Twice("manifest.settings.gradient_checkpointing", "fit.machine.gradient_checkpointing"),
    Twice("manifest.settings.judge", "task.judge"),
    Twice("manifest.settings.lengths", "model.lengths"),
    Twice("manifest.settings.limit", "task.limit"),
    Twice("manifest.settings.lora", "model.lora"),
    Twice("manifest.settings.model", "model.name"),
    Twice("manifest.settings.num_fewshot", "task.num_fewshot"),
    Twice("manifest.settings.outputs", "outputs.file", alike.last_part),
    Twice("manifest.settings.precision", "model.precision", alike.as_asked),
    Twice("manifest.settings.processes", "fit.machine.processes"),
    Twice("manifest.settings.profile", "budget.profile"),
    Twice("manifest.settings.seed", "seed.training"),
    Twice("manifest.settings.shuffle_labels", "data.shuffled_labels"),
    Twice("manifest.settings.task", "task.name"),
    Twice("manifest.settings.train_on", "data.pool", alike.as_asked),
    Twice("manifest.settings.trust_remote_code", "model.trust_remote_code"),
)
"""Where each stands in the record, and where it stands again."""


def contradictions(record: Record) -> Iterator[str]:
    """A sentence for everything that the record states twice and not alike."""
    facts = facts_of(record)
    for one in STATED_TWICE:
        stated, decided = value_at(facts, one.here), value_at(facts, one.there)
        if stated is not ABSENT and decided is not ABSENT and not _same(one, stated, decided, facts):
            yield f"{one.here} is {_short(stated)} in the record, and {one.there} is {_short(decided)}"
    if (record.outputs is None) == (record.aligner.name == alike.OUTPUTS):
        yield f"outputs of another model and aligner {record.aligner.name!r} do not go together"


def facts_of(record: Record) -> Facts:
    """The record's fields as JSON values, and beside them the sections of what decided its outcome."""
    decisive = record.manifest.decisive
    return {**record.model_dump(mode="json"), **{name: decisive[name] for name in SECTIONS if name in decisive}}


def _same(one: Twice, stated: Any, decided: Any, facts: Facts) -> bool:
    try:
        return one.same(stated, decided, facts)
    except (AttributeError, KeyError, TypeError):  # what was sealed there has not even the form of it
        return False


def value_at(facts: Facts, path: str) -> Any:
    """What stands at a dotted path; None below what is None, and `ABSENT` where a name on the way is not there."""
    found: Any = facts
    for name in path.split("."):
        if found is None:
            return None
        if not isinstance(found, Mapping) or name not in found:
            return ABSENT
        found = found[name]
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
