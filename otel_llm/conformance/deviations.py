"""Where otel_llm's own spans differ from the conventions on purpose: the one list, each with its reason.

`otel-llm lint` shows these and does not fail on them. Our tests fail on any other violation, and on an entry that no
span shows any more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otel_llm import semconv
from otel_llm.conformance.findings import Rule

if TYPE_CHECKING:
    from otel_llm.conformance.findings import Finding

__all__ = ["DEVIATIONS", "Deviation", "declared"]


@dataclass(frozen=True, slots=True)
class Deviation:
    """One rule that spans of ours break knowingly."""

    rule: Rule
    attribute: str | None
    """None where the rule is about the span itself."""
    operations: frozenset[str] | None
    """Operations on whose spans it happens; None for any."""
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether this is what was found."""
        return (
            self.rule is finding.rule
            and self.attribute == finding.attribute
            and (self.operations is None or finding.span.attributes.get(semconv.OPERATION_NAME) in self.operations)
        )


_RERANK: Final = frozenset({semconv.OP_RETRIEVAL})

DEVIATIONS: Final[tuple[Deviation, ...]] = (
    Deviation(
        Rule.UNKNOWN_ATTRIBUTE,
        semconv.COST,
        None,
        "The conventions have no cost yet (their pull request 443 is open); this is the name that backends read today.",
    ),
    Deviation(
        Rule.SPAN_NAME,
        None,
        _RERANK,
        "The conventions have no operation for reranking; retrieval is the nearest. There is no data source "
        "to name the span after, so it is named after its model, as other calls of models are.",
    ),
    Deviation(
        Rule.WRONG_SPAN,
        semconv.RESPONSE_ID,
        _RERANK,
        "A reranking is one call of a model, answered with an id that the provider's log can be searched for.",
    ),
    Deviation(
        Rule.WRONG_SPAN,
        semconv.USAGE_INPUT,
        _RERANK,
        "Some rerankers bill by token, and this span is the leaf that the tokens belong to.",
    ),
    Deviation(
        Rule.WRONG_SPAN,
        semconv.OPENAI_RESPONSE_SERVICE_TIER,
        None,
        "Providers that speak OpenAI's API answer with its service tier too, and price by it.",
    ),
    Deviation(
        Rule.WRONG_SPAN,
        semconv.OPENAI_SYSTEM_FINGERPRINT,
        None,
        "Providers that speak OpenAI's API answer with its fingerprint too; there is no other name for it.",
    ),
)


def declared(finding: Finding) -> Deviation | None:
    """The deviation that a finding about one of our own spans is; None where it is none, or somebody else's span.

    A cost of ours on somebody else's span (docs/clients.md) is ours too.
    """
    ours = finding.span.scope == semconv.OWN_SCOPE
    if not ours and not (finding.attribute == semconv.COST and semconv.COST_STATUS in finding.span.attributes):
        return None
    return next((deviation for deviation in DEVIATIONS if deviation.covers(finding)), None)
