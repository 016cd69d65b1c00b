"""litellm's callbacks run where the program called, as they do without us, and not inside our call.

litellm runs them in threads and tasks with a copy of the call's context, some before our span has ended and some after.
In that context the current span is ours. What a callback does there would pass for part of the call: the request with
which it sends its record would be an HTTP attempt of the model's, and litellm's own OpenTelemetry callback, which makes
no span where one is current, would write on our span, mostly when that has ended, with a warning of the SDK for every
attribute. So callbacks get our caller's context, and that one callback a parent but no span to write on.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import context as otel_context
from opentelemetry import trace

from otel_llm.context import active_call, leave, outside_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from opentelemetry.context import Context

__all__ = ["MODULES", "diversions"]

_HANDLERS: Final = "litellm.litellm_core_utils.litellm_logging"
_OPENTELEMETRY: Final = "litellm.integrations.opentelemetry"

MODULES: Final = (_HANDLERS, _OPENTELEMETRY)
"""Where callbacks are run from, and where the one is that looks for a span; imported with litellm or later."""

_RUN_CALLBACKS: Final = ("success_handler", "async_success_handler", "failure_handler", "async_failure_handler")
_IN_CALLBACK: Final = otel_context.create_key("otel_llm.in_callback")


def diversions(module: ModuleType) -> Iterator[tuple[object, Callable[..., Any]]]:
    """Functions of one of `MODULES` that this version has, each with what it is to be diverted to."""
    if module.__name__ == _OPENTELEMETRY:
        finder = getattr(getattr(module, "OpenTelemetry", None), "_get_span_context", None)
        if finder is not None:
            yield finder, _find_parent
        return
    for name in _RUN_CALLBACKS:
        function = getattr(getattr(module, "Logging", None), name, None)
        if function is not None:
            yield function, _run_outside_async if inspect.iscoroutinefunction(function) else _run_outside


def _outside() -> Context:
    return otel_context.set_value(_IN_CALLBACK, True, outside_calls())  # noqa: FBT003  (a value, not a switch)


def _run_outside(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if active_call() is None:
        return original(*args, **kwargs)
    token = otel_context.attach(_outside())
    try:
        return original(*args, **kwargs)
    finally:
        leave(token)


async def _run_outside_async(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if active_call() is None:
        return await original(*args, **kwargs)
    token = otel_context.attach(_outside())
    try:
        return await original(*args, **kwargs)
    finally:
        leave(token)


def _find_parent(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What `original` finds: a context, and no span to write on but one that was named to it."""
    found = original(*args, **kwargs)
    if not otel_context.get_value(_IN_CALLBACK) or not isinstance(found, tuple) or len(found) != 2:
        return found
    context, span = found
    return (context, None) if span is trace.get_current_span() else found  # the caller's span is no record of a call
