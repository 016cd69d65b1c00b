"""`otel_llm.instrument_celery()`: tasks carry trace, baggage and identity, and each run of a task is a span.

Built on Celery's own signals and message headers. Where opentelemetry-instrumentation-celery is active, it makes the
spans and carries the trace; then only the identity is added here. The identity travels in a header of the message,
from one's own program to one's own worker: whoever may write to the broker may run tasks anyway.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import trace

from otel_llm import semconv
from otel_llm.context import Identity, current_identity
from otel_llm.faults import guarded
from otel_llm.propagators import propagate
from otel_llm.servers.request import Served

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["instrument_celery"]

_logger = logging.getLogger(__name__)

_IDENTITY: Final = "otel_llm_identity"
_TRACE: Final = "otel_llm_trace"
_UPSTREAM: Final = "opentelemetry.instrumentation.celery"
_lock = threading.RLock()
_instrumented = False
_open: dict[int, _Run] = {}
"""`id()` of Celery's request -> the run that goes on. A task id may run twice at once, delivered again."""


class _Run(NamedTuple):
    request: Any
    """Celery's own; kept, so that no other gets its `id()`."""
    served: Served
    errors: list[BaseException]


def instrument_celery() -> None:
    """Carry context through Celery from now on, and record each run of a task as a span `run TASK`.

    Call it where both the program that sends and the worker import it: beside the Celery application. A second call
    does nothing. Where opentelemetry-instrumentation-celery is used too, call this after it. Raises `ImportError`
    where Celery is not installed.
    """
    global _instrumented  # noqa: PLW0603  (signals belong to the process)
    from celery import signals  # noqa: PLC0415  (an extra, imported by those who use it)

    with _lock:
        if _instrumented:
            return
        _instrumented = True
    for signal, receiver in (
        (signals.before_task_publish, _publishing),
        (signals.task_prerun, _beginning),
        (signals.task_failure, _failed),
        (signals.task_retry, _failed),
        (signals.task_postrun, _ended),
    ):
        signal.connect(receiver, weak=False)


def _publishing(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        guarded("carrying a context", _carry, headers)


def _carry(headers: dict[str, Any]) -> None:
    identity = current_identity()
    named = {"tenant": identity.tenant, "user": identity.user, "session": identity.session}
    known = {key: value for key, value in named.items() if value is not None}
    if known:
        headers[_IDENTITY] = known
    if not _upstream_is_active():
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        headers[_TRACE] = carrier


def _beginning(task: Any = None, **_: Any) -> None:
    served = guarded("beginning a task", _begin, task)
    if served is not None:
        served.enter()
        _open[id(task.request)] = _Run(task.request, served, [])


def _begin(task: Any) -> Served | None:
    if _upstream_is_active() and not trace.get_current_span().get_span_context().is_valid:
        _come_last()
        return None
    request = task.request
    said = _header(request, _IDENTITY)
    identity = Identity(said.get("tenant"), said.get("user"), said.get("session"))
    attributes = {
        semconv.MESSAGING_SYSTEM: "celery",
        semconv.MESSAGING_OPERATION_TYPE: "process",
        semconv.MESSAGING_OPERATION_NAME: "run",
        semconv.MESSAGING_MESSAGE_ID: getattr(request, "id", None),
        semconv.CELERY_TASK: task.name,
        semconv.CELERY_RETRIES: getattr(request, "retries", None) or None,
    }
    return Served.begin(f"run {task.name}", _header(request, _TRACE), identity, attributes, trace.SpanKind.CONSUMER)


def _come_last() -> None:
    """The other instrumentation was switched on after ours, so that its span begins after us: let it go first."""
    from celery import signals  # noqa: PLC0415  (an extra, imported by those who use it)

    signals.task_prerun.disconnect(_beginning)
    signals.task_prerun.connect(_beginning, weak=False)
    _logger.warning(
        "The first Celery task of this process has no tenant: CeleryInstrumentor was switched on after "
        "otel_llm.instrument_celery(). Call ours last."
    )


def _failed(sender: Any = None, request: Any = None, exception: Any = None, reason: Any = None, **_: Any) -> None:
    found = _open.get(id(getattr(sender, "request", None) if request is None else request))
    error = exception or reason
    if found is not None and isinstance(error, BaseException):
        found.errors.append(error)


def _ended(task: Any = None, state: str | None = None, **_: Any) -> None:
    found = _open.pop(id(getattr(task, "request", None)), None)
    if found is not None:
        # What ends a worker in the middle of a task (a time limit, a stop) goes through it and leaves no state.
        passing = sys.exc_info()[1] if state is None else None
        found.served.end(found.errors[0] if found.errors else passing)


def _header(request: Any, name: str) -> Mapping[str, Any]:
    """A header of the message; Celery puts them on the request itself, or below `headers`."""
    value = getattr(request, name, None)
    if value is None:
        value = (getattr(request, "headers", None) or {}).get(name)
    return value if isinstance(value, dict) else {}


def _upstream_is_active() -> bool:
    upstream = sys.modules.get(_UPSTREAM)
    return upstream is not None and bool(upstream.CeleryInstrumentor().is_instrumented_by_opentelemetry)
