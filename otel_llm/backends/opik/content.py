"""What went into a span and what came out, as Opik's `input` and `output`.

Each side has an ordered list of sources. The first one that is there wins; all attributes of that side are then left
out of the metadata, since they say the same in other words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from otel_llm import semconv
from otel_llm.backends.opik.messages import as_choices, as_messages
from otel_llm.backends.opik.values import Attributes, attributes_of, parsed, text_of
from otel_llm.indexed import indexed_list, is_index

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    from otel_llm.backends.opik.live import LiveSpan

__all__ = ["Content", "content_of"]

Messages: TypeAlias = "list[dict[str, Any]]"
_Lists: TypeAlias = "dict[str, list[Any]]"
"""What was flattened into many attributes, by prefix."""


class Content(NamedTuple):
    """Both sides of a span, and the attributes that they were made of."""

    input: dict[str, Any] | None
    output: dict[str, Any] | None
    used: frozenset[str]


_INPUT_INDEXED: Final = (semconv.GEN_A_PROMPT, semconv.OI_INPUT_MESSAGES)
_OUTPUT_INDEXED: Final = (semconv.GEN_A_COMPLETION, semconv.OI_OUTPUT_MESSAGES)
_TOOLS_INDEXED: Final = (semconv.OI_TOOLS, semconv.TRACELOOP_FUNCTIONS)
_INDEXED_PREFIXES: Final = (*_INPUT_INDEXED, *_OUTPUT_INDEXED, *_TOOLS_INDEXED)
_INDEXED: Final = tuple(prefix + "." for prefix in _INDEXED_PREFIXES)

_INPUT_MESSAGES: Final = (
    semconv.INPUT_MESSAGES,
    semconv.LOGFIRE_REQUEST,
    semconv.VERCEL_MESSAGES,
    semconv.PYDANTIC_AI_MESSAGES,
    semconv.ADK_LLM_REQUEST,
)
_OUTPUT_MESSAGES: Final = (semconv.OUTPUT_MESSAGES, semconv.LOGFIRE_RESPONSE, semconv.ADK_LLM_RESPONSE)

_INPUT_VALUES: Final = (
    (semconv.TOOL_CALL_ARGUMENTS, "arguments"),
    (semconv.VERCEL_TOOL_ARGUMENTS, "arguments"),
    (semconv.PYDANTIC_AI_TOOL_ARGUMENTS, "arguments"),
    (semconv.ADK_TOOL_ARGUMENTS, "arguments"),
    (semconv.RETRIEVAL_QUERY_TEXT, "query"),
    (semconv.OI_INPUT_VALUE, "input"),
    (semconv.TRACELOOP_INPUT, "input"),
    (semconv.VERCEL_PROMPT, "input"),
    (semconv.GEN_A_PROMPT, "input"),
    (semconv.PLAIN_INPUT, "input"),
)
"""Attribute, and the key its value gets in `input` if it is not an object of its own."""

_OUTPUT_VALUES: Final = (
    (semconv.TOOL_CALL_RESULT, "result"),
    (semconv.VERCEL_TOOL_RESULT, "result"),
    (semconv.PYDANTIC_AI_TOOL_RESULT, "result"),
    (semconv.ADK_TOOL_RESULT, "result"),
    (semconv.RETRIEVAL_DOCUMENTS, "documents"),
    (semconv.OI_OUTPUT_VALUE, "output"),
    (semconv.TRACELOOP_OUTPUT, "output"),
    (semconv.PYDANTIC_AI_RESULT, "output"),
    (semconv.VERCEL_OBJECT, "output"),
    (semconv.VERCEL_TEXT, "output"),
    (semconv.GEN_A_COMPLETION, "output"),
    (semconv.PLAIN_OUTPUT, "output"),
)
_TEXT_KEYS: Final = frozenset({"messages", "input", "output"})
_INPUT_NAMES: Final = frozenset(
    {
        *_INPUT_MESSAGES,
        *(name for name, _ in _INPUT_VALUES),
        semconv.SYSTEM_INSTRUCTIONS,
        semconv.TOOL_DEFINITIONS,
        semconv.VERCEL_TOOLS,
        semconv.OI_INPUT_MIME_TYPE,
    }
)
_OUTPUT_NAMES: Final = frozenset(
    {
        *_OUTPUT_MESSAGES,
        *(name for name, _ in _OUTPUT_VALUES),
        semconv.VERCEL_TOOL_CALLS,
        semconv.OI_OUTPUT_MIME_TYPE,
    }
)
_INPUT_EVENTS: Final = frozenset({*semconv.GEN_A_MESSAGE_EVENTS, semconv.GEN_A_PROMPT_EVENT})
_OUTPUT_EVENTS: Final = frozenset({semconv.GEN_A_CHOICE_EVENT, semconv.GEN_A_COMPLETION_EVENT})
CONTENT_EVENTS: Final = _INPUT_EVENTS | _OUTPUT_EVENTS
"""Events that are content, and so are not repeated in the metadata."""

_NOTHING: Final = Content(None, None, frozenset())


class Sides(NamedTuple):
    """What the names of a span's attributes tell of its content."""

    indexed: tuple[str, ...]
    """Names of content flattened into many attributes."""
    given: frozenset[str]
    """Names of what went in."""
    answered: frozenset[str]
    """Names of what came out."""
    messages: frozenset[str] | None
    """All of these, where there is nothing but messages in the conventions' form, once in and once out at most."""


