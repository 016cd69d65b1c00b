"""Rules about a span as a whole: its operation, kind, name, and what must and may stand on it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.conformance.findings import Finding, Level, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.conformance.conventions import Conventions, SpanType
    from otel_llm.conformance.spans import SpanFacts

__all__ = ["span_findings"]

_IN_BRACES: Final = re.compile(r"\[?\{([^}]+)\}\]?")
_OPENAI: Final = "openai."
_OPENAI_PROVIDERS: Final = frozenset({"openai", "azure.ai.openai"})
_EITHER_KIND: Final = frozenset({semconv.SPAN_INFERENCE})
"""Spans of models that run inside the process are INTERNAL."""


def span_findings(span: SpanFacts, today: dict[str, Any], known: Conventions) -> Iterator[Finding]:
    """What is wrong with `span`; `today` has its attributes under the names of today."""
    if span.schema_url == "":
        yield Finding(
            Rule.SCHEMA_URL,
            Level.ADVICE,
            span,
            None,
            f"the instrumentation scope {span.scope!r} names no schema URL",
            "Give it to `get_tracer(..., schema_url=...)`, so that readers know which names to expect.",
        )
    operation = today.get(semconv.OPERATION_NAME)
    if not isinstance(operation, str):
        if operation is None:
            yield _missing(span, semconv.OPERATION_NAME, "every GenAI span")
        return
    kind = known.span_type(operation, span.kind)
    yield from _conditions(span, today)
    if kind is None:
        return  # an operation of somebody's own, which the conventions allow where none of theirs fits
    for name in kind.required:
        if name not in today:
            yield _missing(span, name, f"a span of operation {operation!r}")
    yield from _kind(span, kind, operation)
    yield from _name(span, kind, today)
    yield from _strangers(span, kind, today, known)


def _missing(span: SpanFacts, name: str, where: str) -> Finding:
    return Finding(
        Rule.REQUIRED, Level.VIOLATION, span, name, f"`{name}` is missing", f"It is required on {where}; set it."
    )


def _kind(span: SpanFacts, kind: SpanType, operation: str) -> Iterator[Finding]:
    allowed = {kind.kind, "internal"} if kind.name in _EITHER_KIND else {kind.kind}
    if span.kind not in allowed:
        yield Finding(
            Rule.SPAN_KIND,
            Level.ADVICE,
            span,
            None,
            f"a span of operation {operation!r} is {kind.kind.upper()}, and this one is {span.kind.upper()}",
            f"Start it with kind {kind.kind.upper()}.",
        )


def _name(span: SpanFacts, kind: SpanType, today: dict[str, Any]) -> Iterator[Finding]:
    expected = " ".join(_IN_BRACES.sub(lambda found: str(today.get(found[1], "")), kind.span_name).split())
    if " ".join(span.name.split()) != expected:
        yield Finding(
            Rule.SPAN_NAME,
            Level.ADVICE,
            span,
            None,
            f"the span's name should be `{kind.span_name}`, and is not",
            "Name it after its operation and model, so that backends can group by it.",
        )


def _conditions(span: SpanFacts, today: dict[str, Any]) -> Iterator[Finding]:
    def found(level: Level, name: str, what: str, advice: str) -> Finding:
        return Finding(Rule.CONDITION, level, span, name, what, advice)

    if span.is_error and semconv.ERROR_TYPE not in today:
        yield found(
            Level.VIOLATION,
            semconv.ERROR_TYPE,
            f"the span's status is ERROR and `{semconv.ERROR_TYPE}` is missing",
            "Set it to the exception's or provider's error code; `_OTHER` where there is none.",
        )
    if semconv.ERROR_TYPE in today and not span.is_error:
        yield found(
            Level.ADVICE,
            semconv.ERROR_TYPE,
            f"`{semconv.ERROR_TYPE}` is set and the span's status is not ERROR",
            "Set both where the operation failed, and neither where it did not.",
        )
    if semconv.SERVER_ADDRESS in today and semconv.SERVER_PORT not in today:
        yield found(
            Level.VIOLATION,
            semconv.SERVER_PORT,
            f"`{semconv.SERVER_ADDRESS}` is set and `{semconv.SERVER_PORT}` is missing",
            "Set the port too, 443 for https.",
        )
    if today.get(semconv.REQUEST_STREAM) is False:
        yield found(
            Level.ADVICE,
            semconv.REQUEST_STREAM,
            f"`{semconv.REQUEST_STREAM}` is false, and is only ever set where the answer is streamed",
            "Leave it out.",
        )
    if today.get(semconv.REQUEST_CHOICE_COUNT) == 1:
        yield found(
            Level.ADVICE,
            semconv.REQUEST_CHOICE_COUNT,
            f"`{semconv.REQUEST_CHOICE_COUNT}` is 1, and is only set where it is another number",
            "Leave it out.",
        )


def _strangers(span: SpanFacts, kind: SpanType, today: dict[str, Any], known: Conventions) -> Iterator[Finding]:
    """Attributes of the conventions that belong on other spans."""
    for name in span.attributes:
        attribute = known.attribute(name)
        if attribute is None or attribute.metrics_only or name in kind.levels:
            continue
        if name.startswith(_OPENAI):
            if today.get(semconv.PROVIDER_NAME) in _OPENAI_PROVIDERS:
                continue
            yield Finding(
                Rule.WRONG_SPAN,
                Level.ADVICE,
                span,
                name,
                f"`{name}` is for calls of OpenAI and Azure OpenAI, and the provider is another one",
                "Leave it out, or put the fact under a prefix of your own.",
            )
        elif name.startswith(semconv.GEN_AI_PREFIX) and not name.startswith(
            (semconv.AGENT_PREFIX, semconv.PROMPT_VARIABLE_PREFIX)
        ):
            yield Finding(
                Rule.WRONG_SPAN,
                Level.ADVICE,
                span,
                name,
                f"`{name}` does not belong on a span of this operation (`{kind.name}`)",
                "Put it on the span of the call that it is about, so that nothing is counted twice.",
            )
