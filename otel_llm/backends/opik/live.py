"""Finished spans that this process still has, read as their bytes would be."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm import semconv
from otel_llm.backends.opik.surroundings import surroundings_of

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    from otel_llm.backends.opik.surroundings import Surroundings
    from otel_llm.backends.opik.values import Attributes

__all__ = ["LiveSpan", "LiveSpans", "LiveStatus", "attributes_of_span", "read_span"]

_MOST_KNOWN: Final = 64
_PLAIN: Final = frozenset({str, int, bool, list, tuple})


class LiveStatus(NamedTuple):
    """A status under the names of OTLP."""

    code: int
    message: str


class LiveSpan(NamedTuple):
    """A span without events and links under the names of OTLP, as far as rows are made of it."""

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    trace_state: str
    name: str
    kind: int
    start_time_unix_nano: int
    end_time_unix_nano: int
    status: LiveStatus
    events: tuple[()] = ()
    links: tuple[()] = ()
    dropped_attributes_count: int = 0


def read_span(span: ReadableSpan) -> LiveSpan:
    """A finished span, without its attributes."""
    context, parent, status = span.context, span.parent, span.status
    assert context is not None, "only spans with a context are exported"
    return LiveSpan(
        context.trace_id.to_bytes(16, "big"),
        context.span_id.to_bytes(8, "big"),
        b"" if parent is None else parent.span_id.to_bytes(8, "big"),
        context.trace_state.to_header() if context.trace_state else "",
        span.name,
        span.kind.value + 1,  # OTLP has an unspecified kind before the others
        span.start_time or 0,
        span.end_time or 0,
        _UNSET if status.status_code.value == 0 else LiveStatus(status.status_code.value, status.description or ""),
    )


_UNSET: Final = LiveStatus(0, "")


def attributes_of_span(span: ReadableSpan) -> Attributes:
    """The attributes of a finished span; not to be changed."""
    found: Any = span.attributes
    if not found:
        return {}
    if type(found) is dict:
        return found
    return found.copy() if hasattr(found, "copy") else dict(found)


class LiveSpans:
    """What the spans of each resource and scope of this process have in common. Used by one thread."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, int], _Known] = OrderedDict()
        self._latest = _Known(None, None, None)

    def around(self, resource: Resource, scope: InstrumentationScope | None) -> Surroundings | None:
        """By identity of both.

        None where values are not ones that OTLP carries as they are, and for feedback, which is no span to Opik.
        """
        latest = self._latest
        if latest.resource is resource and latest.scope is scope:
            return latest.surroundings
        key = id(resource), id(scope)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.popitem(last=False)
            found = self._known[key] = _Known(resource, scope, _surroundings_of(resource, scope))
        self._latest = found
        return found.surroundings


class _Known(NamedTuple):
    resource: Resource | None
    """Kept, as the scope is, so that its id cannot come again meanwhile."""
    scope: InstrumentationScope | None
    surroundings: Surroundings | None


def _surroundings_of(resource: Resource, scope: InstrumentationScope | None) -> Surroundings | None:
    name, version = (scope.name or "", scope.version or "") if scope is not None else ("", "")
    attributes = dict(resource.attributes)
    if name == semconv.FEEDBACK_SCOPE or not _PLAIN.issuperset(map(type, attributes.values())):
        return None
    for key, value in attributes.items():
        if isinstance(value, (list, tuple)):
            if not all(type(entry) is str for entry in value):
                return None
            attributes[key] = list(value)
    return surroundings_of(attributes, name, version)
