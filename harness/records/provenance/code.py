"""Hashes of code: of the harness's rooms, and of whatever a plug-in consists of.

Python counts as what it does: comments, docstrings, layout and the `description` of a pydantic field are left out, so
that better words recompute nothing. Every other file of a plug-in counts byte by byte.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from harness.records.provenance.libraries import owners, plugin_distributions
from harness.util.hashes import content_hash, file_hash

ROOT = Path(__file__).resolve().parents[2]
"""The folder of the package `harness`."""
HOUSE = frozenset({"aligners", "tasks"})
"""Packages of ours whose modules count one by one: a change of a method leaves the other methods' cells alone."""
NOT_CODE = frozenset({"__pycache__", ".git", ".pytest_cache", ".mypy_cache", ".ruff_cache"})
_UNSAVED = uuid.uuid4().hex
"""Stands for code that lies in no file. It differs in every process, so that no result is mistaken for another's."""


@cache
def harness_code(*rooms: str) -> str:
    """Hash of modules and sub-packages of `harness` (`fit`, `run/worker.py`), as they were when first asked for.

    Raises FileNotFoundError for a room that is not there.
    """
    files: list[Path] = []
    for room in rooms:
        place = ROOT / room
        if not place.exists():
            raise FileNotFoundError(f"harness has no room {room!r}")
        files += place.rglob("*.py") if place.is_dir() else [place]
    return content_hash({path.relative_to(ROOT).as_posix(): python_hash(path) for path in files})


def python_hash(path: Path) -> str:
    """sha256 (hex) of what a Python file does; of its bytes where it is no valid Python."""
    return _read(path.read_bytes(), ()).digest


@dataclass(frozen=True, slots=True)
class _Source:
    """A Python file: the hash of what it does, and the dotted names that it imports."""

    digest: str
    imports: tuple[str, ...]


@lru_cache(maxsize=1024)
def _read(source: bytes, package: tuple[str, ...]) -> _Source:
    """Remembered by content: reading the same text again costs nothing."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return _Source(hashlib.sha256(source).hexdigest(), ())
    nodes = list(ast.walk(tree))
    imports = tuple(dict.fromkeys(name for node in nodes for name in _names(node, package)))
    for node in nodes:
        _drop_words(node)
    return _Source(hashlib.sha256(ast.dump(tree, annotate_fields=False).encode()).hexdigest(), imports)


def _drop_words(node: ast.AST) -> None:
    body = getattr(node, "body", None)
    if isinstance(body, list):
        node.body = [item for item in body if not _is_text(item)]  # type: ignore[attr-defined]
    if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "Field":
        node.keywords = [word for word in node.keywords if word.arg != "description"]


def _is_text(node: ast.AST) -> bool:
    """A docstring, or a string that stands alone behind an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def read_ahead() -> None:
    """Read all Python of the house, so that this process, and those forked from it, parse none of it again.

    It is still read anew where it is asked for: a text that has changed is parsed.
    """
    for top in sorted(HOUSE):
        for path in (ROOT.parent / top).rglob("*.py"):
            _read(path.read_bytes(), path.relative_to(ROOT.parent).parts[:-1])


@dataclass(frozen=True, slots=True)
class Code:
    """What a thing of a plug-in's consists of: a hash, and the import names of the libraries that it uses."""

    digest: str
    imports: frozenset[str]


def plugin_code(*classes: type) -> Code:
    """The code behind classes: their modules, what those import of the house and of their own package, all its files.

    Read anew at every call. The package `harness` is left out: its rooms are hashed apart.
    """
    found = _closure(classes)
    return Code(content_hash(found.files), frozenset(found.libraries))


def _closure(classes: Iterable[type]) -> _Closure:
    found = _Closure()
    for offered in classes:
        found.add(offered.__module__, plugin=True)
        for base in offered.__mro__[1:]:
            found.add(base.__module__)
    return found


_FIRST: dict[str, dict[str, str]] = {}
"""Module -> Python files behind it and what they did, when this process first asked whether they changed."""


def edited(offered: type) -> bool:
    """Whether Python files behind a class changed since this process first asked: what it runs is then not in them."""
    found = _closure([offered])
    now = {name: found.files[name] for name in found.python}
    return _FIRST.setdefault(offered.__module__, now) != now


@dataclass
class _Closure:
    """Files that were reached, by a name that is the same on every machine, and libraries that were named."""

    files: dict[str, str] = field(default_factory=dict)
    python: set[str] = field(default_factory=set)
    """Those of the files that are Python."""
    libraries: set[str] = field(default_factory=set)
    _seen: set[str] = field(default_factory=set)
    _plugins: frozenset[str] = field(default_factory=plugin_distributions)

    def add(self, module: str, *, plugin: bool = False) -> None:
        """A module and all that it needs, function-level imports too; `plugin`: it is no library, whatever its name."""
        top = module.partition(".")[0]
        if top == "harness" or (top != "__main__" and top in sys.stdlib_module_names):
            return
        name = module if top in HOUSE else top
        if name in self._seen:
            return
        self._seen.add(name)
        if top in HOUSE:
            self._house(module)
        elif not plugin and self._is_library(top):
            self.libraries.add(top)
        else:
            self._stranger(top)

    def _is_library(self, top: str) -> bool:
        """Whether a package comes from an installed wheel that is no plug-in: it is named by its version."""
        return bool(found := set(owners(top))) and not found & self._plugins

    def _house(self, module: str) -> None:
        path = ROOT.parent.joinpath(*module.split("."))
        for candidate in (path.with_suffix(".py"), path / "__init__.py"):
            if candidate.is_file():
                self._python(module, candidate)

    def _stranger(self, top: str) -> None:
        """A third party's package with everything in it, or its single module."""
        place = _place(top)
        if place is None:
            self.files[top] = _UNSAVED
        elif place.is_dir():
            for path in _files_below(place):
                name = f"{top}/{path.relative_to(place).as_posix()}"
                if path.suffix == ".py":
                    self._python(name, path)
                else:
                    self.files[name] = file_hash(path)
        else:
            self._python(top, place)

    def _python(self, name: str, path: Path) -> None:
        parts = tuple(name.split("."))
        read = _read(path.read_bytes(), parts if path.name == "__init__.py" else parts[:-1])
        self.files[name] = read.digest
        self.python.add(name)
        for wanted in read.imports:
            self.add(wanted)


def _files_below(place: Path) -> Iterator[Path]:
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and not NOT_CODE & set(path.relative_to(place).parts):
            yield path


def _names(node: ast.AST, package: tuple[str, ...]) -> Iterable[str]:
    """What a node imports; `from a import b` gives `a` and `a.b`. `package` is what a relative import starts from."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    above = package[: len(package) - node.level + 1] if node.level else []
    origin = ".".join([*above, *([node.module] if node.module else [])])
    return [origin, *(f"{origin}.{alias.name}" for alias in node.names)] if origin else []


def _place(top: str) -> Path | None:
    """The folder or the file of a top-level module; None for code that was typed in."""
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None)
    places: Sequence[str] = list(getattr(module, "__path__", ()))
    if module is None:
        try:
            spec = importlib.util.find_spec(top)
        except (ImportError, ValueError):
            spec = None
        file = spec.origin if spec is not None else None
        places = list(spec.submodule_search_locations or ()) if spec is not None else ()
    found = next(iter(places), file)
    path = Path(found) if found else None
    return path if path is not None and path.exists() else None
