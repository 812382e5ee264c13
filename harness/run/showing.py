"""Answers to read: methods that a task asks for likelihoods alone write to a few of its items; nobody scores these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.config import RunConfig
from harness.contracts import GenerateRequest, Generates, Message, Role, SampleRow
from harness.contracts.progress import Silent
from harness.meter import Meter
from harness.records.schema import Record
from harness.records.shown import messages
from harness.records.texts import is_hashed
from harness.records.written import write_answers, written_answers
from harness.run.evaluation import adapted, result_of
from harness.run.plan import BASE_ALIGNER, Plan, make_plan
from harness.run.session import Session

ROLES: Mapping[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
"""Speakers as a row names them; another counts as the user."""


def show_answers(record: Record, config: RunConfig, session: Session, count: int) -> None:
    """Greedy answers of a run, and of the base run it was held against, to the first `count` items that have none.

    They are kept beside the runs, enter no score, no id and no bill, and are not written a second time.
    """
    if record.outputs is not None:
        return
    plan = make_plan(config, session.registry, Silent(), threads=record.manifest.threads, models=session.models)
    against = record.manifest.compared.get("base")
    base = None if against is None else session.store.record(against["run"])
    if base is not None and config.aligner != BASE_ALIGNER:
        show_answers(base, plan.base_config, session, count)
    _write(record, plan, session, count)


def _write(record: Record, plan: Plan, session: Session, count: int) -> None:
    known = written_answers(session.store, record.id)
    wanted = [row for row in session.store.samples(record) if "output" not in row.detail and _request(row, plan)]
    missing = [row for row in wanted[:count] if row.id not in known]
    if not missing:
        return
    session.progress.stage(f"answers to read: {record.aligner.name}", len(missing))
    engine, _ = session.engine(plan)
    adapter = session.store.run_dir(record.id) / "adapter"
    with adapted(engine, adapter, changed=bool(record.aligner.parameter_change)):
        aligned: object = result_of(plan, engine, adapter, Meter())
        if not isinstance(aligned, Generates):
            session.progress.note(f"{record.aligner.name} writes no answers: its result only ranks or predicts")
            return
        answers = aligned.generate(_requests(missing, plan))
    texts = {row.id: found[0].text for row, found in zip(missing, answers, strict=True)}
    session.progress.advance(len(missing), len(missing))
    write_answers(session.store, record.id, {**known, **texts})


def _requests(rows: Sequence[SampleRow], plan: Plan) -> list[GenerateRequest]:
    return [request for row in rows if (request := _request(row, plan)) is not None]


def _request(row: SampleRow, plan: Plan) -> GenerateRequest | None:
    """What a model is asked to read of a row; None where the row kept no prompt."""
    prompt = row.detail.get("prompt", row.detail.get("instruction"))
    if is_hashed(prompt) or (isinstance(prompt, list) and any(is_hashed(turn.get("content")) for turn in prompt)):
        return None
    turns = messages(prompt) if not isinstance(prompt, str) else [{"role": "user", "content": prompt}]
    if not turns or not all(turn["content"] for turn in turns):
        return None
    context = tuple(Message(ROLES.get(turn["role"], "user"), turn["content"]) for turn in turns)
    return GenerateRequest(context, plan.lengths.new_tokens)
