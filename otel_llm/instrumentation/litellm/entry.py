"""Where calls of litellm come in: decides whether one is a call of its own, an attempt, or litellm's inner half.

litellm's functions call each other: an async function runs its sync twin, a public function runs an inner
one of the same name, Responses are bridged to chat, the Router and the retry helpers call all of them again.
What the program called is the outermost; the OTel context says what is running already.
"""

from __future__ import annotations

import functools
import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry import context as otel_context

from otel_llm.context import active_call, called_by, identity_in, outside_calls
from otel_llm.faults import guarded, let_through, note_fault
from otel_llm.instrumentation.litellm.around import arun_around, arun_within, run_around
from otel_llm.instrumentation.litellm.calls import Attempt, LogicalCall
from otel_llm.instrumentation.litellm.forms import PASSTHROUGH, RUNS, Form, are_kin, is_inner_half
from otel_llm.instrumentation.litellm.later import AWAITED, is_undone
from otel_llm.instrumentation.litellm.passthrough import passed_as
from otel_llm.instrumentation.litellm.reading import get, text
from otel_llm.instrumentation.litellm.realtime import RealtimeSession, named_arguments
from otel_llm.instrumentation.litellm.request import Request, plain_arguments
from otel_llm.instrumentation.litellm.routers import is_mirrored
from otel_llm.instrumentation.litellm.stream_usage import ask_for_usage
from otel_llm.instrumentation.scope import Scope
from otel_llm.untraced import is_untraced

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.context import Context

    from otel_llm.instrumentation.litellm.routers import Reading
    from otel_llm.instrumentation.recorder import Recorder

__all__ = ["Entry"]

Original: TypeAlias = "Callable[..., Any]"
Handler: TypeAlias = "Callable[[Original, tuple[Any, ...], dict[str, Any]], Any]"
"""What stands in for a diverted function: `handler(original, args, kwargs)`."""


