"""What a call was given and what it answered, as they are at this moment, for when there is time to read them.

A program goes on with its list of messages and its answer while we have not read them yet. So the lists, dicts and
models that can change are copied as deep as they are read; texts and numbers are what they are. Nothing is read here,
no method of a foreign class is called, and what is not known to be read later is left where it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from otel_llm.instrumentation.litellm.reading import get, hidden_of, readable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.instrumentation.litellm.forms import Form

__all__ = ["KeptAnswer", "is_model", "kept", "kept_answer", "kept_arguments", "weight"]

_ATOMS: Final = frozenset({str, int, float, bool, type(None)})

_DEPTHS: Final = {
    "messages": 4,
    "input": 4,
    "prompt": 2,
    "instructions": 3,
    "tools": 3,
    "functions": 3,
    "metadata": 2,
    "litellm_metadata": 2,
    "model_info": 1,
    "response_format": 1,
    "reasoning": 1,
    "text": 2,
    "modalities": 1,
    "stop": 1,
}
"""Arguments that are read when the call is over, and how many levels of them can have changed until then."""
_CONTENT: Final = frozenset({"messages", "input", "prompt", "instructions", "functions"})
_ANSWER_DEPTH: Final = 7

_ALWAYS: Final = ("id", "model", "service_tier", "system_fingerprint", "usage")
_READ: Final[dict[str, tuple[str, ...]]] = {
    "completion": (*_ALWAYS, "choices"),
    "text_completion": (*_ALWAYS, "choices"),
    "responses": (*_ALWAYS, "status", "incomplete_details", "output"),
    "rerank": (*_ALWAYS, "meta", "results"),
    "image_generation": (*_ALWAYS, "data", "size"),
    "transcription": (*_ALWAYS, "text", "duration"),
}
"""Family of calls -> what is read of an answer."""
_HIDDEN: Final = (
    "cache_hit",
    "api_base",
    "response_cost",
    "additional_headers",
    "provider_specific_fields",
    "audio_transcription_duration",
    "provider_response_model",
)
"""What is read of what litellm keeps beside an answer."""


class KeptAnswer(dict[str, Any]):
    """An answer's members by name, and the answer itself for litellm's own functions."""

    original: object = None


def kept_arguments(form: Form, arguments: Mapping[str, Any], *, content: bool) -> dict[str, Any]:
    """The arguments of a call as they are now; without `content` no texts, unless those of a stream, to be counted."""
    texts = content or arguments.get("stream") is True or form.family == "speech"
    made: dict[str, Any] = {}
    for name, value in arguments.items():
        if type(value) in _ATOMS:
            made[name] = value
        elif name in _CONTENT and (not texts or form.family == "embedding"):
            continue
        else:
            depth = _DEPTHS.get(name)
            made[name] = value if depth is None else kept(value, depth)
    return made


def kept_answer(form: Form, answer: object) -> KeptAnswer:
    """What is read of an answer, as it is now."""
    made = KeptAnswer()
    made.original = answer
    for name in _READ.get(form.family, _ALWAYS):
        value = get(answer, name)
        made[name] = value if type(value) in _ATOMS else kept(value, _ANSWER_DEPTH)
    hidden = hidden_of(answer)
    made["_hidden_params"] = {name: kept(hidden[name], 2) for name in _HIDDEN if name in hidden}
    return made


def weight(values: Mapping[str, Any]) -> int:
    """About the bytes that arguments or an answer hold on to: texts of messages, which are most of it."""
    total = 1024
    for name in ("messages", "choices"):
        for entry in values.get(name) or ():
            content = get(entry.get("message") or entry, "content") if type(entry) is dict else entry
            total += len(content) if type(content) is str else 1024
    for name in ("prompt", "input", "instructions", "data", "output"):
        content = values.get(name)
        if type(content) is str:
            total += len(content)
        elif type(content) is list:
            total += sum(len(part) if type(part) is str else 1024 for part in content)
    return total


def kept(value: Any, depth: int) -> Any:
    """A list, dict or model as it is now, as many levels of it as can have changed until it is read."""
    kind = type(value)
    if kind in _ATOMS or depth == 0:
        return value
    below = depth - 1
    if kind is dict:  # `list` copies in one go, so that another thread cannot change it in the middle
        return {key: entry if type(entry) in _ATOMS else kept(entry, below) for key, entry in list(value.items())}
    if kind is list or kind is tuple:
        return [entry if type(entry) in _ATOMS else kept(entry, below) for entry in list(value)]
    if is_model(kind):  # type: ignore[arg-type]
        own = object.__getattribute__(value, "__dict__")
        made = {key: entry if type(entry) in _ATOMS else kept(entry, below) for key, entry in list(own.items())}
        extra = getattr(value, "__pydantic_extra__", None)
        if type(extra) is dict and extra:
            made.update(kept(extra, depth))
        return made
    return value


@lru_cache(maxsize=256)
def is_model(kind: type) -> bool:
    """Whether a class is one of litellm's (or its providers' clients') pydantic models, whose state is what it says."""
    home = getattr(kind, "__module__", "")
    own = isinstance(home, str) and home.partition(".")[0] in {"litellm", "openai"}
    return own and readable(kind) and hasattr(kind, "__pydantic_validator__")
