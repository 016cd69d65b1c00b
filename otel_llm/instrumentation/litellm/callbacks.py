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

from otel_llm.context import leave
from otel_llm.faults import guarded
from otel_llm.instrumentation.litellm.callback_context import context_outside, may_write_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

__all__ = ["MODULES", "diversions"]

_HANDLERS: Final = "litellm.litellm_core_utils.litellm_logging"
_OPENTELEMETRY: Final = "litellm.integrations.opentelemetry"

MODULES: Final = (_HANDLERS, _OPENTELEMETRY)
"""Where callbacks are run from, and where the one is that looks for a span; imported with litellm or later."""

_RUN_CALLBACKS: Final = ("success_handler", "async_success_handler", "failure_handler", "async_failure_handler")


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


def _run_outside(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    context = guarded("a callback's context", context_outside)
    if context is None:
        return original(*args, **kwargs)
    token = otel_context.attach(context)
    try:
        return original(*args, **kwargs)
    finally:
        leave(token)


async def _run_outside_async(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    context = guarded("a callback's context", context_outside)
    if context is None:
        return await original(*args, **kwargs)
    token = otel_context.attach(context)
    try:
        return await original(*args, **kwargs)
    finally:
        leave(token)


def _find_parent(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    found = original(*args, **kwargs)
    return found if guarded("a callback's parent", may_write_on, found) in (True, None) else (found[0], None)
