"""What can be wrong with a span, and how it is said."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from otel_llm.conformance.deviations import Deviation
    from otel_llm.conformance.spans import SpanFacts

__all__ = ["SOURCES", "Finding", "Level", "Rule"]

_GENAI: Final = "https://github.com/open-telemetry/semantic-conventions-genai"


class Level(str, Enum):
    """How much a finding weighs."""

    VIOLATION = "violation"
    """The conventions say MUST, or a reader would take the value for something else."""
    ADVICE = "advice"
    """The conventions say SHOULD, or an older generation of them said it so."""


class Rule(str, Enum):
    """One rule; the text is its id."""

    UNKNOWN_ATTRIBUTE = "unknown-attribute"
    OLDER_NAME = "older-name"
    TYPE = "type"
    WELL_KNOWN_VALUE = "well-known-value"
    REQUIRED = "required"
    CONDITION = "condition"
    WRONG_SPAN = "wrong-span"
    SPAN_KIND = "span-kind"
    SPAN_NAME = "span-name"
    MESSAGE_SCHEMA = "message-schema"
    TOKEN_SUM = "token-sum"  # noqa: S105  (tokens of language models)
    OLDER_EVENT = "older-event"
    SCHEMA_URL = "schema-url"


SOURCES: Final[dict[Rule, str]] = {
    Rule.UNKNOWN_ATTRIBUTE: f"registry, {_GENAI} model/gen-ai/registry.yaml; namespaces are reserved by "
    "https://opentelemetry.io/docs/specs/semconv/general/naming/",
    Rule.OLDER_NAME: f"registry, {_GENAI} model/gen-ai/registry.yaml (renamed since)",
    Rule.TYPE: f"registry, {_GENAI} model/gen-ai/registry.yaml (type)",
    Rule.WELL_KNOWN_VALUE: f"registry, {_GENAI} model/gen-ai/registry.yaml (members: a predefined value MUST be used)",
    Rule.REQUIRED: f"span definitions, {_GENAI} model/gen-ai/spans.yaml (requirement_level: required)",
    Rule.CONDITION: f"span definitions, {_GENAI} model/gen-ai/spans.yaml (requirement_level: conditionally_required)",
    Rule.WRONG_SPAN: f"span definitions, {_GENAI} model/gen-ai/spans.yaml (attributes of the span)",
    Rule.SPAN_KIND: f"span definitions, {_GENAI} model/gen-ai/spans.yaml (span_kind)",
    Rule.SPAN_NAME: f"span definitions, {_GENAI} model/gen-ai/spans.yaml (span name)",
    Rule.MESSAGE_SCHEMA: f"JSON schemas, {_GENAI} model/gen-ai/gen-ai-*.json (a known `type` held to its definition)",
    Rule.TOKEN_SUM: f"registry, {_GENAI} model/gen-ai/registry.yaml (a part is counted in its whole)",
    Rule.OLDER_EVENT: f"events, {_GENAI} model/gen-ai/events.yaml (message events ended with v1.36)",
    Rule.SCHEMA_URL: "https://opentelemetry.io/docs/specs/otel/schemas/ (an instrumentation names its schema URL)",
}
"""Where each rule stands."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about one span. No text of it contains what a person wrote or a model answered."""

    rule: Rule
    level: Level
    span: SpanFacts
    attribute: str | None
    """The attribute (or event) that it is about; None where it is the span itself."""
    what: str
    """A sentence without its full stop."""
    advice: str
    """What to do, as a sentence."""
    declared: Deviation | None = None
    """Set where otel_llm does so on purpose; the reason is in it."""

    @property
    def source(self) -> str:
        """Where the rule stands."""
        return SOURCES[self.rule]

    @property
    def counts(self) -> bool:
        """Whether it makes `lint` fail: a violation that is not declared."""
        return self.level is Level.VIOLATION and self.declared is None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return {
            "rule": self.rule.value,
            "level": self.level.value,
            "attribute": self.attribute,
            "what": self.what,
            "advice": self.advice,
            "source": self.source,
            "declared": self.declared.reason if self.declared is not None else None,
        }
