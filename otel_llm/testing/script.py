"""What a fake provider shall answer: replies, failures, and the order in which they are used."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Action", "Canned", "Hang", "Reply", "Reset", "Rule", "Script", "ToolCall", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that an answer claims to have used.

    `input_tokens` is the whole prompt, the cached part included; each wire format then splits it its own way.
    `output_tokens` likewise includes `reasoning_tokens`.
    """

    input_tokens: int
    output_tokens: int = 0
    cache_read_tokens: int = 0
    """Prompt tokens that the provider read from its prompt cache."""
    cache_write_tokens: int = 0
    """Prompt tokens that the provider wrote to its prompt cache (only Anthropic's format can say so)."""
    reasoning_tokens: int = 0
    """Output tokens spent on reasoning (only OpenAI's formats can say so)."""

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool that the model asks for."""

    name: str
    arguments: Mapping[str, Any] | str = field(default_factory=dict)
    """The arguments; a string is sent as it is, so that broken JSON can be sent too."""
    id: str = ""
    """The call's id; one is made up when it is empty."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model says, and how fast. Used for every operation that answers with text."""

    chunks: tuple[str, ...] = ()
    """The text, in the pieces in which a stream delivers it; a plain request gets them joined."""
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str = ""
    """Reasoning that precedes the answer."""
    usage: Usage | None = None
    """None: counted from the texts with `count_tokens`."""
    model: str | None = None
    """The model that the response names; None: the one that was asked for."""
    finish_reason: str | None = None
    """In OpenAI's words (`stop`, `length`, `tool_calls`, `content_filter`); None: what fits the reply."""
    delay: float = 0.0
    """Seconds before the response begins."""
    first_chunk_delay: float = 0.0
    """Seconds between a stream's headers and its first content."""
    chunk_delay: float = 0.0
    """Seconds before each further piece of content of a stream."""
    fail_after: int | None = None
    """Break a stream after so many pieces of content; None: never. Plain requests do not look at it."""
    fail_with: Literal["cut", "error"] = "cut"
    """How a stream breaks: the connection is cut, or an error event is sent."""


@dataclass(frozen=True, slots=True)
class Canned:
    """A response given literally: an error, or a body that is not what it should be."""

    status: int
    body: Any = None
    """Bytes and strings are sent as they are, anything else as JSON; None: the provider's usual error body."""
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Reset:
    """The connection is reset (TCP RST) instead of an answer."""

    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Hang:
    """The request is read and nothing is answered, until the client gives up or the provider stops."""


Action: TypeAlias = "Reply | Canned | Reset | Hang"


@dataclass(slots=True)
class Rule:
    """An action, which requests it is for, and how often it may still be used."""

    action: Action
    times: int | None = 1
    """None: for ever."""
    model: str | None = None
    path: str | None = None
    """The end of the path, for example `chat/completions`."""

    def fits(self, *, model: str | None, path: str, answers_with_text: bool) -> bool:
        """Whether this rule is for such a request."""
        if self.times == 0 or (isinstance(self.action, Reply) and not answers_with_text):
            return False
        if self.model is not None and self.model != model:
            return False
        return self.path is None or path.endswith(self.path)


class Script:
    """Rules in the order in which they were given; each request takes the first that fits."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        """Append a rule."""
        with self._lock:
            self._rules.append(rule)

    def clear(self) -> None:
        """Forget all rules."""
        with self._lock:
            self._rules.clear()

    def take(self, *, model: str | None, path: str, answers_with_text: bool) -> Action | None:
        """Use up the first rule that fits once; None if there is none."""
        with self._lock:
            for rule in self._rules:
                if rule.fits(model=model, path=path, answers_with_text=answers_with_text):
                    if rule.times is not None:
                        rule.times -= 1
                    return rule.action
        return None

    def pending(self) -> int:
        """How many scripted uses nobody has asked for yet; rules without a limit do not count."""
        with self._lock:
            return sum(rule.times or 0 for rule in self._rules)
