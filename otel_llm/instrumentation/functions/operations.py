"""What kind of work a function does, in the words of the GenAI conventions: tool, agent, workflow, retrieval.

Source: spans.yaml of open-telemetry/semantic-conventions-genai (execute_tool, invoke_agent, invoke_workflow, plan,
retrieval). Work that is none of these has a span of its plain name and no `gen_ai.*` attributes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from opentelemetry.trace import SpanKind

from otel_llm import semconv

__all__ = ["Operation", "OperationName", "operation_named"]

OperationName: TypeAlias = Literal["tool", "agent", "workflow", "plan", "retrieval"]


@dataclass(frozen=True, slots=True)
class Operation:
    """How the conventions write one kind of work."""

    name: str
    """Value of `gen_ai.operation.name`; the span is named `{name} {what}`."""
    subject: str | None
    """Attribute that holds what is invoked; None where the conventions have none that fits every function."""
    kind: SpanKind = SpanKind.INTERNAL
    constants: tuple[tuple[str, str], ...] = ()


_OPERATIONS: Final[dict[str, Operation]] = {
    "tool": Operation(semconv.OP_EXECUTE_TOOL, semconv.TOOL_NAME, constants=((semconv.TOOL_TYPE, "function"),)),
    "agent": Operation(semconv.OP_INVOKE_AGENT, semconv.AGENT_NAME),
    "workflow": Operation(semconv.OP_INVOKE_WORKFLOW, semconv.WORKFLOW_NAME),
    "plan": Operation(semconv.OP_PLAN, semconv.AGENT_NAME),
    "retrieval": Operation(semconv.OP_RETRIEVAL, None, SpanKind.CLIENT),
}
_BY_CONVENTION: Final = {operation.name: operation for operation in _OPERATIONS.values()}


def operation_named(name: str | None) -> Operation | None:
    """The operation called `name`, by our short word or by the conventions' own value; None for None.

    Raises `ValueError` for any other name: it is a mistake in the program's text, seen when the module is imported.
    """
    if name is None:
        return None
    found = _OPERATIONS.get(name) or _BY_CONVENTION.get(name)
    if found is None:
        known = ", ".join(repr(each) for each in _OPERATIONS)
        message = f"operation={name!r} is not known to otel_llm. Use one of {known}, or leave it out."
        raise ValueError(message)
    return found
