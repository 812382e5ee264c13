"""What language-model judges read: the comparison prompt, versioned, and a conversation as plain text."""

from __future__ import annotations

from harness.contracts import Messages, user

VERSION = "1"
"""Rises with every change of a word below: it is part of a judge's version."""
IDENTIFIERS = ("A", "B")
SYSTEM = "You are a careful grader. You compare two answers to the same instruction and say which one is better."
TEMPLATE = """Here are an instruction and two answers to it.

Instruction:
{instruction}

Answer A:
{first}

Answer B:
{second}

Which answer does what the instruction asks more correctly and completely? A longer answer is not better for its length.
Reply with one letter only: A or B."""


def comparison(instruction: str, first: str, second: str) -> Messages:
    """The prompt that asks for one of `IDENTIFIERS`; braces in the texts stay as they are."""
    return user(TEMPLATE.format(instruction=instruction, first=first, second=second), system=SYSTEM)


def conversation(messages: Messages) -> str:
    """A prompt as plain text: the one turn of a simple one, else every turn under its speaker's name."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in messages)
