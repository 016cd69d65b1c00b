"""Which spans are kept, decided when they end: by ratio, and always what failed, was slow or was expensive.

Decided at the end, because only then error, duration and cost are known, and so that every call is counted whether it
is kept or not. The stage marks a draft (`left_out`); what becomes of it is the pipeline's business.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.trace import SpanContext, StatusCode

from otel_llm import semconv
from otel_llm.processors.content_policy import ContentPolicy
from otel_llm.processors.message_parts import Detail
from otel_llm.processors.probability import (
    probability_of,
    randomness_of,
    said_threshold,
    threshold_of,
    with_threshold,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.config import Config
    from otel_llm.processors.draft import SpanDraft

__all__ = ["LEFT_OUT", "RATIO", "RULES", "TRACE", "Sampling", "SamplingRules"]

LEFT_OUT: Final = "sampled"
"""Reason under which spans that were left out are counted."""
RATIO: Final = "ratio"
TRACE: Final = "trace"
RULES: Final = frozenset({"error", "slow", "expensive"})
"""Reasons that keep a span, and the rest of its trace with it, whatever the ratio."""


class SamplingRules(NamedTuple):
    """What is kept; see the settings `sampling.*`."""

    ratio: float = 1.0
    tenants: Mapping[str, float] = MappingProxyType({})
    errors: bool = True
    slow: float | None = None
    """Seconds."""
    expensive: float | None = None
    """USD."""
    content_ratio: float = 1.0

    @classmethod
    def of(cls, config: Config) -> SamplingRules:
        """The rules that the settings describe."""
        given = config.sampling
        return cls(
            ratio=given.ratio,
            tenants={tenant: float(ratio) for tenant, ratio in given.tenants.items()},
            errors=given.errors,
            slow=given.slow,
            expensive=given.expensive,
            content_ratio=given.content_ratio,
        )

    @property
    def keeps_everything(self) -> bool:
        """Whether no span is ever left out."""
        return min([self.ratio, *self.tenants.values()]) >= 1

    @property
    def idle(self) -> bool:
        """Whether there is nothing to decide at all."""
        return self.keeps_everything and self.content_ratio >= 1

    @property
    def rescues(self) -> bool:
        """Whether a span can be kept that its ratio leaves out."""
        return not self.keeps_everything and (self.errors or self.slow is not None or self.expensive is not None)


class Sampling:
    """End stage: marks what is left out, and writes on what is kept with which chance it was.

    Spans that the program's own sampler left out come here for their facts alone, and stay left out.
    """

    name = "sampling"

    def __init__(self, rules: SamplingRules) -> None:
        self._rules = rules
        self._idle = rules.idle
        self._default = threshold_of(rules.ratio)
        self._tenants = {tenant: threshold_of(ratio) for tenant, ratio in rules.tenants.items()}
        self._content = threshold_of(rules.content_ratio)
        self._without_content = ContentPolicy(Detail.OFF)

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Decide about one span."""
        if draft.scope_name == semconv.FEEDBACK_SCOPE:  # what somebody took the trouble to say is kept
            return draft
        if draft.left_out:
            return self._without_content(draft)
        if self._idle:
            return draft
        randomness = randomness_of(draft.context)
        before = said_threshold(draft.context)
        if randomness < self._content:
            self._leave_content_out(draft)
        if self._rules.keeps_everything:
            return draft
        reason = self._reason(draft)
        threshold = before if reason else max(before, self._threshold(draft))
        draft.attributes[semconv.SAMPLING_RATE] = probability_of(threshold)
        if reason or randomness >= threshold:
            draft.attributes[semconv.SAMPLING_REASON] = reason or RATIO
            draft.context = _saying(draft.context, threshold)
        else:
            draft.left_out = LEFT_OUT
            if not self._rules.rescues:
                self._without_content(draft)
        return draft

    def _threshold(self, draft: SpanDraft) -> int:
        tenant = draft.attributes.get(semconv.TENANT_ID)
        return self._tenants.get(tenant, self._default) if isinstance(tenant, str) else self._default

    def _reason(self, draft: SpanDraft) -> str:
        """Why the span is kept whatever the ratio; empty where nothing says so."""
        rules, facts = self._rules, draft.attributes
        if rules.errors and (draft.status.status_code is StatusCode.ERROR or semconv.ERROR_TYPE in facts):
            return "error"
        if facts.get(semconv.OPERATION_NAME) not in semconv.LLM_OPERATIONS:
            return ""
        if rules.slow is not None and draft.seconds >= rules.slow:
            return "slow"
        cost = facts.get(semconv.COST)
        if rules.expensive is not None and isinstance(cost, (int, float)) and cost >= rules.expensive:
            return "expensive"
        return ""

    def _leave_content_out(self, draft: SpanDraft) -> None:
        before = len(draft.attributes)
        self._without_content(draft)
        if len(draft.attributes) < before:
            draft.attributes[semconv.SAMPLING_CONTENT_LEFT_OUT] = True


def _saying(context: SpanContext, threshold: int) -> SpanContext:
    return SpanContext(
        context.trace_id,
        context.span_id,
        context.is_remote,
        context.trace_flags,
        with_threshold(context.trace_state, threshold),
    )
