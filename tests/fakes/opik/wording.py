"""What the real server says about a request that departs from its OpenAPI document, and where it says nothing.

Two parts of the server speak. Jackson reads the body and stops at the first thing it cannot turn into a Java object:
400, with a chain of class names and no hint which item it was. Then bean validation lists every value that is not
allowed: 422, with the item's index. Wording and leniency follow opik-observed/rest-poison.json.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import ValidationError

__all__ = ["json_path", "verdict"]

_API = "com.comet.opik.api"
_ENTITIES = {"spans": f"{_API}.Span", "traces": f"{_API}.Trace", "scores": f"{_API}.FeedbackScoreBatchItem"}
_ENUMS = {"type": "com.comet.opik.domain.SpanType", "source": "com.comet.opik.domain.Source"}
_CLASSES = {"integer": "java.lang.Integer", "number": "java.math.BigDecimal", "string": "java.lang.String"}
_LOCATION = "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: 1]"
"""The real server counts columns; nobody can use them, so this one does not."""


def verdict(error: ValidationError, path: list[Any], where: str = "") -> tuple[int | None, str]:
    """Status and text for one departure at `path`; a status of None means that the server lets it pass.

    `where` replaces the place in the text (for parameters, which have no path in a body).
    """
    rule = error.validator
    if rule in {"additionalProperties", "uniqueItems", "anyOf"} or "error_info" in path[:-1]:
        return None, ""
    if rule == "type":
        return _wrong_type(error, path)
    if rule in {"enum", "format"}:
        return _unreadable_text(error, path)
    return 422, f"{where or json_path(path, java=True)} {_not_allowed(error)}"


def json_path(path: list[Any], *, java: bool = False) -> str:
    """`["spans", 3, "start_time"]` as `spans[3].start_time`, or in Java's spelling as `spans[3].startTime`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
            continue
        text += ("." if text else "") + (_camel(step) if java else step)
    return text


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda found: found.group(1).upper(), name)


def _not_allowed(error: ValidationError) -> str:
    """The words of bean validation."""
    limit: Any = error.validator_value
    schema: Any = error.schema
    if error.validator in {"minItems", "maxItems"}:
        return f"size must be between {schema.get('minItems', 0)} and {schema.get('maxItems')}"
    words = {
        "required": "must not be null",
        "minimum": f"must be greater than or equal to {limit}",
        "maximum": f"must be less than or equal to {limit}",
        "pattern": "must not be blank",
        "minLength": "must not be blank",
        "maxLength": f"size must be between {schema.get('minLength', 0)} and {limit}",
    }
    return words.get(str(error.validator), error.message)


def _wrong_type(error: ValidationError, path: list[Any]) -> tuple[int | None, str]:
    """Jackson turns scalars into one another where it can: 1.5 into 1, 7 into "7", "7" into 7."""
    wanted, value = str(error.validator_value), error.instance
    if wanted == "string" and not isinstance(value, (dict, list)):
        return None, ""
    if wanted in {"integer", "number"} and _reads_as_number(value):
        return None, ""
    kind = _CLASSES.get(wanted, "java.util.ArrayList")
    return 400, f"Cannot deserialize value of type `{kind}` from {_found(value)}{_LOCATION} {_chain(path)}"


def _reads_as_number(value: Any) -> bool:
    if isinstance(value, str):
        return re.fullmatch(r"\s*-?\d+(\.\d+)?\s*", value) is not None
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _found(value: Any) -> str:
    if isinstance(value, dict):
        return "Object value (token `JsonToken.START_OBJECT`)"
    if isinstance(value, list):
        return "Array value (token `JsonToken.START_ARRAY`)"
    return f'String "{value}"'


def _unreadable_text(error: ValidationError, path: list[Any]) -> tuple[int | None, str]:
    value, rule = error.instance, error.validator_value
    if rule == "int32":
        # The number is read before it has a place in the map, so the chain ends above the key.
        return 400, (
            f"Numeric value ({value}) out of range of int (-2147483648 - 2147483647){_LOCATION} {_chain(path[:-1])}"
        )
    if rule == "date-time" and isinstance(value, (int, float)):
        return None, ""
    if isinstance(rule, list):
        kind, names = _ENUMS.get(str(path[-1]), "java.lang.Enum"), ", ".join(map(str, rule))
        reason = f": {value} was not one of [{names}]"
    else:
        kind, reason = {"uuid": "java.util.UUID", "date-time": "java.time.Instant"}.get(str(rule), str(rule)), ""
    return 400, f'Cannot deserialize value of type `{kind}` from String "{value}"{reason}{_LOCATION} {_chain(path)}'


def _chain(path: list[Any]) -> str:
    """Jackson's trail of class names down to the value it stumbled over."""
    owner = f"{_API}.{str(path[0]).capitalize().removesuffix('s')}Batch" if path and path[0] in _ENTITIES else f"{_API}"
    links: list[str] = []
    for depth, step in enumerate(path):
        if isinstance(step, int):
            links.append(f"java.util.ArrayList[{step}]")
            owner = _ENTITIES.get(str(path[depth - 1]), "java.lang.Object")
        else:
            links.append(f'{owner}["{step}"]')
            owner = "java.util.LinkedHashMap"
    return f"(through reference chain: {'->'.join(links)})"