def sides_of(names: tuple[str, ...]) -> Sides:
    """The names among `names` that are content."""
    indexed = tuple(name for name in names if name.startswith(_INDEXED) and _is_indexed(name))
    given, answered = _INPUT_NAMES.intersection(names), _OUTPUT_NAMES.intersection(names)
    usual = not indexed and given | answered <= {semconv.INPUT_MESSAGES, semconv.OUTPUT_MESSAGES}
    return Sides(indexed, given, answered, given | answered if usual else None)


def content_of(span: Span | LiveSpan, attributes: Attributes, sides: Sides, *, is_llm: bool) -> Content:
    """`input` and `output` of a span; None for a side that it does not tell."""
    indexed, plain_in, plain_out, messages = sides
    if messages is not None and not span.events:
        if not messages:
            return _NOTHING
        found = _messages_alone(attributes, sides, messages)
        if found is not None:
            return found
    elif not (indexed or plain_in or plain_out or any(event.name in CONTENT_EVENTS for event in span.events)):
        return _NOTHING
    lists = {prefix: indexed_list(attributes, prefix) for prefix in _INDEXED_PREFIXES} if indexed else {}
    given, answered = _input_of(span, attributes, lists), _output_of(span, attributes, lists)
    if is_llm or _is_list(given, "messages") or _is_list(answered, "choices"):
        given, answered = _as_question(given), _as_answer(answered, attributes)
    used = set(indexed)
    if given is not None:
        used |= plain_in
    if answered is not None:
        used |= plain_out
    return Content(given, answered, frozenset(used))


def _messages_alone(attributes: Attributes, sides: Sides, names: frozenset[str]) -> Content | None:
    """The same of messages and nothing else; None where something that is called so is no message."""
    given = as_messages(attributes[semconv.INPUT_MESSAGES], "user") if sides.given else None
    answered = as_messages(attributes[semconv.OUTPUT_MESSAGES], "assistant") if sides.answered else None
    if not ((given or not sides.given) and (answered or not sides.answered)):
        return None
    return Content(
        {"messages": given} if given else None,
        as_choices(answered, attributes.get(semconv.FINISH_REASONS)) if answered else None,
        names,
    )


def _is_indexed(name: str) -> bool:
    """Tells `gen_ai.prompt.0.role`, which is content, from `gen_ai.prompt.name`, which is not."""
    return any(name.startswith(prefix) and is_index(name[len(prefix) :].partition(".")[0]) for prefix in _INDEXED)


def _input_of(span: Span | LiveSpan, attributes: Attributes, lists: _Lists) -> dict[str, Any] | None:
    messages = _first_messages(attributes, lists, _INPUT_MESSAGES, _INPUT_INDEXED, "user") or _event_messages(span)
    system = _system_messages(attributes)
    if messages or system:
        tools = _tools(attributes, lists)
        return {"messages": [*system, *(messages or [])], **({"tools": tools} if tools else {})}
    return _first_value(attributes, (*_INPUT_MESSAGES, *_INPUT_VALUES))


def _output_of(span: Span | LiveSpan, attributes: Attributes, lists: _Lists) -> dict[str, Any] | None:
    messages = (
        _first_messages(attributes, lists, _OUTPUT_MESSAGES, _OUTPUT_INDEXED, "assistant")
        or _vercel_answer(attributes)
        or _event_choices(span)
    )
    if messages:
        return as_choices(messages, attributes.get(semconv.FINISH_REASONS))
    return _first_value(attributes, (*_OUTPUT_MESSAGES, *_OUTPUT_VALUES))


def _is_list(side: dict[str, Any] | None, key: str) -> bool:
    return side is not None and isinstance(side.get(key), list)


def _as_question(value: dict[str, Any] | None) -> dict[str, Any] | None:
    text = _lone_text(value)
    return value if text is None else {"messages": [{"role": "user", "content": text}]}


def _as_answer(value: dict[str, Any] | None, attributes: Attributes) -> dict[str, Any] | None:
    text = _lone_text(value)
    return value if text is None else as_choices([_said(text)], attributes.get(semconv.FINISH_REASONS))


def _lone_text(value: dict[str, Any] | None) -> str | None:
    """The text of a side that is nothing but text: of a model call, and beside a side of messages, it is one message.

    Opik's page draws a conversation only where both sides are messages.
    """
    if value is None or len(value) != 1:
        return None
    key, text = next(iter(value.items()))
    return text if key in _TEXT_KEYS and isinstance(text, str) else None


