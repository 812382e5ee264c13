"""A template's clock stands still, whatever else stays as it was; chance is refused."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from harness.contracts import HarnessError
from harness.models.load import load
from harness.models.templates import clock, steady
from harness.models.wheels import files_in
from tests.tiny import tiny_folder

CLOCK = "Today: {{ strftime_now('%d %B %Y, %H:%M:%S') }}\n"
TURNS = [{"role": "user", "content": "Hello"}]


def render(template: str, **values: Any) -> str:
    from transformers.utils.chat_template_utils import _compile_jinja_template

    return str(_compile_jinja_template(template).render(**values))


def test_the_clock_shows_one_moment_in_every_form() -> None:
    assert render(steady(CLOCK, "m")) == "Today: 26 July 2024, 12:00:00"
    guarded = "{% if strftime_now is defined %}{{ strftime_now('%Y') | int + 1 }}{% endif %}"
    assert render(steady(guarded, "m")) == "2025"
    inside = "{% macro day() %}{{ strftime_now('%A') }}{% endmacro %}{% for m in messages %}{{ day() }}{% endfor %}"
    assert render(steady(inside, "m"), messages=TURNS) == "Friday"


@pytest.mark.parametrize("start", ["", "\n", "\n\n", "  ", "  \n ", "x", "{{ '' }}\n", "{%- set a = 1 %}\n"])
def test_nothing_but_the_clock_changes(start: str) -> None:
    plain = start + "{% for m in messages %}{{ m['content'] }}\n{% endfor %}"
    timed = steady(plain + "{{ strftime_now('%Y') }}", "m")
    assert render(timed, messages=TURNS) == render(plain, messages=TURNS) + "2024"
    assert steady(timed, "m") == timed
    assert steady(plain, "m") == plain


def test_marks_and_loops_of_transformers_are_read() -> None:
    text = "{% for m in messages %}{% generation %}{{ m['content'] }}{% endgeneration %}{% break %}{% endfor %}"
    assert render(steady(text + CLOCK, "m"), messages=TURNS).startswith("HelloToday: 26 July")


@pytest.mark.parametrize("text", ["{{ ['a', 'b'] | random }}", "{{ lipsum() }}"])
def test_chance_is_refused(text: str) -> None:
    with pytest.raises(HarnessError, match=r"chat template of model m uses .*no prompt is the same twice"):
        steady(text, "m")


def test_what_is_no_template_is_refused() -> None:
    with pytest.raises(HarnessError, match="no Jinja template"):
        steady("{% for %}", "m")


def test_a_loaded_model_has_a_standing_clock_and_says_so(tmp_path: Path) -> None:
    folder = tiny_folder(tmp_path / "m")
    assert clock(folder) is None
    template = folder / "chat_template.jinja"
    template.write_text(CLOCK + template.read_text())
    _, tokenizer = load(files_in("m", folder, "unknown"), device="cpu", precision="fp32")
    shown = tokenizer.apply_chat_template(TURNS, tokenize=False)
    assert shown.startswith("Today: 26 July 2024, 12:00:00\n")
    assert str(datetime.datetime.now(datetime.UTC).year) not in shown
    tokenizer.save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "chat_template.jinja").read_text() == tokenizer.chat_template
    assert clock(folder) == "2024-07-26 12:00"
