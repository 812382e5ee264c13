"""YAML that a person wrote: plain values, every key once, nothing that grows."""

from __future__ import annotations

from typing import Any

import yaml

MOST_NODES = 10_000
"""Values of a document, what its aliases repeat included."""
DEEPEST = 64


def read_plain_yaml(text: str) -> Any:
    """The value of a YAML document.

    Raises ValueError, worded as the end of a sentence about the document, for what is no YAML, for a key that stands
    twice, a value that is not of the type that it claims (`!!int x`), and for what is nested or repeated without end.
    """
    try:
        loader = _Shallow(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node, {}, 0)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(f"is not YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        if isinstance(error, _Refused):
            raise
        raise ValueError(f"has a value that is not what it seems to be: {' '.join(str(error).split())[:80]}") from error


class _Refused(ValueError):
    """A document that is YAML, and yet nothing that we take."""


class _Shallow(yaml.SafeLoader):
    """Stops reading where a document is nested too deeply: yaml takes the square of the depth in time."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """One node with all below it."""
        self.depth += 1
        if self.depth > DEEPEST:
            raise _Refused("is nested too deeply")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _count(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Values below a node. Raises _Refused for a document that is too deep, too large, or names a key twice."""
    if depth > DEEPEST:
        raise _Refused("is nested too deeply")
    if id(node) not in known:
        known[id(node)] = 1 + sum(_count(child, known, depth + 1) for child in _children(node))
    if known[id(node)] > MOST_NODES:
        raise _Refused(f"holds more than {MOST_NODES} values")
    return known[id(node)]


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _Refused(f"has the key {key.value[:40]!r} twice, in line {key.start_mark.line + 1}")
            seen.add(str(key.value))
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
