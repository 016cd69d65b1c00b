"""One span against the conventions: which rules there are, and which of them it breaks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.conformance.attribute_rules import attribute_findings
from otel_llm.conformance.conventions import conventions
from otel_llm.conformance.deviations import declared
from otel_llm.conformance.findings import Finding, Level
from otel_llm.conformance.span_rules import span_findings

if TYPE_CHECKING:
    from otel_llm.conformance.conventions import Conventions
    from otel_llm.conformance.spans import SpanFacts

__all__ = ["check"]

_OLDER_NAMESPACES: Final = ("llm.usage.", "llm.is_streaming")
_ON_ANY_SPAN: Final = (semconv.AGENT_PREFIX, semconv.CONVERSATION_ID, semconv.EVALUATION_PREFIX)
"""What programs and processors stamp on spans of any kind: such a span is no GenAI operation by that alone."""


def check(span: SpanFacts) -> list[Finding] | None:
    """Everything about `span` that differs from the conventions, worst first; None for a span that is no GenAI span.

    What otel_llm does on purpose carries the declared deviation. Raises `ConfigError` when the span has messages and
    the package that reads JSON schemas (extra `lint`) is not installed.
    """
    known = conventions()
    names = [name for name in span.attributes if _is_genai(name, known)]
    if not names and not any(event in semconv.CONTENT_EVENTS for event in span.events):
        return None
    today = _under_todays_names(span, known)
    is_operation = any(not name.startswith(_ON_ANY_SPAN) for name in names)
    findings = [
        *attribute_findings(span, known),
        *(span_findings(span, today, known) if is_operation else ()),
    ]
    findings.sort(key=lambda finding: finding.level is Level.ADVICE)
    return [replace(finding, declared=declared(finding)) for finding in findings]


def _is_genai(name: str, known: Conventions) -> bool:
    return name.startswith((semconv.GEN_AI_PREFIX, *_OLDER_NAMESPACES)) or (
        name in known.attributes and name.startswith(("openai.", "aws.bedrock.", "mcp."))
    )


def _under_todays_names(span: SpanFacts, known: Conventions) -> dict[str, Any]:
    """The attributes, older names translated; today's own name wins."""
    today: dict[str, Any] = {}
    for name, value in span.attributes.items():
        newer = known.renamed.get(name)
        if newer is not None and newer in known.attributes:
            today.setdefault(newer, value)
    today.update((name, value) for name, value in span.attributes.items() if name not in known.renamed)
    return today
