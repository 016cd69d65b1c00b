"""Who the work is for: tenant, user and session, carried in OpenTelemetry's own context.

The identity rides in the OTel context, so it follows whatever that context follows: `await`, `gather`,
`TaskGroup`, generators, and threads started with a copied context. Nothing here is baggage: the identity
never leaves the process in a header.

    with otel_llm.tenant("acme", user="u1", session="s1"):
        litellm.completion(...)        # every span begun in here is stamped
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
import gc
import weakref
from contextlib import AbstractContextManager
from contextvars import Token
from typing import TYPE_CHECKING, Final, NamedTuple, ParamSpec, Protocol, TypeVar

from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.propagators import propagate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from opentelemetry.trace import Span

__all__ = [
    "ACTIVE_CALL_KEY",
    "NOBODY",
    "IdSource",
    "Identity",
    "OpikPlace",
    "active_call",
    "begin_call_in",
    "call_context",
    "call_that_begins",
    "called_by",
    "carry",
    "current_identity",
    "headers",
    "heard_span",
    "id_source",
    "identity_in",
    "opik_place_in",
    "outside_calls",
    "tenant",
    "with_id_source",
    "with_identity",
    "with_opik_place",
]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_LONGEST_FROM_BAGGAGE = 256
_IDENTITY_KEY = otel_context.create_key("otel_llm.identity")
_OPIK_PLACE_KEY = otel_context.create_key("otel_llm.opik-place")


class Identity(NamedTuple):
    """Tenant, user and session of a piece of work; each is None when nobody said."""

    tenant: str | None = None
    user: str | None = None
    session: str | None = None

    def over(self, outer: Identity) -> Identity:
        """The same identity, with what it leaves open filled in from `outer`.

        A different tenant does not inherit the outer tenant's user and session: they are not its own.
        """
        if self.tenant is not None and self.tenant != outer.tenant:
            outer = Identity()
        return Identity(
            tenant=self.tenant if self.tenant is not None else outer.tenant,
            user=self.user if self.user is not None else outer.user,
            session=self.session if self.session is not None else outer.session,
        )


NOBODY = Identity()
"""Nothing is known of whom the work is for."""


def identity_in(context: Context | None) -> Identity:
    """The identity that `context` carries (the current one for None); an empty one if it carries none."""
    found = (otel_context.get_current() if context is None else context).get(_IDENTITY_KEY)
    return found if isinstance(found, Identity) else NOBODY


def current_identity() -> Identity:
    """The identity of the work that is running now."""
    return identity_in(None)


def with_identity(identity: Identity, context: Context | None = None) -> Context:
    """A copy of `context` (the current one for None) that carries `identity`."""
    return otel_context.set_value(_IDENTITY_KEY, identity, context)


class OpikPlace(NamedTuple):
    """Where in Opik the caller of this service is, by the headers of Opik's own SDK; both are UUIDv7."""

    trace: str
    span: str | None


def opik_place_in(context: Context | None) -> OpikPlace | None:
    """The caller's place that is carried in a context, or in the current one."""
    found = (otel_context.get_current() if context is None else context).get(_OPIK_PLACE_KEY)
    return found if isinstance(found, OpikPlace) else None


def with_opik_place(place: OpikPlace, context: Context | None = None) -> Context:
    """`context` (or the current one) with the caller's place in Opik."""
    return otel_context.set_value(_OPIK_PLACE_KEY, place, context)


def identity_from_baggage(context: Context | None, tenant_key: str) -> Identity:
    """The identity that W3C baggage of `context` names: `tenant_key`, `user.id` and `session.id`.

    Entries are cut to 256 characters: they were written by whoever called, not by this program.
    """
    return Identity(
        tenant=_baggage_entry(tenant_key, context),
        user=_baggage_entry(semconv.USER_ID, context),
        session=_baggage_entry(semconv.SESSION_ID, context),
    )


def _baggage_entry(name: str, context: Context | None) -> str | None:
    value = baggage.get_baggage(name, context)
    return str(value)[:_LONGEST_FROM_BAGGAGE] if value not in (None, "") else None


