"""A stream is one span that ends exactly once, whatever ends it, and the user's object stays what it was.

The object that litellm returned is handed to the caller unchanged, same identity, same class. Its *class*
learns to tell us of each chunk: the first time a stream class is seen, its `__next__`, `__anext__`, `close`
and `aclose` are wrapped; an instance that we do not record passes straight through. Native generators have
no class to teach; they are wrapped in a generator of the same kind.

    read to the end   -> ended, success              error in the middle -> ended, error
    close / aclose    -> ended, `closed`             task cancelled      -> ended, error, `cancelled`
    break, dropped, never read -> ended when collected (at the latest at exit), `abandoned`
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import timeit
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeVar

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.instrumentation.litellm.around import aread_around, read_around, recording_of
from otel_llm.instrumentation.litellm.leftovers import aside, open_streams, unwatch, was_collected, watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from opentelemetry.context import Context

    from otel_llm.instrumentation.failures import ReportedError
    from otel_llm.instrumentation.litellm.stream_reader import StreamReader
    from otel_llm.instrumentation.recorder import Recording

__all__ = ["AttemptStream", "StreamRecording", "follow", "is_stream", "on_failure", "release"]

Generator = TypeVar("Generator")

_ATTRIBUTE: Final = "_otel_llm_stream"
_taught: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes whose methods tell us of chunks. Held weakly: litellm's Router makes a class per stream."""
_answers: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes of what calls return that is no stream."""
_lock = threading.RLock()

_MANY: Final = 256
"""Chunks of one stream that are not left to wait for its end."""
_MOST: Final = 4096
"""Chunks that the thread of the streams may be behind, until the thread that reads the stream helps."""
_CHUNK_BYTES: Final = 1024
_PATIENCE_SECONDS: Final = 1.0


class StreamRecording:
    """The recording of a stream that somebody else is reading.

    Where what a call says is put on its span later, chunks are read later too: with the rest when the stream is over,
    or, of a long one, by the thread of the streams meanwhile.
    """

    def __init__(
        self, recording: Recording, reader: StreamReader, finish: Callable[[Recording, StreamReader], None]
    ) -> None:
        self._recording = recording
        self._reader = reader
        self._finish = finish
        self._passed: deque[tuple[object, float]] | None = deque() if recording.defers else None
        """Chunks that nobody has read, each with the time at which it came."""
        self._books = threading.Lock()
        """Held by whoever reads them, so that each is read in its turn."""
        self.context: Context | None = recording.context
        """The call's context, which is the current one for the time of a read."""
        self.reading = False
        """True while a read is under way, so that a subclass's read is not counted twice."""
        self.over = False
        """Whether the span has ended."""
        self._inner: StreamRecording | None = None
        self._keep = reader.keep
        self._failure_in = reader.failure_in
        self._failure: ReportedError | None = None

    def hold(self, inner: StreamRecording) -> None:
        """Tell of everything the attempt that answered with this very stream, which has a span of its own."""
        self._inner, self.context = inner, inner.context

    def chunk(self, chunk: object) -> None:
        """Take a chunk in that the user is about to get."""
        if self._inner is not None:
            self._inner.chunk(chunk)
        if self._failure_in is not None:
            self._failure = self._failure_in(chunk) or self._failure
        passed = self._passed
        if passed is None:
            self._read(chunk, timeit.default_timer())
            return
        passed.append((self._keep(chunk), timeit.default_timer()))
        waiting = len(passed)
        if waiting == _MANY:
            aside(self._catch_up)
        elif waiting >= _MOST:
            self._catch_up()

    def end(self) -> None:
        """The stream was read to its end."""
        if self._inner is not None:
            guarded("ending an attempt's stream", self._inner.end)
        if self._failure is not None:
            self._recording.set({semconv.STREAM_END: "error"})
        self._close(self._failure)

    def stop(self, how: str) -> None:
        """The stream will not be read on: `closed` or `abandoned`."""
        if self._inner is not None:
            guarded("ending an attempt's stream", self._inner.stop, how)
        if not self.over:
            self._recording.set({semconv.STREAM_END: how})
            self._close(self._failure)

    def fail(self, error: BaseException) -> None:
        """Reading raised."""
        if self._inner is not None:
            guarded("ending an attempt's stream", self._inner.fail, error)
        if not self.over:
            how = "cancelled" if isinstance(error, (asyncio.CancelledError, GeneratorExit)) else "error"
            self._recording.set({semconv.STREAM_END: how})
            self._close(error)

    def _close(self, error: BaseException | None) -> None:
        self.over = True
        unwatch(self)
        size = self._reader.size + _CHUNK_BYTES * len(self._passed or ())
        if error is None:
            self._recording.end(self._fill, size)
        else:
            self._recording.fail(error, self._fill, size)

    def _fill(self) -> None:
        self._catch_up()
        self._finish(self._recording, self._reader)

    def _catch_up(self) -> None:
        """Read what has come so far."""
        passed = self._passed
        if not passed:
            return
        held = self._books.acquire(timeout=_PATIENCE_SECONDS)  # in a forked child nobody may be left to let go of it
        try:
            while passed:
                guarded("reading a chunk", self._read, *passed.popleft())
        finally:
            if held:
                self._books.release()

    def _read(self, chunk: object, at: float) -> None:
        if self._reader.feed(chunk):
            self._recording.first_chunk(at)


class AttemptStream(StreamRecording):
    """The recording of the stream of one of several attempts, which a Router reads."""

    def fail(self, error: BaseException) -> None:
        """Reading raised, for the Router to try again."""
        super().fail(_underlying(error))


