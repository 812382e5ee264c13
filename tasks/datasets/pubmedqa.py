"""PubMedQA (yes, no or maybe, from an abstract): where its rows are and what they hold.

Jin et al. 2019, "PubMedQA", arXiv:1909.06146; data MIT. lm-eval's task reads another copy of the data set, which needs
a loading script that `datasets` no longer runs; rows of `qiaojin/PubMedQA` hold the same questions, abstracts and
decisions and are brought into that copy's format. The hub has one split of 1,000 rows: the first half is the pool, the
second the evaluation.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.contracts import Dataset, HarnessError
from harness.util.hashes import content_hash
from tasks.datasets.closing import LEAD, Closed, last
from tasks.datasets.documents import Document, DocumentSet, Row

DATASET = Dataset(
    folder="pubmedqa",
    hub="qiaojin/PubMedQA",
    config="pqa_labeled",
    hub_splits={"pool": "train[:500]", "eval": "train[500:]"},
)
ANSWERS = ("yes", "no", "maybe")
SYSTEM = 'Think step by step, then end with a line "Final Answer: <decision>".'
ASKED = "Is the answer yes, no or maybe?"
"""Stands after the question: a system message can be clipped away."""


_WORDS = "|".join(ANSWERS)
_DECISION = re.compile(
    rf"{LEAD}((?i:{_WORDS}))\b(?!(?i:[^\w\n]*(?:or[^\w\n]+)?(?:{_WORDS})\b))(?=[^\S\n]*(?:[^\w\s]|$))", re.MULTILINE
)
"""One decision, followed by a mark or the end of its line: neither "yes, no or maybe" nor "no improvement" decides."""


def document(row: Row, identity: str) -> Document:
    """A row in the format of the stock task's data set (`bigbio/pubmed_qa`, source schema).

    Raises HarnessError naming the row when it has no question, no passages of an abstract, or no decision.
    """
    context = row.get("context")
    passages = context.get("contexts") if isinstance(context, Mapping) else None
    if not row.get("question") or not passages or row.get("final_decision") not in ANSWERS:
        raise HarnessError(
            f"pubmedqa row {identity!r} is malformed: expected question, context.contexts and final_decision, "
            f"one of {', '.join(ANSWERS)}"
        )
    shown = {"QUESTION": str(row["question"]), "CONTEXTS": [str(passage) for passage in passages]}
    return {"id": identity, **shown, "final_decision": str(row["final_decision"])}


def asked(row: Row) -> Closed:
    """A row as a closed question: the abstract first and the question last, since long prompts lose their beginning."""
    abstract = "\n".join(row["CONTEXTS"])
    question = f"Abstract: {abstract}\nQuestion: {row['QUESTION']}\n{ASKED}"
    return Closed(question, ANSWERS, ANSWERS.index(str(row["final_decision"])), SYSTEM, lettered=False)


def _identity(row: Row) -> str:
    return str(row.get("id") or row.get("pubid") or content_hash(row.get("question"))[:16])


DOCUMENTS = DocumentSet(DATASET, document, _identity, question="QUESTION")


def final_decision(completion: str) -> str | None:
    """The decision of the last "Final Answer: X" in a text, in lower case, or None where there is none."""
    found = last(_DECISION, completion)
    return found.lower() if found else None


def names_decision(gold: str, completion: str) -> float:
    """1.0 where the last closing line of a completion names the gold decision; 0.0 too where none is given."""
    return float(gold == final_decision(completion))