def leave(token: object, attached: Context | None = None) -> None:
    """Undo an `attach` (of `attached`), without a word where that is impossible.

    A generator or task that is closed from elsewhere runs its `finally` in another context than it began in. What
    was attached is taken back there where `attached` is given; upstream's `detach` would log a traceback about it.
    """
    if not isinstance(token, Token):  # a context implementation other than contextvars
        otel_context.detach(token)  # type: ignore[arg-type]
        return
    try:
        token.var.reset(token)
    except ValueError:
        if attached is not None:
            _leave_elsewhere(token, attached)


def _leave_elsewhere(token: Token[Context], attached: Context) -> None:
    """Undo an `attach` in the context that it was made in, which is not the one that runs now.

    An async generator that its reader leaves by `break` runs its steps in the reader's context, and its `finally` in a
    task that the event loop makes for it: without this, the reader's next calls would be of the generator's tenant.
    Nothing happens where that context has something else attached by now, or is running at this moment. Which one it
    was only the token knows, and it shows that to the garbage collector alone.
    """
    for made_in in gc.get_referents(token):
        if type(made_in) is contextvars.Context and made_in.get(token.var) is attached:
            with contextlib.suppress(ValueError, RuntimeError):
                made_in.run(token.var.reset, token)


class tenant(AbstractContextManager["Identity"]):  # noqa: N801  (reads as a statement: `with tenant("acme")`)
    """Run a block on behalf of a tenant; every span begun inside carries it.

    `name` is the tenant's id; `user` and `session` are optional ids. What is left out is inherited from an
    enclosing block of the same tenant. Works with `with` around sync and async code alike. Empty strings
    count as not given; anything that is not a string is turned into one.
    """

    def __init__(self, name: str | None = None, *, user: str | None = None, session: str | None = None) -> None:
        self._identity = Identity(_text(name), _text(user), _text(session))
        self._entered: list[tuple[Token[Context], Context]] = []

    def __enter__(self) -> Identity:
        merged = self._identity.over(current_identity())
        context = with_identity(merged)
        self._entered.append((otel_context.attach(context), context))
        return merged

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leave(*self._entered.pop())


def headers(*, identity: bool = False, tenant_key: str = semconv.TENANT_ID) -> dict[str, str]:
    """Headers that take the trace (`traceparent`, `tracestate`) and the baggage of now to another service of one's own.

    With `identity`, tenant, user and session are added to the baggage, under the names that a service with
    `tenant_from_baggage` reads. Never give these to a provider of models; otel_llm itself does not.
    """
    context = otel_context.get_current()
    if identity:
        who = identity_in(context)
        named = ((tenant_key, who.tenant), (semconv.USER_ID, who.user), (semconv.SESSION_ID, who.session))
        for name, value in named:
            if value is not None:
                context = baggage.set_baggage(name, value, context)
    carrier: dict[str, str] = {}
    propagate.inject(carrier, context)
    return carrier


