"""Rules about single attributes and events: is there such a name, and is its value what the registry says."""

from __future__ import annotations

import math
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.conformance.findings import Finding, Level, Rule
from otel_llm.conformance.messages import problem_with

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.conformance.conventions import Attribute, Conventions
    from otel_llm.conformance.spans import SpanFacts

__all__ = ["attribute_findings"]

_NAMESPACES: Final = (semconv.GEN_AI_PREFIX, "openai.", "aws.bedrock.", "mcp.")
"""What begins so is the conventions' to define."""
_REFERENCE: Final = "_ref"
"""Ending of an attribute that says where content was uploaded; the conventions leave its name open."""
_LONGEST_SHOWN: Final = 60


def attribute_findings(span: SpanFacts, known: Conventions) -> Iterator[Finding]:
    """What is wrong with the names and values of `span`, in the order of its attributes."""
    for name, value in span.attributes.items():
        attribute = known.attribute(name)
        if name in known.renamed:
            yield from _older(span, name, value, known)
        elif attribute is not None and not attribute.metrics_only:
            yield from _value(span, attribute, value, known)
        elif attribute is not None:
            yield Finding(
                Rule.WRONG_SPAN,
                Level.VIOLATION,
                span,
                name,
                f"`{name}` belongs on metrics",
                "Leave it out of spans.",
            )
        elif name.startswith(_NAMESPACES) and not _is_reference(name):
            yield _unknown(span, name, known)
    yield from _sums(span, known)
    for event in dict.fromkeys(span.events):
        if event in semconv.CONTENT_EVENTS:
            yield Finding(
                Rule.OLDER_EVENT,
                Level.ADVICE,
                span,
                event,
                f"the event `{event}` is of v1.36 or earlier",
                f"Put messages on the span: `{semconv.INPUT_MESSAGES}` and `{semconv.OUTPUT_MESSAGES}`.",
            )


def _is_reference(name: str) -> bool:
    return name.endswith(_REFERENCE) and name.removesuffix(_REFERENCE) in semconv.CONTENT_ATTRIBUTES


def _older(span: SpanFacts, name: str, value: Any, known: Conventions) -> Iterator[Finding]:
    today = known.renamed[name]
    attribute = known.attribute(today) if today is not None else None
    if attribute is None and not name.startswith(_NAMESPACES):
        return  # a vendor's own word in a vendor's own namespace
    advice = f"Write `{today}` instead." if attribute is not None else "Leave it out; nothing stands in its place."
    yield Finding(
        Rule.OLDER_NAME,
        Level.ADVICE,
        span,
        name,
        f"`{name}` is an older or foreign name" + (f" of `{today}`" if attribute is not None else ""),
        advice,
    )
    if attribute is not None:
        yield from _value(span, attribute, value, known, name=name)


def _unknown(span: SpanFacts, name: str, known: Conventions) -> Finding:
    near = get_close_matches(name, known.attributes, n=1, cutoff=0.8)
    namespace = next(prefix for prefix in _NAMESPACES if name.startswith(prefix))
    advice = f"Did you mean `{near[0]}`? " if near else ""
    return Finding(
        Rule.UNKNOWN_ATTRIBUTE,
        Level.VIOLATION,
        span,
        name,
        f"there is no `{name[:_LONGEST_SHOWN]}` in the conventions, which alone name what begins with `{namespace}`",
        f"{advice}A fact of your own goes under a prefix of your own.",
    )


def _value(
    span: SpanFacts, attribute: Attribute, value: Any, known: Conventions, *, name: str | None = None
) -> Iterator[Finding]:
    name = name or attribute.name
    if not _has_type(value, attribute.type):
        yield Finding(
            Rule.TYPE,
            Level.VIOLATION,
            span,
            name,
            f"`{name}` is of type {_type_of(value)}, and should be {attribute.type}",
            _advice_on_type(attribute.type),
        )
        return
    if attribute.name in known.schemas:
        problem = problem_with(attribute.name, value)
        if problem is not None:
            yield Finding(
                Rule.MESSAGE_SCHEMA,
                Level.VIOLATION,
                span,
                name,
                f"`{name}` {problem}",
                "Write what the JSON schema of that attribute says; on spans it is JSON text.",
            )
    yield from _word(span, attribute, value, name, known)


def _word(span: SpanFacts, attribute: Attribute, value: Any, name: str, known: Conventions) -> Iterator[Finding]:
    """Another spelling of a word that the conventions have."""
    if not attribute.values or value in attribute.values:
        return
    meant = known.providers.get(value.lower()) if attribute.name == semconv.PROVIDER_NAME else None
    meant = meant or next((word for word in attribute.values if _folded(word) == _folded(value)), None)
    if meant is not None:
        yield Finding(
            Rule.WELL_KNOWN_VALUE,
            Level.VIOLATION,
            span,
            name,
            f"`{name}` is {value[:_LONGEST_SHOWN]!r}, which the conventions spell {meant!r}",
            f"Write {meant!r}.",
        )


def _sums(span: SpanFacts, known: Conventions) -> Iterator[Finding]:
    for name, value in span.attributes.items():
        attribute = known.attribute(name)
        if attribute is None or not name.startswith(semconv.USAGE_PREFIX) or not _has_type(value, "int"):
            continue
        if value < 0:
            yield Finding(
                Rule.TOKEN_SUM,
                Level.VIOLATION,
                span,
                name,
                f"`{name}` is {value}, a negative count",
                "Leave it out where the count is not known.",
            )
        for whole in attribute.part_of:
            total = span.attributes.get(whole)
            if _has_type(total, "int") and value > total:
                yield Finding(
                    Rule.TOKEN_SUM,
                    Level.VIOLATION,
                    span,
                    name,
                    f"`{name}` is {value}, more than the {total} of `{whole}`, which contains it",
                    f"Count cached and other kinds of tokens in `{whole}` too.",
                )


def _folded(word: str) -> str:
    return "".join(letter for letter in word.lower() if letter.isalnum())


def _has_type(value: Any, kind: str) -> bool:
    if kind == "any":
        return value is not None
    if kind.endswith("[]"):
        return isinstance(value, (list, tuple)) and all(_has_type(item, kind[:-2]) for item in value)
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "int":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "double":
        return isinstance(value, float) and math.isfinite(value)
    return isinstance(value, str)  # string, enum(string)


def _type_of(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        inner = sorted({_type_of(item) for item in value})
        return f"{' or '.join(inner) or 'nothing'}[]"
    if isinstance(value, float) and not math.isfinite(value):
        return "double that is no number"
    names = {bool: "boolean", int: "int", float: "double", str: "string", dict: "map", bytes: "bytes"}
    return names.get(type(value), "nothing")


def _advice_on_type(kind: str) -> str:
    advice = {
        "double": "Write a floating-point number, 1.0 and not 1.",
        "int": "Write a whole number, not text and not 1.0.",
        "string[]": "Write a list of strings, not JSON text and not one string.",
        "boolean": "Write true or false, not text.",
    }
    return advice.get(kind, "Write text.")
