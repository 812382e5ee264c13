"""What it is for a field of a record and a fact that decided its outcome to say the same, where they differ in form.

Each is told what the record states, what was decided, and the whole record with its decisive facts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from harness.contracts import BASE
from harness.util.hashes import content_hash

Facts = Mapping[str, Any]
Same = Callable[[Any, Any, Facts], bool]
OUTPUTS = "outputs"
"""What stands for a method where answers come from a file."""
REFERENCE = "reference"
"""The baseline that is the task's own reference outputs."""


def equal(stated: Any, decided: Any, _: Facts) -> bool:
    """The same JSON value."""
    return bool(stated == decided)


def number_of(stated: Any, decided: Any, _: Facts) -> bool:
    """A list, and how long it is."""
    return bool(len(stated) == decided)


def names_of(stated: Any, decided: Any, _: Facts) -> bool:
    """Names, and what stands under each."""
    return sorted(stated) == sorted(decided)


def hash_of(stated: Any, decided: Any, _: Facts) -> bool:
    """Ids, and the hash of all of them in order."""
    return bool(content_hash(sorted(stated)) == decided)


def part_of(stated: Any, decided: Any, _: Facts) -> bool:
    """Some of the settings, and all of them."""
    return all(name in decided and decided[name] == value for name, value in stated.items())


def versions(stated: Any, decided: Any, _: Facts) -> bool:
    """Versions of packages: of the same package the same."""
    return all(stated[name] == version for name, version in decided.items() if name in stated)


def as_fitted(stated: Any, decided: Any, facts: Facts) -> bool:
    """A method's settings, and those that it was given: a search over them fits the best of its trials."""
    trials = facts["aligner"]["trials"] if facts["budget"]["tune"] else []
    if not trials:
        return bool(stated == decided)
    best = max(trial["score"] for trial in trials)
    return any(trial["config"] == stated for trial in trials if trial["score"] == best)


def where_fitted(stated: Any, decided: Any, facts: Facts) -> bool:
    """What a fit ran on; None where nothing is fitted."""
    nothing = facts["aligner"]["name"] in (BASE, OUTPUTS)
    return bool(stated == (None if nothing else decided))


def as_asked(stated: Any, decided: Any, _: Facts) -> bool:
    """What was asked for, and what came of it where that was left open."""
    return bool(stated in (None, "auto", decided))


def switch(stated: Any, decided: Any, _: Facts) -> bool:
    """A switch, and whether it was on."""
    return bool(stated in ("auto", "on" if decided else "off"))


def device(stated: Any, decided: Any, _: Facts) -> bool:
    """`cpu (x86_64, 2 cores)`, and `cpu`."""
    return bool(str(stated).partition(" (")[0] == decided or stated == decided)


def interpreter(stated: Any, decided: Any, _: Facts) -> bool:
    """`3.11.7`, and `CPython 3.11, Linux x86_64`."""
    return f" {'.'.join(str(stated).split('.')[:2])}, " in str(decided)


def fold(stated: Any, decided: Any, _: Facts) -> bool:
    """`{index, of}`, and `[index, of]`."""
    return bool((None if stated is None else [stated["index"], stated["of"]]) == decided)


def place_of_data(stated: Any, decided: Any, _: Facts) -> bool:
    """What `--data` was, and what the source calls itself. A folder may be a link to one of another name."""
    kind, name = (*str(decided).split(" ", 1), "")[:2]
    word = str(stated).partition(":")[0]
    if kind in ("file", "folder"):
        return word not in ("auto", "hub", "sample") and (kind == "folder" or PurePath(stated).name == name)
    return bool(word in ("auto", kind))


def last_part(stated: Any, decided: Any, _: Facts) -> bool:
    """A path, and its last part."""
    return bool((None if stated is None else PurePath(stated).name) == decided)


def reference(stated: Any, decided: Any, _: Facts) -> bool:
    """What answers were judged against: a task without references of its own takes base's answers in their place."""
    return bool(stated == decided or (decided == REFERENCE and stated == BASE))


def fold_index(stated: Any, decided: Any, _: Facts) -> bool:
    """The number of a fold, from 0, and the fold."""
    return bool(stated == (None if decided is None else decided["index"]))


def fold_number(stated: Any, decided: Any, _: Facts) -> bool:
    """Of how many; 1: the pairs are divided once."""
    return bool(stated == (1 if decided is None else decided["of"]))


def without_profile(stated: Any, decided: Any, _: Facts) -> bool:
    """A budget with the profile that set it, and the budget."""
    return bool({name: value for name, value in stated.items() if name != "profile"} == decided)


def less_the_profile(stated: Any, decided: Any, facts: Facts) -> bool:
    """A budget, and the same with the profile that set it."""
    return without_profile(decided, stated, facts)


def whose_outputs(stated: Any, decided: Any, facts: Facts) -> bool:
    """Who wrote the answers of a file; a method's own setting of that name says nothing of it."""
    return bool(facts["outputs"] is None or stated == decided)
