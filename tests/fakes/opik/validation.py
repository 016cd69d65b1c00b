"""Requests checked against the OpenAPI document, and what Opik itself makes of each fault.

The document is stricter than the server. So a fault has one of two fates: *refused*, with the server's own status and
words (wording.py), or *tolerated*. Both are handed to the caller, because our own code must cause neither.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from openapi_schema_validator import OAS31Validator, oas31_format_checker
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from tests.fakes.opik.answers import Answer, coded, errors
from tests.fakes.opik.document import load_document
from tests.fakes.opik.wording import json_path, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonschema import ValidationError

__all__ = [
    "Departure",
    "Operation",
    "body_departures",
    "find_operation",
    "known_path",
    "parameter_departures",
    "refusal",
]

_DOCUMENT_URI = "urn:opik"
_FREE_JSON = frozenset({"input", "output", "metadata"})
"""Fields whose nulls are the user's own; everywhere else null means absent."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path template of the document."""

    method: str
    template: str
    path_parameters: dict[str, str]
    description: dict[str, Any]

    @property
    def id(self) -> tuple[str, str]:
        """The pair that names the operation, for example `("POST", "/v1/private/spans/batch")`."""
        return self.method, self.template


@dataclass(frozen=True, slots=True)
class Departure:
    """One place where a request departs from the document."""

    where: str
    """The place, for example `spans[3].start_time`."""
    message: str
    """The validator's own words."""
    status: int | None
    """400 (it cannot be read) or 422 (it can, but is not allowed); None where the real server lets it pass."""
    answer: str = ""
    """What the real server says about it."""


def refusal(departures: list[Departure]) -> Answer | None:
    """The answer to a request with these faults; None when all of them are tolerated.

    What cannot be read is found first and alone; what is not allowed is listed in full.
    """
    unreadable = next((each for each in departures if each.status == 400), None)
    if unreadable is not None:
        return coded(400, f"Unable to process JSON. {unreadable.answer}")
    forbidden = [each.answer for each in departures if each.status == 422]
    return errors(422, *forbidden) if forbidden else None


def find_operation(method: str, path: str) -> Operation | None:
    """The operation that serves `path`; None when the document has none (a trailing slash is overlooked)."""
    for template, pattern in _templates():
        match = pattern.fullmatch(path)
        if match and method.lower() in load_document()["paths"][template]:
            description = load_document()["paths"][template][method.lower()]
            return Operation(method, template, match.groupdict(), description)
    return None


def known_path(path: str) -> bool:
    """Whether the document has `path` under any method."""
    return any(pattern.fullmatch(path) for _, pattern in _templates())


@functools.lru_cache(maxsize=1)
def _templates() -> list[tuple[str, re.Pattern[str]]]:
    """Path templates as patterns; the ones with fewer parameters first, so that `/batch` wins over `/{id}`."""
    templates = sorted(load_document()["paths"], key=lambda template: template.count("{"))
    return [(template, re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", template) + "/?")) for template in templates]


def body_departures(operation: Operation, body: Any) -> list[Departure]:
    """Where a JSON body departs from the operation's schema; nothing for operations without a JSON body."""
    content = operation.description.get("requestBody", {}).get("content", {})
    if "application/json" not in content:
        return []
    return _departures(_validator(operation.id, "body"), _without_nulls(body), prefix="")


def parameter_departures(operation: Operation, query: Mapping[str, str]) -> list[Departure]:
    """Where query and path parameters depart from the document."""
    found: list[Departure] = []
    for parameter in operation.description.get("parameters", []):
        name = parameter["name"]
        source: Mapping[str, str] = operation.path_parameters if parameter["in"] == "path" else query
        if name in source:
            value = _typed(source[name], parameter["schema"].get("type"))
            found += _departures(_validator(operation.id, name), value, prefix=f"{parameter['in']} param {name}")
        elif parameter.get("required"):
            found.append(Departure(name, "required", 422, f"query param {name} must not be null"))
    return found


@functools.lru_cache(maxsize=1)
def _registry() -> Registry[Any]:
    registry: Registry[Any] = Registry().with_resource(_DOCUMENT_URI, DRAFT202012.create_resource(load_document()))
    return registry


@functools.cache
def _validator(operation: tuple[str, str], part: str) -> Any:
    """The validator of a body, or of the parameter named `part`; built once, for building costs more than checking."""
    method, template = operation
    description = load_document()["paths"][template][method.lower()]
    if part == "body":
        schema = description["requestBody"]["content"]["application/json"]["schema"]
    else:
        schema = next(item["schema"] for item in description["parameters"] if item["name"] == part)
    if "$ref" in schema:
        schema = {"$ref": _DOCUMENT_URI + schema["$ref"]}
    return OAS31Validator(schema, registry=_registry(), format_checker=oas31_format_checker)


def _typed(text: str, kind: str | None) -> Any:
    if kind == "integer" and re.fullmatch(r"-?\d+", text):
        return int(text)
    if kind == "boolean":
        return text.lower() == "true"
    return text


def _without_nulls(value: Any) -> Any:
    """The body as Jackson sees it: a null field is no field."""
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: item for key, item in value.items() if item is not None}
    return {key: item if key in _FREE_JSON else _without_nulls(item) for key, item in kept.items()}


def _departures(validator: Any, value: Any, *, prefix: str) -> list[Departure]:
    found: list[Departure] = []
    for error in validator.iter_errors(value):
        found += [_departure(error, place, prefix) for place in _places(error)]
    return found


def _places(error: ValidationError) -> Iterator[list[Any]]:
    """The path of the field at fault; a missing or superfluous field is a step below the error's own path."""
    path = list(error.absolute_path)
    rule: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "required":
        yield [*path, next(name for name in rule if error.message.startswith(f"'{name}'"))]
    elif error.validator == "additionalProperties" and isinstance(rule, bool):
        yield from ([*path, name] for name in sorted(instance.keys() - schema["properties"].keys()))
    else:
        yield path


def _departure(error: ValidationError, path: list[Any], prefix: str) -> Departure:
    status, answer = verdict(error, path, prefix)
    return Departure(prefix or json_path(path), error.message[:300], status, answer)
