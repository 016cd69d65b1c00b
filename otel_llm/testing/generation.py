"""From a request and a reply to one finished generation, whichever wire format will carry it."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from otel_llm.testing.script import Reply, ToolCall, Usage

__all__ = ["Event", "Generation", "count_tokens", "generate", "split_words", "text_of"]

_TOKEN = re.compile(r"\w+|[^\w\s]")


def count_tokens(text: str) -> int:
    """Tokens of `text` by the fake provider's own measure: one per word and one per punctuation mark.

    Any test can repeat this count without knowing a tokenizer.
    """
    return len(_TOKEN.findall(text))


def text_of(content: Any) -> str:
    """All text inside a message's content, a prompt or an input, in order, joined by blanks.

    Understands strings, lists of them, and lists of parts (`{"type": "text", "text": ...}`) at any depth.
    Images, audio and other parts count as no text.
    """
    return " ".join(piece for piece in _texts(content) if piece)


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            yield from _texts(part)
    elif isinstance(content, Mapping):
        for key in ("text", "thinking", "content", "output"):
            yield from _texts(content.get(key))


def split_words(text: str) -> tuple[str, ...]:
    """`text` in the pieces in which a stream delivers it: one per word, blanks kept with the word after them."""
    return tuple(re.findall(r"\s*\S+|\s+$", text))


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event."""

    data: Mapping[str, Any] | str
    name: str = ""
    """The event's name; empty where the format has none."""
    content: bool = False
    """Whether it carries a piece of what the model says, as opposed to framing."""
    usage: bool = False
    """Whether the client knows the usage once it has read this event."""

    def encode(self) -> bytes:
        """The event as it goes over the wire."""
        data = self.data if isinstance(self.data, str) else json.dumps(self.data, separators=(",", ":"))
        head = f"event: {self.name}\n" if self.name else ""
        return f"{head}data: {data}\n\n".encode()


@dataclass(frozen=True, slots=True)
class Generation:
    """A reply made concrete for one request: everything that a wire format needs to write it down."""

    serial: int
    """Number of the request, from 1; ids are made of it, so that a run can be repeated."""
    model: str
    chunks: tuple[str, ...]
    tool_calls: tuple[ToolCall, ...]
    thinking: str
    usage: Usage
    finish_reason: str
    choices: int = 1
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(self.chunks)


def generate(request: Mapping[str, Any], reply: Reply | None, serial: int) -> Generation:
    """What the model answers to `request`: the scripted reply, or a deterministic one for None."""
    reply = reply if reply is not None else _default_reply(request)
    calls = tuple(_complete_call(call, f"call_fake_{serial}_{index}") for index, call in enumerate(reply.tool_calls))
    choices = max(1, int(request.get("n") or 1))
    return Generation(
        serial=serial,
        model=reply.model or str(request.get("model") or "fake-model"),
        chunks=reply.chunks,
        tool_calls=calls,
        thinking=reply.thinking,
        usage=reply.usage or _count_usage(request, reply, choices),
        finish_reason=reply.finish_reason or ("tool_calls" if calls else "stop"),
        choices=choices,
    )


def _complete_call(call: ToolCall, made_up_id: str) -> ToolCall:
    arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(dict(call.arguments))
    return ToolCall(call.name, arguments, call.id or made_up_id)


def _default_reply(request: Mapping[str, Any]) -> Reply:
    forced = _forced_tool(request)
    if forced is not None:
        return Reply(tool_calls=(ToolCall(forced),))
    said = _last_words(request)
    if _wants_json(request):
        return Reply(chunks=split_words(json.dumps({"answer": said})))
    return Reply(chunks=split_words(f"You said: {said}"))


def _last_words(request: Mapping[str, Any]) -> str:
    prompt = _prompt(request)
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], Mapping):
        return text_of(prompt[-1])
    return text_of(prompt)


def _prompt(request: Mapping[str, Any]) -> Any:
    for key in ("messages", "input", "prompt"):
        if request.get(key) is not None:
            return request[key]
    return ""


def _wants_json(request: Mapping[str, Any]) -> bool:
    wanted = request.get("response_format") or (request.get("text") or {}).get("format") or {}
    return isinstance(wanted, Mapping) and str(wanted.get("type", "")).startswith("json")


def _forced_tool(request: Mapping[str, Any]) -> str | None:
    """The tool that the request insists on: the named one, or the first where any will do."""
    choice, tools = request.get("tool_choice"), request.get("tools") or []
    if isinstance(choice, Mapping):
        named = (choice.get("function") or {}).get("name") or choice.get("name")
        if named or choice.get("type") != "any":
            return named
    elif choice != "required":
        return None
    first = tools[0] if tools else {}
    return (first.get("function") or first).get("name")


def _count_usage(request: Mapping[str, Any], reply: Reply, choices: int) -> Usage:
    asked = [text_of(_prompt(request)), text_of(request.get("system")), text_of(request.get("instructions"))]
    if request.get("tools"):
        asked.append(json.dumps(request["tools"], sort_keys=True))
    reasoning = count_tokens(reply.thinking)
    answered = count_tokens("".join(reply.chunks)) + reasoning
    for call in reply.tool_calls:
        arguments = call.arguments if isinstance(call.arguments, str) else json.dumps(dict(call.arguments))
        answered += count_tokens(call.name) + count_tokens(arguments)
    return Usage(sum(map(count_tokens, asked)), answered * choices, reasoning_tokens=reasoning * choices)