def _first_messages(
    attributes: Attributes, lists: _Lists, names: tuple[str, ...], prefixes: tuple[str, ...], role: str
) -> Messages | None:
    for name in names:
        if name in attributes and (messages := as_messages(attributes[name], role)):
            return messages
    for prefix in prefixes:
        if messages := as_messages(lists.get(prefix), role):
            return messages
    return None


def _first_value(attributes: Attributes, names: tuple[Any, ...]) -> dict[str, Any] | None:
    """The first of `names` that is there: an object as it is, anything else under the name's key."""
    for entry in names:
        name, key = entry if isinstance(entry, tuple) else (entry, "messages")
        value = parsed(attributes.get(name))
        if isinstance(value, dict) and value:
            return value
        if value is not None and value not in ("", [], {}):
            return {key: value}
    return None


def _system_messages(attributes: Attributes) -> Messages:
    """`gen_ai.system_instructions` (a list of parts, or text) as system messages, before all others."""
    instructions = parsed(attributes.get(semconv.SYSTEM_INSTRUCTIONS))
    if isinstance(instructions, list):
        return as_messages([{"role": "system", "parts": instructions}]) or [] if instructions else []
    return [{"role": "system", "content": instructions}] if isinstance(instructions, str) and instructions else []


def _event_messages(span: Span | LiveSpan) -> Messages | None:
    """Gen A: one event per message of the prompt."""
    messages: Messages = []
    for event in span.events:
        role = semconv.GEN_A_MESSAGE_EVENTS.get(event.name)
        if role is None and event.name != semconv.GEN_A_PROMPT_EVENT:
            continue
        body = attributes_of(event.attributes)
        if role is None:
            prompt = body.get(semconv.GEN_A_PROMPT)
            messages.extend(as_messages(prompt) or [{"role": "user", "content": text_of(prompt)}])
        else:
            messages.extend(as_messages([{"role": role, **_without_nulls(body)}], role) or [])
    return messages or None


def _event_choices(span: Span | LiveSpan) -> Messages | None:
    """Gen A: one event per choice of the answer."""
    messages: Messages = []
    for event in span.events:
        if event.name not in _OUTPUT_EVENTS:
            continue
        body = {key: parsed(value) for key, value in attributes_of(event.attributes).items()}
        if event.name == semconv.GEN_A_COMPLETION_EVENT:
            completion = body.get(semconv.GEN_A_COMPLETION)
            messages.extend(as_messages(completion, "assistant") or [_said(completion)])
        else:
            messages.extend(as_messages([body], "assistant") or [])
    return messages or None


def _said(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text_of(text)}


def _without_nulls(body: Attributes) -> Attributes:
    return {key: parsed(value) for key, value in body.items() if value is not None}


def _vercel_answer(attributes: Attributes) -> Messages | None:
    calls = parsed(attributes.get(semconv.VERCEL_TOOL_CALLS))
    if not isinstance(calls, list) or not calls:
        return None
    return as_messages([{"role": "assistant", "content": attributes.get(semconv.VERCEL_TEXT), "tool_calls": calls}])


def _tools(attributes: Attributes, lists: _Lists) -> list[Any]:
    """Tool definitions in the chat format, whoever wrote them."""
    for name in (semconv.TOOL_DEFINITIONS, semconv.VERCEL_TOOLS):
        tools = parsed(attributes.get(name))
        if isinstance(tools, list) and tools:
            return [_tool(tool) for tool in tools]
    request = parsed(attributes.get(semconv.LOGFIRE_REQUEST))
    if isinstance(request, dict) and isinstance(request.get("tools"), list):
        return [_tool(tool) for tool in request["tools"]]
    for prefix in _TOOLS_INDEXED:
        if tools := lists.get(prefix):
            return [_tool(tool) for tool in tools]
    return [_tool(tool) for tool in _declared(attributes)] if semconv.ADK_LLM_REQUEST in attributes else []


def _declared(attributes: Attributes) -> list[Any]:
    """Google's: functions are declared in groups, in the request's configuration."""
    request = parsed(attributes[semconv.ADK_LLM_REQUEST])
    config = request.get("config") if isinstance(request, dict) else None
    groups = config.get("tools") if isinstance(config, dict) else None
    lists = [group.get("function_declarations") for group in _listed(groups) if isinstance(group, dict)]
    return [tool for found in lists for tool in _listed(found)]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _tool(tool: Any) -> Any:
    tool = parsed(tool)
    if isinstance(tool, dict) and isinstance(tool.get("tool"), dict):  # OpenInference: llm.tools.N.tool.json_schema
        tool = parsed(tool["tool"].get("json_schema", tool["tool"]))
    if not isinstance(tool, dict) or "function" in tool or "name" not in tool:
        return tool
    parameters = parsed(tool.get("parameters", tool.get("inputSchema")))
    function = {"name": tool["name"], "description": tool.get("description"), "parameters": parameters}
    return {"type": "function", "function": {key: value for key, value in function.items() if value is not None}}
