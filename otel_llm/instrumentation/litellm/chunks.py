"""A chunk of a stream as it is at the moment when the program gets it, for when there is time to read it.

What a program does to a chunk, to its text or to the model's name in it, must not change what is recorded. So what is
read of a chunk is taken out of it at once.
"""

from __future__ import annotations

from typing import Any, Final

from otel_llm.instrumentation.litellm.keeping import is_model, kept
from otel_llm.instrumentation.litellm.reading import get, items

__all__ = ["kept_chunk"]

_CHUNK: Final = ("id", "model", "choices", "usage", "system_fingerprint", "service_tier", "type", "delta", "response")
_CHOICE: Final = ("index", "finish_reason", "delta", "text")
_DELTA: Final = ("content", "reasoning_content", "tool_calls", "function_call", "audio")
_CALL: Final = ("index", "id", "function")
_FUNCTION: Final = ("name", "arguments")
"""What is read of chunks of chat and text, of events of Responses, and of what is in them."""
_HIDDEN: Final = "provider_response_model"
_USAGE_DEPTH: Final = 3


def kept_chunk(chunk: Any) -> dict[str, Any]:
    """What is read of a chunk, by name; a whole answer at the end of a stream is left as it is."""
    made = _taken(chunk, _CHUNK)
    choices = made.get("choices")
    if choices is not None:
        made["choices"] = [_choice(choice) for choice in items(choices)]
    usage = made.get("usage")
    if usage is not None:
        made["usage"] = kept(usage, _USAGE_DEPTH)
    private = chunk.__pydantic_private__ if is_model(type(chunk)) else None  # type: ignore[arg-type]
    hidden = private.get("_hidden_params") if private else get(chunk, "_hidden_params")
    said = hidden.get(_HIDDEN) if type(hidden) is dict else get(hidden, _HIDDEN)
    if said is not None:
        made["_hidden_params"] = {_HIDDEN: said}
    return made


def _choice(choice: Any) -> dict[str, Any]:
    made = _taken(choice, _CHOICE)
    delta = made.get("delta")
    if delta is not None:
        said = made["delta"] = _taken(delta, _DELTA)
        if said.get("tool_calls") is not None:
            said["tool_calls"] = [_call(call) for call in items(said["tool_calls"])]
        if said.get("function_call") is not None:
            said["function_call"] = _taken(said["function_call"], _FUNCTION)
    return made


def _call(call: Any) -> dict[str, Any]:
    made = _taken(call, _CALL)
    if made.get("function") is not None:
        made["function"] = _taken(made["function"], _FUNCTION)
    return made


def _taken(source: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The members of a dict or of one of litellm's models, at whatever they are now; of anything else those named."""
    kind = type(source)
    if kind is dict:
        return source.copy()  # type: ignore[no-any-return]
    if not is_model(kind):  # type: ignore[arg-type]
        return {name: get(source, name) for name in names}
    made: dict[str, Any] = source.__dict__.copy()
    extra = source.__pydantic_extra__
    if extra:
        made.update(extra)
    return made
