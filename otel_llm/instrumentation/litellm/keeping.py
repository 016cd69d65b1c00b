"""What a call was given and what it answered, as they are at this moment, for when there is time to read them.

A program goes on with its list of messages and its answer while we have not read them yet. So the lists, dicts and
models that can change are copied as deep as they are read; texts and numbers are what they are. Nothing is read here,
no method of a foreign class is called, and what is not known to be read later is left where it is.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from otel_llm.instrumentation.litellm.forms import BATCH, CONTENTS, INTERACTIONS, MESSAGES, REALTIME, RUNS
from otel_llm.instrumentation.litellm.gemini_words import ANSWER_MEMBERS
from otel_llm.instrumentation.litellm.reading import get, hidden_of, readable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.instrumentation.litellm.forms import Form

__all__ = ["ATOMS", "KeptAnswer", "is_model", "kept", "kept_answer", "kept_arguments", "weight"]

ATOMS: Final = frozenset({str, int, float, bool, type(None)})
"""What cannot change and holds nothing that can."""

_DEPTHS: Final = {
    "messages": 4,
    "input": 4,
    "prompt": 2,
    "query": 1,
    "instructions": 3,
    "system": 3,
    "contents": 5,
    "tools": 3,
    "functions": 3,
    "metadata": 2,
    "litellm_metadata": 2,
    "model_info": 1,
    "response_format": 1,
    "reasoning": 1,
    "conversation": 1,
    "text": 2,
    "modalities": 1,
    "stop": 1,
}
"""Arguments that are read when the call is over, and how many levels of them can have changed until then."""
_CONTENT: Final = frozenset({"messages", "input", "prompt", "instructions", "system", "contents", "functions"})
_ANSWER_DEPTH: Final = 7

_ALWAYS: Final = ("id", "model", "service_tier", "system_fingerprint", "usage")
_READ: Final[dict[str, tuple[str, ...]]] = {
    "completion": (*_ALWAYS, "choices"),
    "text_completion": (*_ALWAYS, "choices"),
    "responses": (*_ALWAYS, "status", "incomplete_details", "output"),
    MESSAGES: (*_ALWAYS, "role", "content", "stop_reason"),
    CONTENTS: ANSWER_MEMBERS,
    INTERACTIONS: (*_ALWAYS, "agent", "status", "steps", "outputs"),
    BATCH: (*_ALWAYS, "status"),
    RUNS: (*_ALWAYS, "status", "incomplete_details"),
    REALTIME: (*_ALWAYS, "status", "status_details", "output"),
    "rerank": (*_ALWAYS, "meta", "results"),
    "image_generation": (*_ALWAYS, "data", "size"),
    "image_edit": (*_ALWAYS, "data", "size"),
    "image_variation": (*_ALWAYS, "data", "size"),
    "ocr": (*_ALWAYS, "pages"),
    "search": (*_ALWAYS, "results"),
    "transcription": (*_ALWAYS, "text", "duration"),
}
"""Family of calls -> what is read of an answer."""
_HIDDEN: Final = frozenset(
    {
        "cache_hit",
        "api_base",
        "response_cost",
        "additional_headers",
        "provider_specific_fields",
        "audio_transcription_duration",
        "provider_response_model",
    }
)
"""What is read of what litellm keeps beside an answer."""


_HEAVY: Final = frozenset(
    {
        "messages",
        "choices",
        "content",
        "prompt",
        "input",
        "instructions",
        "data",
        "output",
        "pages",
        "results",
        "steps",
    }
)
"""Where texts are, or lists of them or of messages."""


class KeptAnswer(dict[str, Any]):
    """An answer's members by name, and the answer itself for litellm's own functions."""

    original: object = None


def kept_arguments(form: Form, arguments: Mapping[str, Any], *, content: bool) -> dict[str, Any]:
    """The arguments of a call as they are now; without `content` no texts, unless those of a stream, to be counted."""
    texts = content or arguments.get("stream") is True or form.family == "speech"
    made: dict[str, Any] = {}
    for name, value in arguments.items():
        if type(value) in ATOMS:
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
    names = _READ.get(form.family, _ALWAYS)
    if _says_only_members(type(answer), names):  # type: ignore[arg-type]  # classes can be hashed
        own, extra, hidden = _state_of(answer)
        for name in names:
            value = own[name] if name in own else extra.get(name)
            made[name] = value if type(value) in ATOMS else kept(value, _ANSWER_DEPTH)
    else:
        hidden = hidden_of(answer)
        for name in names:
            made[name] = kept(get(answer, name), _ANSWER_DEPTH)
    found = made["_hidden_params"] = {}
    for name in _HIDDEN.intersection(hidden):
        value = hidden[name]
        found[name] = value if type(value) in ATOMS else kept(value, 2)
    return made


def weight(values: Mapping[str, Any]) -> int:
    """About the bytes that arguments or an answer hold on to: texts of messages, which are most of it."""
    total = 1024
    for name in _HEAVY.intersection(values):
        content = values[name]
        if type(content) is str:
            total += len(content)
        elif type(content) is list:
            for part in content:
                text = get(part.get("message") or part, "content") if type(part) is dict else part
                total += len(text) if type(text) is str else 1024
    return total


def kept(value: Any, depth: int) -> Any:
    """A list, dict or model as it is now, as many levels of it as can have changed until it is read."""
    kind = type(value)
    if depth == 0 or kind in ATOMS:
        return value
    # `copy` and `list` copy in one go, so that another thread cannot change it in the middle.
    if kind is dict:
        made = value.copy()
    elif kind is list or kind is tuple:
        return [entry if type(entry) in ATOMS else kept(entry, depth - 1) for entry in list(value)]
    elif is_model(kind):  # type: ignore[arg-type]
        made = object.__getattribute__(value, "__dict__").copy()
        extra = getattr(value, "__pydantic_extra__", None)
        if type(extra) is dict and extra:
            made.update(extra)
    else:
        return value
    if not ATOMS.issuperset(map(type, made.values())):
        for key, entry in made.items():
            if type(entry) not in ATOMS:
                made[key] = kept(entry, depth - 1)
    return made


def _state_of(model: Any) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """The members of a pydantic model: declared ones, others, and what litellm keeps beside them."""
    own = object.__getattribute__(model, "__dict__")
    extra = object.__getattribute__(model, "__pydantic_extra__")
    private = object.__getattribute__(model, "__pydantic_private__")
    hidden = private.get("_hidden_params") if type(private) is dict else None
    return own, extra if type(extra) is dict else {}, hidden if type(hidden) is dict else hidden_of(model)


@lru_cache(maxsize=256)
def _says_only_members(kind: type, names: tuple[str, ...]) -> bool:
    """Whether a class is a model that answers for `names` with its members and nothing else: no property, no default.

    Then they need not be asked for one by one, which for a name that is missing runs some of pydantic's Python.
    """
    if not is_model(kind):
        return False
    asks = next((base for base in kind.__mro__ if "__getattr__" in vars(base)), None)
    return getattr(asks, "__module__", "") == "pydantic.main" and not any(
        name in vars(base) for base in kind.__mro__ for name in names
    )


@lru_cache(maxsize=256)
def is_model(kind: type) -> bool:
    """Whether a class is one of litellm's (or its providers' clients') pydantic models, whose state is what it says."""
    home = getattr(kind, "__module__", "")
    own = isinstance(home, str) and home.partition(".")[0] in {"litellm", "openai"}
    return own and readable(kind) and hasattr(kind, "__pydantic_validator__")
