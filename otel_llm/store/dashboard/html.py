"""HTML out of Python, with everything escaped here and nowhere else.

Prompts, names and attribute keys come from outside, and some are written by people who would like a script of theirs to
run. A page is built of `tag`, which escapes whatever is not the result of another `tag`.
"""

from __future__ import annotations

import html
from typing import Final

from otel_llm.store.human import TURNS_TEXT_AROUND

__all__ = ["Html", "document", "tag", "text", "together"]

_WITHOUT_END: Final = frozenset({"br", "input", "link", "meta"})
_SHOWN: Final[dict[int, int | str]] = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
    **{ord(turn): f"\\u{ord(turn):04x}" for turn in TURNS_TEXT_AROUND},
}
"""Control characters, which HTML does not allow, as the pictures that Unicode has of them; and those that turn the
direction of writing spelt out, as in a terminal."""


class Html(str):
    """Text that is HTML already. Made by this module only."""

    __slots__ = ()


def text(value: object) -> Html:
    """`value` as the text that a reader sees, whatever it holds."""
    if isinstance(value, Html):
        return value
    return Html(html.escape(str(value).translate(_SHOWN), quote=True))


def tag(name: str, /, *content: object, **attributes: object) -> Html:
    """An element. Content that is None is left out, and so are attributes that are None or False; True has no value.

    Names of attributes are keywords: a trailing `_` is dropped, others are `-`.
    """
    given = "".join(
        f" {_name(key)}" if value is True else f' {_name(key)}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _WITHOUT_END:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{together(*content)}</{name}>")


def together(*content: object) -> Html:
    """Several pieces, one after the other."""
    return Html("".join(text(piece) for piece in content if piece is not None))


def document(root: Html) -> bytes:
    """The whole page as bytes; half characters, which UTF-8 does not have, are spelt out."""
    return f"<!doctype html>\n{root}\n".encode("utf-8", "backslashreplace")


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