class _FailureWatch:
    """Tells of the failure of a stream that has no span of its own, and of nothing else."""

    over = False
    reading = False
    context: Context | None = None

    def __init__(
        self, failed: Callable[[BaseException], None], failure_in: Callable[[object], ReportedError | None] | None
    ) -> None:
        self._failed, self._failure_in = failed, failure_in

    def chunk(self, chunk: object) -> None:
        found = None if self._failure_in is None else self._failure_in(chunk)
        if found is not None:
            self._failed(found)

    def end(self) -> None:
        pass

    def stop(self, how: str) -> None:
        pass

    def fail(self, error: BaseException) -> None:
        self.over = True
        if isinstance(error, Exception):
            self._failed(_underlying(error))


def on_failure(
    stream: Any,
    failed: Callable[[BaseException], None],
    failure_in: Callable[[object], ReportedError | None] | None = None,
) -> None:
    """Have `failed` called with what the provider did wrong, should reading `stream` raise, or a chunk say so."""
    if not inspect.isasyncgen(stream) and not inspect.isgenerator(stream):
        _teach(type(stream))
        setattr(stream, _ATTRIBUTE, _FailureWatch(failed, failure_in))


def _underlying(error: BaseException) -> BaseException:
    """The provider's error, which litellm wraps in one of its own for a Router that is to try elsewhere."""
    original = getattr(error, "original_exception", None)
    return original if isinstance(original, BaseException) else error


def is_stream(result: object) -> bool:
    """Whether a call's result is something to be iterated over for chunks."""
    kind = type(result)
    if kind in _answers:
        return False
    if hasattr(kind, "__next__") or hasattr(kind, "__anext__"):
        return True
    _answers.add(kind)  # to ask again takes some Python of a model's metaclass
    return False


def follow(stream: Any, recording: StreamRecording) -> Any:
    """Have `recording` told of everything that happens to `stream`; the object for the user to read.

    That is `stream` itself, except for native generators.
    """
    if inspect.isasyncgen(stream):
        return _async_generator(stream, recording)
    if inspect.isgenerator(stream):
        return _generator(stream, recording)
    _teach(type(stream))
    inner = vars(stream).get(_ATTRIBUTE)
    if isinstance(inner, StreamRecording):
        recording.hold(inner)
    setattr(stream, _ATTRIBUTE, recording)
    watch(stream, recording)
    return stream


def release() -> None:
    """Give the stream classes their own methods back, unless streams are still being read."""
    with _lock:
        if open_streams():
            return
        for owner in list(_taught):
            for name in _LESSONS:
                if _is_ours(vars(owner).get(name)):
                    setattr(owner, name, vars(owner)[name].__wrapped__)
        _taught.clear()


# --- stream classes --------------------------------------------------------------------------------------


def _teach(cls: type) -> None:
    for name, lesson in _LESSONS.items():
        owner = next((base for base in cls.__mro__ if name in vars(base)), None)
        if owner is None or owner.__module__ in {"typing", "collections.abc", "builtins"}:
            continue
        with _lock:
            if not _is_ours(vars(owner)[name]):
                method = lesson(vars(owner)[name])
                setattr(method, _ATTRIBUTE, True)
                setattr(owner, name, method)
                _taught.add(owner)


def _is_ours(method: object) -> bool:
    return getattr(method, _ATTRIBUTE, False) is True


def _next(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __next__(self: Any) -> Any:  # noqa: N807
        recording = recording_of(self, _ATTRIBUTE)
        return original(self) if recording is None else read_around(original, self, recording)

    return __next__


def _anext(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __anext__(self: Any) -> Any:  # noqa: N807
        recording = recording_of(self, _ATTRIBUTE)
        return original(self) if recording is None else aread_around(original, self, recording)

    return __anext__


def _close(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        recording = recording_of(self, _ATTRIBUTE)
        try:
            return original(self, *args, **kwargs)
        finally:
            if recording is not None:
                guarded("ending a closed stream", _end_of_generator, recording)

    return close


def _aclose(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def aclose(self: Any, *args: Any, **kwargs: Any) -> Any:
        recording = recording_of(self, _ATTRIBUTE)
        try:
            return await original(self, *args, **kwargs)
        finally:
            if recording is not None:
                guarded("ending a closed stream", _end_of_generator, recording)

    return aclose


_LESSONS: Final = {"__next__": _next, "__anext__": _anext, "close": _close, "aclose": _aclose}
"""Method of a stream class -> what makes it tell us."""


# --- native generators -----------------------------------------------------------------------------------


def _generator(stream: Iterator[Any], recording: StreamRecording) -> Iterator[Any]:
    def following() -> Iterator[Any]:
        try:
            while True:
                try:
                    chunk = read_around(next, stream, recording)
                except StopIteration:
                    return
                yield chunk
        finally:
            stream.close()  # type: ignore[attr-defined]
            guarded("ending a closed stream", _end_of_generator, recording)

    return _with_last_resort(following(), recording)


def _async_generator(stream: AsyncIterator[Any], recording: StreamRecording) -> AsyncIterator[Any]:
    async def following() -> AsyncIterator[Any]:
        try:
            while True:
                try:
                    chunk = await aread_around(type(stream).__anext__, stream, recording)
                except StopAsyncIteration:
                    return
                yield chunk
        finally:
            await stream.aclose()  # type: ignore[attr-defined]
            guarded("ending a closed stream", _end_of_generator, recording)

    return _with_last_resort(following(), recording)


def _end_of_generator(recording: StreamRecording | _FailureWatch) -> None:
    recording.stop("abandoned" if was_collected(recording) else "closed")


def _with_last_resort(generator: Generator, recording: StreamRecording) -> Generator:
    """A generator that is never started runs no `finally`; its collection ends the span instead."""
    watch(generator, recording)
    return generator