def carry(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """`function`, to be run in another thread with the trace, tenant, user and session of now.

    Python's threads begin with an empty context, so a call made in one would be a trace of its own, of no tenant:
    `executor.submit(otel_llm.carry(work), x)`, `threading.Thread(target=otel_llm.carry(work))`. The thread gets its
    own context back afterwards; what is carried may be run many times, and at once.
    """
    carried = otel_context.get_current()

    @functools.wraps(function)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        token = otel_context.attach(carried)
        try:
            return function(*args, **kwargs)
        finally:
            leave(token)

    return run


def _text(value: object) -> str | None:
    """A tenant, user or session as text; of an object whose text raises (a lazy one, its database away), its type."""
    if value is None or type(value) is str:
        return value or None
    unreadable = f"<unreadable {type(value).__name__}>"
    return guarded("the text of a tenant, user or session", _read, value, default=unreadable) or None


def _read(value: object) -> str:
    return str.__str__(value) if issubclass(type(value), str) else str(value)


ACTIVE_CALL_KEY = otel_context.create_key("otel_llm.active_call")
"""OTel context key of a weak reference to the recorded LLM call that is running: what holds on to a context, such as
the call's own span, is not to hold on to the call."""


class _Over:
    """Stands for a call that nobody holds any more, in a context that lives on."""

    closed = True


_OVER: Final = _Over()


OUTER_CONTEXT_KEY = otel_context.create_key("otel_llm.outer_context")
"""OTel context key under which a call's context keeps the one that its caller was in."""


def outside_calls(context: Context | None = None) -> Context:
    """`context` (the current one for None) as it was before the recorded LLM call that it runs inside, if it does."""
    here = otel_context.get_current() if context is None else context
    outer = here.get(OUTER_CONTEXT_KEY)
    return outer if isinstance(outer, Context) else here


def call_context(parent: Context, identity: Identity, owner: object, *, nested: bool = False) -> dict[str, object]:
    """What the context of a recorded call holds that begins in `parent`: a copy, to be added to.

    `nested` is an attempt at a call, whose own caller is the call's.
    """
    around: dict[str, object] = dict(parent)
    if not nested:
        around[OUTER_CONTEXT_KEY] = outside_calls(parent)
    around[ACTIVE_CALL_KEY] = weakref.ref(owner)
    around[_IDENTITY_KEY] = identity
    return around


_BEGINS_KEY = otel_context.create_key("otel_llm.begins")


def begin_call_in(around: dict[str, object], known: Mapping[str, object]) -> Context:
    """The context for the span of a call to begin in, which tells start stages what is `known` of it; of no others."""
    context = {**around, _BEGINS_KEY: known}
    return Context(context)


def call_that_begins(context: Context) -> Mapping[str, object] | None:
    """What is known of the call whose span begins in `context`; None where that is no call of ours."""
    return context.get(_BEGINS_KEY)  # type: ignore[return-value]  # only `begin_call_in` writes it


def called_by(owner: object) -> Context:
    """The current context, with `owner` as the recorded LLM call that runs here."""
    return otel_context.set_value(ACTIVE_CALL_KEY, weakref.ref(owner))


def active_call(context: Context | None = None) -> object | None:
    """The recorded LLM call that `context` (the current one for None) runs inside, or None outside of one.

    It may be over; of one that is gone, something that says `closed`.
    """
    running = (otel_context.get_current() if context is None else context).get(ACTIVE_CALL_KEY)
    if running is None:
        return None
    call: object | None = running()  # type: ignore[operator]  # only weak references are written there
    return _OVER if call is None else call


HEARD_SPAN_KEY = otel_context.create_key("otel_llm.heard_span")
"""OTel context key of the last span of ours, in a context in which somebody else's tracer has the current one."""


def heard_span(context: Context | None = None) -> Span | None:
    """The last span of an OpenTelemetry provider, where the current one of `context` is of another kind of tracer."""
    return otel_context.get_value(HEARD_SPAN_KEY, context)  # type: ignore[return-value]  # only `overlay` writes it


class IdSource(Protocol):
    """Where ids come from that must be the same when the work is done again."""

    def trace_id(self) -> int:
        """The next trace id, 128 bits."""
        ...

    def span_id(self) -> int:
        """The next span id, 64 bits, not zero."""
        ...


_ID_SOURCE_KEY = otel_context.create_key("otel_llm.id_source")
_id_sources: list[bool] = []
"""Not empty once there was a source in this process: most programs never have one, and need not look."""


def id_source() -> IdSource | None:
    """Where the ids of spans that begin now come from; None for the usual random ones."""
    if not _id_sources:
        return None
    return otel_context.get_value(_ID_SOURCE_KEY)  # type: ignore[return-value]  # only `with_id_source` writes it


def with_id_source(source: IdSource | None, context: Context) -> Context:
    """A copy of `context` in which spans get their ids from `source`; random ones for None."""
    if not _id_sources:
        _id_sources.append(True)
    return otel_context.set_value(_ID_SOURCE_KEY, source, context)
