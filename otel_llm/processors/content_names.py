"""Which attributes hold content, and which are facts of the call, whoever wrote them.

Content is what people and models said. Facts are names from a fixed or configured set (operation, model, tenant, error
type): they stay on a span whose texts could not be checked, and no detector of personal data looks at them.
"""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Final

from otel_llm import semconv
from otel_llm.semconv_content import FOREIGN_CONTENT, FOREIGN_CONTENT_PREFIXES

__all__ = ["FACTS", "ContentKind", "content_kind", "is_content_event"]

_MOST_NAMES: Final = 4096

FACTS: Final = frozenset(
    {
        semconv.OPERATION_NAME,
        semconv.PROVIDER_NAME,
        semconv.REQUEST_MODEL,
        semconv.RESPONSE_MODEL,
        semconv.RESPONSE_ID,
        semconv.FINISH_REASONS,
        semconv.OUTPUT_TYPE,
        semconv.TOOL_NAME,
        semconv.TOOL_TYPE,
        semconv.AGENT_ID,
        semconv.AGENT_NAME,
        semconv.WORKFLOW_NAME,
        semconv.ERROR_TYPE,
        semconv.EXCEPTION_TYPE,
        semconv.SERVER_ADDRESS,
        semconv.TENANT_ID,
        semconv.COST_STATUS,
        semconv.STREAM_END,
        semconv.SAMPLING_REASON,
        semconv.SAMPLING_LEFT_OUT,
        semconv.OPERATION_DETAIL,
        semconv.REPLACED,
        semconv.TRUNCATED,
        semconv.OPENAI_API_TYPE,
        semconv.OPENAI_REQUEST_SERVICE_TIER,
        semconv.OPENAI_RESPONSE_SERVICE_TIER,
        semconv.GEN_A_PROVIDER,
        semconv.OI_SPAN_KIND,
        semconv.OI_MODEL,
        semconv.TRACELOOP_SPAN_KIND,
        semconv.OPIK_PROJECT,
        semconv.OPIK_TRACE_ID,
        semconv.OPIK_SPAN_ID,
        semconv.OPIK_PARENT_SPAN_ID,
    }
)
"""Text attributes that are facts of the call."""


class ContentKind(Enum):
    """What an attribute's content is about, as far as its name tells."""

    MESSAGES = "messages"
    """Messages in the conventions' shape: system, tool and image parts inside can be told apart."""
    TEXT = "text"
    """What was asked of a retrieval and what it found."""
    SYSTEM = "system"
    TOOLS = "tools"
    MIXED = "mixed"
    """Anything, in somebody else's shape."""


@lru_cache(maxsize=_MOST_NAMES)
def content_kind(name: str) -> ContentKind | None:
    """The kind of content in the attribute `name`; None where it holds none."""
    if name in {semconv.INPUT_MESSAGES, semconv.OUTPUT_MESSAGES}:
        return ContentKind.MESSAGES
    if name == semconv.SYSTEM_INSTRUCTIONS:
        return ContentKind.SYSTEM
    if name in semconv.TOOL_CONTENT or name.startswith(semconv.TOOL_CONTENT_PREFIXES):
        return ContentKind.TOOLS
    if name == semconv.PROMPT_NAME:
        return None
    if name in semconv.CONTENT_ATTRIBUTES:
        return ContentKind.TEXT
    if name in FOREIGN_CONTENT:
        return ContentKind.MIXED
    return ContentKind.MIXED if name.startswith(FOREIGN_CONTENT_PREFIXES) else None


def is_content_event(name: str) -> bool:
    """Whether an event of this name is a message, so that all it carries is content."""
    return name in semconv.CONTENT_EVENTS
