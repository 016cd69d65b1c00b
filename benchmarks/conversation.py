"""The one conversation that every peer records: same texts, same sizes, marked so that the sink can tell what arrived.

Word salad with numbers, not one sentence over and over: it shrinks under gzip as English prose does (about 3:1). Each
question and each answer begins and ends with a mark that carries the number of the call, so a payload that was
cut anywhere lacks one.
"""

from __future__ import annotations

import random
import re
from functools import cache
from typing import Any

SYSTEM_BYTES = 600
_PROSE = """the order account customer policy refund delivery tracking number please we have checked your payment was
received on and it will arrive within three working days because of weather delay in region north package damaged
replacement invoice tax item price quantity support agent answer question model token context system user assistant
tool function result error retry cache cost tenant project span trace metric latency budget limit quota"""
_WORDS = _PROSE.split()
_VARIANTS = 64

MARKS = {
    "question begins": re.compile(rb"<q(\d{9})<"),
    "question ends": re.compile(rb">q(\d{9})>"),
    "answer begins": re.compile(rb"<a(\d{9})<"),
    "answer ends": re.compile(rb">a(\d{9})>"),
}
"""What the sink looks for in all that arrives, JSON or protobuf. (JSON of some peers escapes `<`, see `sink`.)"""


@cache
def prose(size: int, seed: int) -> str:
    """About `size` bytes of words and hexadecimal numbers."""
    source = random.Random(seed)
    words: list[str] = []
    length = 0
    while length < size:
        word = source.choice(_WORDS) if source.random() > 0.12 else f"{source.getrandbits(28):x}"
        words.append(word)
        length += len(word) + 1
    return " ".join(words)[:size]


def question(number: int, content_bytes: int = 2000) -> str:
    """The user's text of call `number`: what is left of `content_bytes` after system prompt and answer."""
    size = max(100, int((content_bytes - SYSTEM_BYTES) * 0.57) - 24)
    return f"<q{number:09d}<{prose(size, 1000 + number % _VARIANTS)}>q{number:09d}>"


def answer(number: int, content_bytes: int = 2000) -> str:
    """The model's text of call `number`."""
    size = max(100, int((content_bytes - SYSTEM_BYTES) * 0.43) - 24)
    return f"<a{number:09d}<{prose(size, 5000 + number % _VARIANTS)}>a{number:09d}>"


def messages(number: int, content_bytes: int = 2000) -> list[dict[str, str]]:
    """The messages of call `number`; the system prompt is the same in every call."""
    return [
        {"role": "system", "content": prose(SYSTEM_BYTES, 1)},
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
