"""Chat templates that read the clock get a fixed date; templates that use chance are refused.

A template may call `strftime_now`, which transformers lets tell the time of day: the same prompt would be another one
tomorrow. A macro of the same name, put before the template, answers from one fixed moment instead.
"""

from __future__ import annotations

import datetime
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from harness.contracts import HarnessError

if TYPE_CHECKING:
    import jinja2

MOMENT = datetime.datetime(2024, 7, 26, 12, 0)
"""What the clock of a chat template shows, always: the date that Llama's templates fall back to without a clock."""
CLOCK = "strftime_now"
_DIRECTIVES = [
    "%a",
    "%A",
    "%w",
    "%d",
    "%b",
    "%B",
    "%m",
    "%y",
    "%Y",
    "%H",
    "%I",
    "%M",
    "%S",
    "%p",
    "%j",
    "%U",
    "%W",
    "%e",
    "%D",
    "%F",
    "%T",
    "%R",
    "%x",
    "%X",
    "%c",
    "%Z",
    "%z",
    "%f",
]


def steady(template: str, model: str) -> str:
    """The template with a clock that stands still; unchanged where it reads none.

    Raises HarnessError for a text that is no template, and for a template that uses chance; the error names `model`.
    """
    called = _called(template, model)
    for name in ("random", "lipsum"):
        if name in called:
            raise HarnessError(
                f"the chat template of model {model} uses {name!r}, so that no prompt is the same twice; take it out"
            )
    return _standing_clock() + template if CLOCK in called and not template.startswith(_standing_clock()) else template


def clock(folder: Path) -> str | None:
    """The date and time that a model's templates are told; None for a model whose templates do not ask."""
    named = (folder / name for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"))
    texts = (path.read_bytes() for path in (*named, *folder.glob("*/*.jinja")) if path.is_file())
    return MOMENT.isoformat(" ", "minutes") if any(CLOCK.encode() in text for text in texts) else None


def _called(template: str, model: str) -> set[str]:
    """Names and filters that a template uses."""
    import jinja2
    from jinja2 import nodes

    try:
        tree = _environment().parse(template)
    except jinja2.TemplateError as error:
        raise HarnessError(f"the chat template of model {model} is no Jinja template: {error}") from error
    names = {node.name for node in tree.find_all(nodes.Name)}
    return names | {node.name for node in tree.find_all(nodes.Filter)}


@functools.cache
def _environment() -> jinja2.Environment:
    """An environment that reads what transformers' reads, its tag `generation` too."""
    import jinja2
    import jinja2.ext
    from jinja2 import nodes

    class Generation(jinja2.ext.Extension):
        """transformers' mark around the assistant's words: here a plain block."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: jinja2.parser.Parser) -> nodes.Node:
            line = next(parser.stream).lineno
            return nodes.Scope(parser.parse_statements(("name:endgeneration",), drop_needle=True)).set_lineno(line)

    return jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])


@functools.cache
def _standing_clock() -> str:
    """A macro `strftime_now(format)` that writes the moment.

    It leaves no trace where it stands: the line break that ends it is cut as after every tag, and the template begins
    on a line of its own, as it did.
    """
    known = "".join(f"|replace('{code}','{MOMENT.strftime(code)}')" for code in _DIRECTIVES)
    return f"{{%- macro {CLOCK}(format) -%}}{{{{- format{known} -}}}}{{%- endmacro %}}\n"
