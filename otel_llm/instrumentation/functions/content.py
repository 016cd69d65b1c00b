"""What goes into a piece of work and what comes out, as the attributes that fit its operation.

Read only where content is wanted; `processors.content_policy` has the last word on what stays. Values are read by
`otel_llm.values`: bounded, never changed, no method of an unknown class called.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.values import to_json, to_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["Arguments", "input_attributes", "output_attributes"]

_RECEIVERS: Final = frozenset({"self", "cls"})
_QUERIES: Final = ("query", "question", "text", "q")
_CONVERSATIONS: Final = frozenset({semconv.OP_INVOKE_AGENT, semconv.OP_INVOKE_WORKFLOW})


class Arguments:
    """Arguments of one function by name, as far as its signature tells."""

    def __init__(self, function: Callable[..., Any], ignored: Sequence[str] = ()) -> None:
        self._function = function
        self._ignored = frozenset(ignored)
        self._signature: inspect.Signature | None = None
        self._asked = False

    def by_name(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call, without the receiver of a method and without those to be ignored."""
        named = self._bound(args, kwargs)
        return {name: value for name, value in named.items() if name not in self._ignored}

    def _bound(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        signature = self._known_signature()
        if signature is None:
            return _unnamed(args, kwargs)
        try:
            bound = signature.bind_partial(*args, **kwargs).arguments
        except TypeError:  # a call that the function itself is about to refuse
            return _unnamed(args, kwargs)
        first = next(iter(signature.parameters), None)
        named: dict[str, Any] = {}
        for name, value in bound.items():
            if name == first and name in _RECEIVERS:
                continue
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                named.update(value)
            else:
                named[name] = value
        return named

    def _known_signature(self) -> inspect.Signature | None:
        """The signature, looked up when it is first needed: annotations of some programs cannot be read earlier."""
        if not self._asked:
            self._asked = True
            try:
                self._signature = inspect.signature(self._function)
            except (TypeError, ValueError):
                self._signature = None
        return self._signature


def _unnamed(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    return {**({"args": list(args)} if args else {}), **kwargs}


def input_attributes(operation: str | None, arguments: Mapping[str, Any]) -> dict[str, str]:
    """The attributes that hold `arguments` on a span of `operation`; nothing for no arguments."""
    if not arguments:
        return {}
    if operation == semconv.OP_EXECUTE_TOOL:
        return {semconv.TOOL_CALL_ARGUMENTS: to_json(arguments).text}
    if operation == semconv.OP_RETRIEVAL and (query := _query(arguments)) is not None:
        return {semconv.RETRIEVAL_QUERY_TEXT: str(to_plain(query).value)}
    if operation in _CONVERSATIONS and (text := _lone_text(arguments)) is not None:
        return {semconv.INPUT_MESSAGES: to_json([_message("user", text)]).text}
    return {semconv.PLAIN_INPUT: to_json(arguments).text}


def output_attributes(operation: str | None, result: Any) -> dict[str, str]:
    """The attributes that hold `result` on a span of `operation`; nothing for None."""
    if result is None:
        return {}
    plain = to_plain(result).value
    if operation == semconv.OP_EXECUTE_TOOL:
        answer = plain if isinstance(plain, dict) else {"result": plain}
        return {semconv.TOOL_CALL_RESULT: to_json(answer).text}
    if operation == semconv.OP_RETRIEVAL and isinstance(plain, list):
        return {semconv.RETRIEVAL_DOCUMENTS: to_json([_document(entry) for entry in plain]).text}
    if operation in _CONVERSATIONS and isinstance(plain, str):
        return {semconv.OUTPUT_MESSAGES: to_json([{**_message("assistant", plain), "finish_reason": "stop"}]).text}
    return {semconv.PLAIN_OUTPUT: plain if isinstance(plain, str) else to_json(plain).text}


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _lone_text(arguments: Mapping[str, Any]) -> str | None:
    """The text where it is all that went in: it is drawn as what the user said."""
    if len(arguments) != 1:
        return None
    (value,) = arguments.values()
    return value if isinstance(value, str) else None


def _query(arguments: Mapping[str, Any]) -> str | None:
    """What was asked for: the argument that is called so, else the only text."""
    for name in _QUERIES:
        if isinstance(arguments.get(name), str):
            return str(arguments[name])
    texts = [value for value in arguments.values() if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else None


def _document(found: Any) -> dict[str, Any]:
    """A document in the shape of the conventions' schema: an object, with `id` and `score` where they are known."""
    if isinstance(found, dict):
        made = dict(found)
        if isinstance(made.get("id"), int):  # numbers are ids to many; the schema says text
            made["id"] = str(made["id"])
        return made
    if isinstance(found, list) and len(found) == 2 and isinstance(found[1], (int, float)):  # (document, score)
        return {**_document(found[0]), "score": found[1]}
    return {"content": found}
