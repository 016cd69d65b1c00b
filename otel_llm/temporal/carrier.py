"""What travels in a Temporal header: the trace, baggage, and for whom the work is done.

The header is the one that Temporal's own OpenTelemetry interceptors write in every language, so a trace goes on into
workers that know nothing of us. Tenant, user and session lie beside the trace in it: it stays inside Temporal, is
written by the program's own clients and workflows, and goes into no HTTP request.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote

from opentelemetry import trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.propagators.textmap import TextMapPropagator, default_getter, default_setter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from temporalio.converter import PayloadConverter

from otel_llm.context import Identity, identity_in, with_identity
from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.propagators.textmap import CarrierT, Getter, Setter
    from opentelemetry.trace import SpanContext
    from temporalio.api.common.v1 import Payload

__all__ = ["HEADER", "PROPAGATOR", "IdentityPropagator", "Incoming", "read_header", "with_creator", "with_header"]

HEADER: Final = "_tracer-data"
"""Temporal's own name for the header, in all of its SDKs."""
_TENANT: Final = "otel-llm-tenant"
_USER: Final = "otel-llm-user"
_SESSION: Final = "otel-llm-session"
_CREATOR: Final = "otel-llm-created-by"
"""Of a schedule: the `traceparent` of the span that created it. Its runs link to it and are traces of their own."""


class IdentityPropagator(TextMapPropagator):
    """Writes and reads tenant, user and session, percent-encoded (Nexus headers are ASCII)."""

    def inject(
        self, carrier: CarrierT, context: Context | None = None, setter: Setter[CarrierT] = default_setter
    ) -> None:
        """Write what is known of the identity in `context`."""
        identity = identity_in(context)
        for key, value in ((_TENANT, identity.tenant), (_USER, identity.user), (_SESSION, identity.session)):
            if value is not None:
                setter.set(carrier, key, quote(value))

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        """`context` with the identity that `carrier` names."""
        context = Context() if context is None else context
        tenant, user, session = (_first(getter.get(carrier, key)) for key in (_TENANT, _USER, _SESSION))
        if tenant is None and user is None and session is None:
            return context
        return with_identity(Identity(tenant, user, session), context)

    @property
    def fields(self) -> set[str]:
        """The keys that are written."""
        return {_TENANT, _USER, _SESSION}


PROPAGATOR: Final = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator(), IdentityPropagator()])
"""What the header holds. Fixed, like upstream's: the same on every worker, whatever `OTEL_PROPAGATORS` says."""


class Incoming(NamedTuple):
    """What a header said."""

    context: Context
    """Trace, baggage and identity; an empty context where the header is missing or nonsense."""
    creator: SpanContext | None = None
    """The span that created the schedule that this is a run of."""


def read_header(headers: Mapping[str, Payload]) -> Incoming:
    """What our header among `headers` says; nothing of the current context is in it."""
    payload = headers.get(HEADER)
    if payload is None:
        return Incoming(Context())
    return guarded("reading a Temporal header", _incoming, payload) or Incoming(Context())


def with_header(headers: Mapping[str, Payload], context: Context) -> Mapping[str, Payload]:
    """`headers` with what `context` carries."""
    carrier: dict[str, Any] = {}
    PROPAGATOR.inject(carrier, context)
    return {**headers, HEADER: _payload(carrier)} if carrier else headers


def with_creator(headers: Mapping[str, Payload] | None, context: Context) -> Mapping[str, Payload]:
    """Headers for the runs of a schedule: the identity in `context`, and its span as the one to link to."""
    carrier: dict[str, Any] = {}
    IdentityPropagator().inject(carrier, context)
    traced: dict[str, Any] = {}
    TraceContextTextMapPropagator().inject(traced, context)
    if "traceparent" in traced:
        carrier[_CREATOR] = traced["traceparent"]
    return {**(headers or {}), HEADER: _payload(carrier)} if carrier else (headers or {})


def _incoming(payload: Payload) -> Incoming:
    carrier = PayloadConverter.default.from_payloads([payload])[0]
    creator = None
    if _CREATOR in carrier:
        context = TraceContextTextMapPropagator().extract({"traceparent": carrier[_CREATOR]}, Context())
        creator = trace.get_current_span(context).get_span_context()
    return Incoming(PROPAGATOR.extract(carrier, Context()), creator if creator and creator.is_valid else None)


def _payload(carrier: dict[str, Any]) -> Payload:
    return PayloadConverter.default.to_payloads([carrier])[0]


def _first(values: list[str] | None) -> str | None:
    return unquote(values[0]) if values and values[0] else None
