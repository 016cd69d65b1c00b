"""What one recorded exchange says, in the words of the GenAI conventions but with names of our own.

`None` means that nothing was said; an empty string or 0 was said.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Asking", "Message", "ToolCall", "Usage"]


@dataclass(frozen=True)
class ToolCall:
    """A function that the model wants called."""

    name: str
    arguments: Any
    """Parsed from JSON; the text itself where it is not JSON."""
    id: str | None = None


@dataclass(frozen=True)
class Message:
    """One message, its parts gathered by kind: how text is cut into parts is nobody's promise."""

    role: str
    text: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[tuple[str | None, str], ...] = ()
    """(id of the call, what the tool answered) per result."""
    media: tuple[str, ...] = ()
    """Modality of each image, document ... that is not text."""


@dataclass(frozen=True)
class Usage:
    """Tokens by kind. Parts are counted in their whole: cached in input, reasoning in output."""

    input: int | None = None
    output: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None

    @property
    def is_silent(self) -> bool:
        """Whether the provider said nothing about usage."""
        return self == Usage()


@dataclass(frozen=True)
class Answer:
    """What the provider answered."""

    model: str | None = None
    id: str | None = None
    finish_reasons: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    messages: tuple[Message, ...] = ()
    error_status: int | None = None
    """HTTP status of a failed call."""


@dataclass(frozen=True)
class Asking:
    """What was asked."""

    provider: str
    model: str
    operation: str
    stream: bool
    parameters: dict[str, Any]
    """By the last words of the convention's name: `temperature`, `max_tokens`, `reasoning.level` ..."""
    messages: tuple[Message, ...]
    """System instructions first, as messages of the role `system`."""
    tools: tuple[str, ...]
    """Names of the functions offered."""
