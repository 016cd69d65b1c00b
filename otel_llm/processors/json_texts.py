"""JSON text with its strings replaced one by one: everything else of it stays as it was, byte for byte."""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # the decoder's own, without one made per string
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["is_json", "with_strings_replaced"]

_TOKEN: Final = re.compile(r'("[^"\\]*(?:\\.[^"\\]*)*")(\s*:)?|(?<![\d.eE+-])\d{7,20}(?![\d.eE])|[{}\]]', re.DOTALL)
"""A string, with the colon that makes it a member's name; a whole number long enough to be somebody's; the end of where
the last name counts."""
_OPENING: Final = ("{", "[", '"')


def is_json(text: str) -> bool:
    """Whether `text` is a JSON object, array or string."""
    if not text.lstrip()[:1].startswith(_OPENING):
        return False
    try:
        json.loads(text)
    except RecursionError:
        return True  # too deep to build, not too deep to read token by token
    except ValueError:
        return False
    return True


def with_strings_replaced(text: str, replace: Callable[[str, str], str]) -> str:
    """Valid JSON `text` with each string, names of members included, as `replace(string, name)` answers.

    `name` is that of the member whose value the string is, alone or in an array; empty for names. Long
    whole numbers are offered as strings, and become strings when they are replaced.
    """
    name = ""

    def replacement(match: re.Match[str]) -> str:
        nonlocal name
        literal, colon = match.group(1), match.group(2)
        if literal is None and match.group() in "{}]":
            name = ""
            return match.group()
        if literal is None:
            return _quoted(match.group(), replace(match.group(), name))
        string = literal[1:-1] if "\\" not in literal else scanstring(literal, 1, False)[0]  # noqa: FBT003
        if colon:
            name = string
        made = replace(string, "" if colon else name)
        return match.group() if made == string else _dump(made) + (colon or "")

    return _TOKEN.sub(replacement, text)


def _quoted(number: str, made: str) -> str:
    return number if made == number else _dump(made)


def _dump(text: str) -> str:
    """A JSON string; a lone surrogate, which UTF-8 cannot hold, stays an escape."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)
