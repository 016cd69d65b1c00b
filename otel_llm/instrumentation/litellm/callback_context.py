"""The context in which a callback of litellm's runs: our caller's, marked, so that it can be told that it is one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace

from otel_llm.context import active_call, outside_calls

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["context_outside", "may_write_on"]

_IN_CALLBACK: Final = otel_context.create_key("otel_llm.in_callback")


def context_outside() -> Context | None:
    """Our caller's context, for a callback that would run inside our call; None where it runs outside already."""
    if active_call() is None:
        return None
    return otel_context.set_value(_IN_CALLBACK, True, outside_calls())  # noqa: FBT003  (a value, not a switch)


def may_write_on(found: Any) -> bool:
    """Whether a callback may write on the span that it found, as `(context, span)`.

    Not where it found merely the current one: that is the caller's, and no record of a call.
    """
    if not otel_context.get_value(_IN_CALLBACK) or not isinstance(found, tuple) or len(found) != 2:
        return True
    return found[1] is not trace.get_current_span()
