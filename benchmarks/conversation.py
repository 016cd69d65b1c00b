"""The one conversation that every peer records: same texts, same sizes, marked so that the sink can tell what arrived.

Word salad with numbers, not one sentence over and over: it shrinks under gzip as English prose does (about 3:1). Each
question and each answer begins and ends with a mark that carries the number of the call, and the system prompt with
marks of its own: what was cut anywhere, or changed in between, is found out by comparing.
"""

from __future__ import annotations

import random
from functools import cache
from typing import Any

SYSTEM_BYTES = 600
_PROSE = """the order account customer policy refund delivery tracking number please we have checked your payment was
received on and it will arrive within three working days because of weather delay in region north package damaged
replacement invoice tax item price quantity support agent answer question model token context system user assistant
tool function result error retry cache cost tenant project span trace metric latency budget limit quota"""
_WORDS = _PROSE.split()
_VARIANTS = 64
_MARK_BYTES = 24
"""Both marks of a text together."""
_PIECE_BYTES = 65_536
"""Longer texts repeat one of this length: beyond gzip's window, so no better compressed, and made in a moment."""


@cache
def prose(size: int, seed: int) -> str:
    """`size` bytes of words and hexadecimal numbers."""
    if size > _PIECE_BYTES:
        piece = prose(_PIECE_BYTES, seed)
        return (piece * (size // _PIECE_BYTES + 1))[:size]
    source = random.Random(seed)
    words: list[str] = []
    length = 0
    while length < size:
        word = source.choice(_WORDS) if source.random() > 0.12 else f"{source.getrandbits(28):x}"
        words.append(word)
        length += len(word) + 1
    return " ".join(words)[:size]


def system_prompt() -> str:
    """The same in every call."""
    return f"<s{0:09d}<{system_text()}>s{0:09d}>"


def system_text() -> str:
    """What stands between the marks of the system prompt."""
    return prose(SYSTEM_BYTES - _MARK_BYTES, 1)


def question_text(number: int, content_bytes: int = 2000) -> str:
    """What stands between the marks of question `number`."""
    return prose(max(100, int((content_bytes - SYSTEM_BYTES) * 0.57) - _MARK_BYTES), 1000 + number % _VARIANTS)


def answer_text(number: int, content_bytes: int = 2000) -> str:
    """What stands between the marks of answer `number`."""
    return prose(max(100, int((content_bytes - SYSTEM_BYTES) * 0.43) - _MARK_BYTES), 5000 + number % _VARIANTS)


def question(number: int, content_bytes: int = 2000) -> str:
    """The user's text of call `number`: its share of what the system prompt leaves of `content_bytes`."""
    return f"<q{number:09d}<{question_text(number, content_bytes)}>q{number:09d}>"


def answer(number: int, content_bytes: int = 2000) -> str:
    """The model's text of call `number`."""
    return f"<a{number:09d}<{answer_text(number, content_bytes)}>a{number:09d}>"


def messages(number: int, content_bytes: int = 2000) -> list[dict[str, str]]:
    """The messages of call `number`."""
    return [
        {"role": "system", "content": system_prompt()},
        {"role": "user", "content": question(number, content_bytes)},
    ]


def call(number: int, api_base: str, content_bytes: int = 2000, **more: Any) -> dict[str, Any]:
    """Keyword arguments of the litellm call `number`."""
    return {
        "model": "openai/gpt-4o-mini",
        "messages": messages(number, content_bytes),
        "api_base": api_base,
        "api_key": "sk-bench",
        "temperature": 0.2,
        "max_tokens": 256,
        "user": "tenant-7",
        "num_retries": 0,
        **more,
    }
