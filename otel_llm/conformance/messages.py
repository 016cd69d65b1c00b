"""Messages, instructions, tools and documents against the conventions' JSON schemas.

What is said about them names the place and the rule, never the value: that is what people wrote.
"""

from __future__ import annotations

import json
from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from otel_llm.conformance.conventions import conventions
from otel_llm.errors import ConfigError

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

__all__ = ["problem_with"]

_LONGEST_PATH: Final = 120
_LEVELS: Final = 200
"""Deeper JSON than this is not followed: the schema check recurses."""


def problem_with(attribute: str, value: Any) -> str | None:
    """What is wrong with the value of a content attribute, as half a sentence; None where it fits.

    On a span it is JSON text or a structured value. Raises `ConfigError` when the library that reads schemas is not
    installed.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return "is text that is no JSON"
    if _depth(value) > _LEVELS:
        return f"is nested more than {_LEVELS} levels deep"
    errors = _validator(attribute).iter_errors(value)
    first = min(errors, key=lambda error: (len(error.absolute_path), str(error.absolute_path)), default=None)
    return None if first is None else _in_words(first)


@cache
def _validator(attribute: str) -> Validator:
    try:
        from jsonschema import Draft202012Validator  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise ConfigError(
            "Messages are checked against JSON schemas, and the package that reads them is not installed. "
            "Install it with: pip install 'otel-llm[lint]'"
        ) from error
    return Draft202012Validator(conventions().schemas[attribute])


def _in_words(error: ValidationError) -> str:
    keyword, rule = str(error.validator), cast("Any", error.validator_value)
    place = _place(error)
    if keyword == "required":
        missing = [str(name) for name in rule if name not in error.instance] if isinstance(error.instance, dict) else []
        return f"has no {', '.join(repr(name) for name in missing)} {place}"
    if keyword == "type":
        return f"has a value of type {_json_type(error.instance)} {place}, where the schema says {_or(rule)}"
    if keyword in {"enum", "const"}:
        return f"has a value {place} that is not {_or(rule)}"
    return f"does not fit the schema's {keyword!r} {place}"


def _or(rule: Any) -> str:
    return " or ".join(map(str, rule)) if isinstance(rule, list) else str(rule)


def _place(error: ValidationError) -> str:
    """Where in the value, by positions and the schema's own names; a name of the value's own is not shown."""
    named = {"parts", "role", "type", "content", "name", "id", "arguments", "response", "parameters", "score"}
    steps = [
        f"[{step}]" if isinstance(step, int) else f".{step}" if step in named else ".*" for step in error.absolute_path
    ]
    return f"at ${''.join(steps)[:_LONGEST_PATH]}"


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), type(value).__name__)


def _depth(value: Any) -> int:
    """How deep lists and objects are nested, found without recursion."""
    deepest, level = 0, [value]
    while level and deepest <= _LEVELS + 1:
        deepest += 1
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder if isinstance(holder, list) else ())
        ]
    return deepest
