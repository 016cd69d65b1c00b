"""Runs the program's own function exactly once, with our work around it and none of it in the way.

This is the only code of ours that a call of litellm must pass through unguarded, so it does nothing but call
the original, guard everything else, and put the caller's context back, whatever became of our work. A test
makes every other function of the recorder raise and holds that nobody notices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry import context as otel_context
from opentelemetry import trace

from otel_llm.context import leave
from otel_llm.faults import guarded, let_through, note_fault
from otel_llm.instrumentation.litellm.unasked import hide_usage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.context import Context

__all__ = [
    "Around",
    "ReadAround",
    "aread_around",
    "arun_around",
    "arun_within",
    "read_around",
    "recording_of",
    "run_around",
]


class Around(Protocol):
    """Our work around one run of the original."""

    kwargs: dict[str, Any]
    """Keyword arguments for the original."""
    asked: bool
    """Whether they ask for usage that the program did not ask for."""

    def finish(self, result: Any) -> Any:
        """The original returned `result`; answers what the caller is to get, None for `result` itself."""

    def fail(self, error: BaseException) -> None:
        """The original raised `error`."""

    def abandon(self) -> None:
        """Our work came to grief: end what is open, without further facts."""


class ReadAround(Protocol):
    """Our work around one read of a stream."""

    over: bool
    """Whether there is nothing left to be told."""
    reading: bool
    """True while a read is under way, so that a subclass's read is not taken twice."""
    context: Context | None
    """What the read does belongs to the call: its context, to be the current one. None: any."""

    def chunk(self, chunk: object) -> None:
        """The read gave `chunk`."""

    def end(self) -> None:
        """The stream is at its end."""

    def fail(self, error: BaseException) -> None:
        """The read raised `error`."""


_FAILED: Final = object()
_BEGINNING: Final[Any] = object()
"""In place of our work while that is beginning: whatever is raised then is the program's (a signal, Ctrl-C)."""


def run_around(
    begin: Callable[..., Around | None], original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call `original`, within what `begin(args, kwargs, context)` starts in the caller's (None: nothing of ours)."""
    before = otel_context.get_current()
    work: Around | None = _BEGINNING
    try:
        work = _begun(begin, args, kwargs, before)
        result = original(*args, **(kwargs if work is None else work.kwargs))
    except BaseException as error:
        _failed(work, error, before)
        del work  # whoever keeps the error keeps this frame
        raise
    try:
        return result if work is None else _finished(work, result, before)
    except BaseException:
        _interrupted(work, before)
        raise


async def arun_around(
    begin: Callable[..., Around | None], original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """The same for a coroutine function."""
    before = otel_context.get_current()
    work: Around | None = _BEGINNING
    try:
        work = _begun(begin, args, kwargs, before)
        result = await original(*args, **(kwargs if work is None else work.kwargs))
    except BaseException as error:
        _failed(work, error, before)
        del work
        raise
    try:
        return result if work is None else _finished(work, result, before)
    except BaseException:
        _interrupted(work, before)
        raise


async def arun_within(context: Context, function: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
    """Run a coroutine function with `context` as the current one."""
    before: Context | None = otel_context.get_current()
    otel_context.attach(context)
    try:
        return await function(*args, **kwargs)
    except GeneratorExit:
        before = None
        raise
    finally:
        _back_to(before)


def recording_of(stream: Any, attribute: str) -> Any:
    """What is to be told of a read of `stream` that begins now, if anybody is."""
    try:
        found = stream.__dict__.get(attribute)
    except Exception as error:  # noqa: BLE001  (an object that does not keep what it was given: nobody follows it)
        let_through(error)
        return None
    return None if found is None or found.reading or found.over else found


def read_around(read: Callable[[Any], Any], stream: Any, work: ReadAround) -> Any:
    """`read(stream)`, which is one read of it, within `work`."""
    token = None if work.context is None else _attached(work.context)
    work.reading = True
    try:
        chunk = read(stream)
    except StopIteration:
        guarded("ending a stream", work.end)
        raise
    except BaseException as error:
        guarded("ending a failed stream", work.fail, error)
        raise
    finally:
        work.reading = False
        if token is not None:
            leave(token)  # whatever the read left
    try:
        work.chunk(chunk)
    except Exception as error:  # noqa: BLE001  (ours, as `guarded` has it)
        note_fault("taking a chunk", error)
    return chunk


async def aread_around(read: Callable[[Any], Awaitable[Any]], stream: Any, work: ReadAround) -> Any:
    """The same for an async stream."""
    token = None if work.context is None else _attached(work.context)
    work.reading = True
    try:
        chunk = await read(stream)
    except StopAsyncIteration:
        guarded("ending a stream", work.end)
        raise
    except BaseException as error:
        guarded("ending a failed stream", work.fail, error)
        raise
    finally:
        work.reading = False
        if token is not None:
            leave(token)  # whatever the read left
    try:
        work.chunk(chunk)
    except Exception as error:  # noqa: BLE001  (ours, as `guarded` has it)
        note_fault("taking a chunk", error)
    return chunk


def _attached(context: Context) -> object | None:
    """Make `context` current; answers what undoes that."""
    try:
        return otel_context.attach(context)
    except Exception as error:  # noqa: BLE001  (somebody else's way of keeping contexts)
        note_fault("entering a stream's context", error)
        return None


def _begun(
    begin: Callable[..., Around | None], args: tuple[Any, ...], kwargs: dict[str, Any], before: Context
) -> Around | None:
    try:
        work = begin(args, kwargs, before)
    except Exception as error:  # noqa: BLE001  (ours, as `guarded` has it)
        note_fault("starting a call", error)
        work = None
    if work is None:
        _undo(before)
    return work


def _finished(work: Around, result: Any, before: Context) -> Any:
    try:
        if work.asked:
            guarded("hiding the usage chunk", hide_usage, result)
        finished = work.finish(result)
    except Exception as error:  # noqa: BLE001  (ours, as `guarded` has it)
        guarded("ending a call", work.abandon)
        note_fault("recording an answer", error)
        finished = None
    _back_to(before)
    return result if finished is None else finished


def _failed(work: Around | None, error: BaseException, before: Context) -> None:
    if work is None:
        return
    if work is _BEGINNING:
        _undo(before)
        return
    try:
        if guarded("recording a failure", work.fail, error, default=_FAILED) is _FAILED:
            guarded("ending a call", work.abandon)
    finally:
        _back_to(None if isinstance(error, GeneratorExit) else before)


def _interrupted(work: Around | None, before: Context) -> None:
    """A signal of the program's, Ctrl-C: what comes next must not be recorded as part of this call."""
    _back_to(before)
    if work is not None:
        guarded("ending a call", work.abandon)


def _undo(before: Context) -> None:
    """Beginning failed half-way: end a span that it made current, and put the caller's context back."""
    current = otel_context.get_current()
    if current is before:
        return
    _back_to(before)
    span = trace.get_current_span(current)
    if span is not trace.get_current_span(before):
        guarded("ending a span", span.end)


def _back_to(before: Context | None) -> None:
    """Put the caller's context back; None where a coroutine is thrown away, which happens in anybody's context."""
    if before is not None and otel_context.get_current() is not before:
        otel_context.attach(before)