class Entry:
    """Handlers for the diverted functions; each runs the original exactly once, whatever happens to us."""

    def __init__(self, recorder: Recorder, *, tenant_key: str = "tenant_id", stream_usage: bool = True) -> None:
        self._recorder = recorder
        self._tenant_key = tenant_key
        self._stream_usage = stream_usage

    # --- handlers, one per kind of function ---

    def sync_handler(self, form: Form, *, door: bool) -> Handler:
        """Handler of a sync function; `door` says that litellm has an inner function of the same name."""
        begin = functools.partial(self._begin, form, door)

        def handle(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return run_around(begin, original, args, kwargs)

        return handle

    def async_handler(self, form: Form, *, door: bool) -> Handler:
        """Handler of a coroutine function."""
        begin = functools.partial(self._begin, form, door)

        def handle(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
            return arun_around(begin, original, args, kwargs)

        return handle

    def router_handler(self, read: Reading, *, asynchronous: bool) -> Handler:
        """Handler of a Router's method; `read` tells what its calls ask for."""
        begin = functools.partial(self._begin_routed, read)
        around = arun_around if asynchronous else run_around

        def handle(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return around(begin, original, args, kwargs)

        return handle

    def retry_handler(self) -> Handler:
        """Handler of litellm's retry helpers, sync and async, which it enters while handling a first failure."""
        retried = self._retried

        def handle(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return original(*args, **(guarded("entering a retry", retried, kwargs) or kwargs))

        return handle

    def loop_handler(self) -> Handler:
        """Handler of litellm's helper that runs a coroutine from sync code, at times in a thread of its own."""

        def handle(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            function = kwargs.get("async_function", args[0] if args else None)
            carried = guarded("carrying the context over", _carrying, function)
            if carried is None:
                return original(*args, **kwargs)
            if "async_function" in kwargs:
                return original(*args, **{**kwargs, "async_function": carried})
            return original(carried, *args[1:], **kwargs)

        return handle

    def later_handler(self, form: Form, *, asynchronous: bool) -> Handler:
        """Handler of a function that asks for work, or comes back for it."""
        came = functools.partial(guarded, "looking for a late answer", self._came, form)

        def handle(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            result = original(*args, **kwargs)
            came(args, kwargs, result)
            return result

        async def ahandle(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            result = await original(*args, **kwargs)
            came(args, kwargs, result)
            return result

        return ahandle if asynchronous else handle

    def realtime_handler(self) -> Handler:
        """Handler of the function that is a realtime session as long as it runs."""

        async def handle(original: Original, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            named = guarded("reading a session", named_arguments, args, kwargs)
            if named is None:
                return await original(*args, **kwargs)
            return await arun_around(self._begin_session, original, (), named)

        return handle

    # --- decisions ---

    def _begin(
        self,
        form: Form,
        door: bool,  # noqa: FBT001
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        context: Context,
    ) -> _Running | None:
        active = _active_call(context)
        if active is None:
            if is_inner_half(form, kwargs) or is_untraced(context):
                return None
            recorded = _recorded_as(form, kwargs)
            return None if recorded is None else self._outermost(recorded, door, args, kwargs, context)
        if _through_door(active, form):
            return None
        if isinstance(active, Attempt) or not are_kin(active.request.form, form) or is_inner_half(form, kwargs):
            return None
        recorded = _recorded_as(form, kwargs)
        if recorded is None:
            return None
        return self._attempt(active, Request(recorded, args, kwargs), form.name if door else None, kwargs)

    def _begin_session(self, _: tuple[Any, ...], kwargs: dict[str, Any], context: Context) -> RealtimeSession | None:
        if _active_call(context) is not None or is_untraced(context):
            return None
        return RealtimeSession(self._recorder, kwargs, tenant_key=self._tenant_key)

    def _begin_routed(
        self, read: Reading, args: tuple[Any, ...], kwargs: dict[str, Any], context: Context
    ) -> _Running | None:
        made = read(args, kwargs)
        form = None if made is None else _recorded_as(made.form, made.kwargs)
        if made is None or form is None or is_untraced(context):
            return None
        active = _active_call(context)
        if active is not None:
            if not is_mirrored(made.kwargs) or is_mirrored(active.request.arguments):
                return None
            otel_context.attach(outside_calls(context))  # the one who runs us puts the context back
        request = Request(form, made.args, made.kwargs)
        request.route(made.router)
        call = LogicalCall(self._recorder, request, routed=True, tenant_key=self._tenant_key)
        return _Running(call, call, kwargs, asked=False)

    def _outermost(
        self,
        form: Form,
        door: bool,  # noqa: FBT001
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        before: Context,
    ) -> _Running:
        """Begin a call of the program's; one with an argument whose class raises has a span all the same."""
        inner = form.name if door else None
        try:
            return self._logical(Request(form, args, kwargs), inner, kwargs)
        except Exception as error:
            let_through(error)
            if otel_context.get_current() is not before:
                raise  # a span has begun: the one who runs us ends it
            begun = self._logical(Request(form, (), plain_arguments(form, args, kwargs)), inner, kwargs)
            note_fault("reading a request", error)
            return begun

    def _logical(self, request: Request, door: str | None, kwargs: dict[str, Any]) -> _Running:
        call = LogicalCall(self._recorder, request, routed=False, tenant_key=self._tenant_key)
        call.door = door
        asked = guarded("asking for usage", ask_for_usage, request, kwargs) if self._asks(request) else None
        return _Running(call, call, asked or kwargs, asked=asked is not None)

    def _attempt(self, call: LogicalCall, request: Request, door: str | None, kwargs: dict[str, Any]) -> _Running:
        attempt = call.begin_attempt(request)
        attempt.door = door
        asked = guarded("asking for usage", ask_for_usage, request, kwargs) if self._asks(request) else None
        return _Running(attempt, call, asked or kwargs, asked=asked is not None)

    def _came(self, form: Form, args: tuple[Any, ...], kwargs: dict[str, Any], answer: object) -> None:
        """Wait for what `answer` says is not done yet; record what it says is."""
        context = otel_context.get_current()
        if not text(get(answer, "status")) or _active_call(context) is not None or is_untraced(context):
            return
        said = plain_arguments(form, args, kwargs)
        if is_undone(answer):
            AWAITED.note(Request(form, (), said), answer, identity_in(context))
            return
        request = AWAITED.done(form, said, answer, self._tenant_key)
        if request is not None:

            def begin(_: tuple[Any, ...], kwargs: dict[str, Any], __: Context) -> _Running:
                return self._logical(request, None, kwargs)

            run_around(begin, lambda: answer, (), {})

    def _asks(self, request: Request) -> bool:
        return self._stream_usage and request.stream

    def _retried(self, kwargs: dict[str, Any]) -> dict[str, Any] | None:
        active = _active_call()
        if not isinstance(active, LogicalCall):
            return None
        active.note_failure(sys.exc_info()[1])
        function = kwargs.get("original_function")
        if function is None:
            return None
        return {**kwargs, "original_function": self._tried(active, function)}

    def _tried(self, call: LogicalCall, function: Original) -> Original:
        """Litellm's undecorated function, each run of which is one attempt."""

        def begin(args: tuple[Any, ...], kwargs: dict[str, Any], _: Context) -> _Running:
            return self._attempt(call, Request(call.request.form, args, kwargs), None, kwargs)

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def atried(*args: Any, **kwargs: Any) -> Any:
                return await arun_around(begin, function, args, kwargs)

            return atried

        @functools.wraps(function)
        def tried(*args: Any, **kwargs: Any) -> Any:
            return run_around(begin, function, args, kwargs)

        return tried


class _Running:
    """A call or attempt around one run of the original function."""

    def __init__(
        self, record: LogicalCall | Attempt, call: LogicalCall, kwargs: dict[str, Any], *, asked: bool
    ) -> None:
        self.kwargs = kwargs
        self.asked = asked
        self._record = record
        self._call = call
        self._scope: Scope | None = None
        if isinstance(record, Attempt) and record.recording is None:
            self._scope = Scope(called_by(record))

    def finish(self, result: Any) -> Any:
        """Record an answer; answers the stream that the program is to read where it is not `result` itself."""
        self._leave()
        return self._record.finish(result)

    def fail(self, error: BaseException) -> None:
        """Record a failure."""
        self._leave()
        self._record.fail(error)

    def abandon(self) -> None:
        """End what is open, without further facts."""
        self._leave()
        self._record.abandon()

    def _leave(self) -> None:
        if self._scope is not None:
            self._scope.leave()


def _active_call(context: Context | None = None) -> LogicalCall | Attempt | None:
    """The recorded call that runs in `context` (the current one for None).

    One that is over does not count: litellm's callbacks inherit its context.
    """
    active = active_call(context)
    return active if isinstance(active, (LogicalCall, Attempt)) and not active.closed else None


def _recorded_as(form: Form, kwargs: dict[str, Any]) -> Form | None:
    """The form that a call is recorded as; None for one that is not."""
    if form.family == PASSTHROUGH:
        return passed_as(form, kwargs)
    # The stream of a run is an object of OpenAI's client, which makes the request when it is entered.
    return None if form.family == RUNS and kwargs.get("stream") is True else form


def _through_door(active: LogicalCall | Attempt, form: Form) -> bool:
    """Whether this is the inner function that the public one of the same name calls for the same attempt."""
    if active.door != form.name:
        return False
    active.door = None
    return True


def _carrying(function: Callable[..., Awaitable[Any]] | None) -> Callable[..., Awaitable[Any]] | None:
    """The coroutine function bound to the context that is current now; None where no call is running."""
    if function is None or _active_call() is None:
        return None
    return functools.wraps(function)(functools.partial(arun_within, otel_context.get_current(), function))
