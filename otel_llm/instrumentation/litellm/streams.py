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
import weakref
from typing import TYPE_CHECKING, Any, Final, TypeVar

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.instrumentation.litellm.around import aread_around, read_around
from otel_llm.instrumentation.litellm.leftovers import open_streams, unwatch, was_collected, watch
from otel_llm.instrumentation.scope import Scope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from otel_llm.instrumentation.litellm.stream_reader import StreamReader
    from otel_llm.instrumentation.recorder import Recording

__all__ = ["AttemptStream", "StreamRecording", "follow", "is_stream", "on_failure", "release"]

Generator = TypeVar("Generator")

_ATTRIBUTE: Final = "_otel_llm_stream"
_taught: weakref.WeakSet[type] = weakref.WeakSet()
"""Classes whose methods tell us of chunks. Held weakly: litellm's Router makes a class per stream."""
_lock = threading.Lock()


class StreamRecording:
    """The recording of a stream that somebody else is reading."""

    def __init__(
        self, recording: Recording, reader: StreamReader, finish: Callable[[Recording, StreamReader], None]
    ) -> None:
        self._recording = recording
        self._reader = reader
        self._finish = finish
        self.reading = False
        """True while a read is under way, so that a subclass's read is not counted twice."""
        self.inner: StreamRecording | None = None
        """The attempt that answered with this very stream, where it has a span of its own below the call's."""

    @property
    def over(self) -> bool:
        """Whether the span has ended."""
        return self._recording.ended

    def enter(self) -> Callable[[], None]:
        """Make the call current for the time of one read: what the read does belongs to it. Answers the way out."""
        return self.inner.enter() if self.inner is not None else Scope(self._recording.context).leave

    def chunk(self, chunk: object) -> None:
        """Take a chunk in that the user is about to get."""
        if self.inner is not None:
            self.inner.chunk(chunk)
        if self._reader.feed(chunk):
            self._recording.first_chunk()

    def end(self) -> None:
        """The stream was read to its end."""
        if self.inner is not None:
            guarded("ending an attempt's stream", self.inner.end)
        self._close(None)

    def stop(self, how: str) -> None:
        """The stream will not be read on: `closed` or `abandoned`."""
        if self.inner is not None:
            guarded("ending an attempt's stream", self.inner.stop, how)
        if not self.over:
            self._recording.set({semconv.STREAM_END: how})
            self._close(None)

    def fail(self, error: BaseException) -> None:
        """Reading raised."""
        if self.inner is not None:
            guarded("ending an attempt's stream", self.inner.fail, error)
        if not self.over:
            how = "cancelled" if isinstance(error, (asyncio.CancelledError, GeneratorExit)) else "error"
            self._recording.set({semconv.STREAM_END: how})
            self._close(error)

    def _close(self, error: BaseException | None) -> None:
        unwatch(self)
        fill = functools.partial(self._finish, self._recording, self._reader)
        if error is None:
            self._recording.end(fill, self._reader.size)
        else:
            self._recording.fail(error, fill, self._reader.size)


class AttemptStream(StreamRecording):
    """The recording of the stream of one of several attempts, which a Router reads."""

    def fail(self, error: BaseException) -> None:
        """Reading raised, for the Router to try again."""
        super().fail(_underlying(error))


class _FailureWatch:
    """Tells of the failure of a stream that has no span of its own, and of nothing else."""

    over = False
    reading = False

    def __init__(self, failed: Callable[[BaseException], None]) -> None:
        self._failed = failed

    def enter(self) -> Callable[[], None]:
        return self.end

    def chunk(self, chunk: object) -> None:
        pass

    def end(self) -> None:
        pass

    def stop(self, how: str) -> None:
        pass

    def fail(self, error: BaseException) -> None:
        self.over = True
        if isinstance(error, Exception):
            self._failed(_underlying(error))


def on_failure(stream: Any, failed: Callable[[BaseException], None]) -> None:
    """Have `failed` called with what the provider did wrong, should reading `stream` raise."""
    if not inspect.isasyncgen(stream) and not inspect.isgenerator(stream):
        _teach(type(stream))
        setattr(stream, _ATTRIBUTE, _FailureWatch(failed))


def _underlying(error: BaseException) -> BaseException:
    """The provider's error, which litellm wraps in one of its own for a Router that is to try elsewhere."""
    original = getattr(error, "original_exception", None)
    return original if isinstance(original, BaseException) else error


def is_stream(result: object) -> bool:
    """Whether a call's result is something to be iterated over for chunks."""
    return hasattr(type(result), "__next__") or hasattr(type(result), "__anext__")


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
    recording.inner = inner if isinstance(inner, StreamRecording) else None
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


def _recording_of(stream: object) -> StreamRecording | _FailureWatch | None:
    recording = getattr(stream, "__dict__", {}).get(_ATTRIBUTE)
    return recording if recording is not None and not recording.reading and not recording.over else None


def _next(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def __next__(self: Any) -> Any:  # noqa: N807
        recording = guarded("finding a stream's recording", _recording_of, self)
        return original(self) if recording is None else read_around(functools.partial(original, self), recording)

    return __next__


def _anext(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def __anext__(self: Any) -> Any:  # noqa: N807
        recording = guarded("finding a stream's recording", _recording_of, self)
        if recording is None:
            return await original(self)
        return await aread_around(functools.partial(original, self), recording)

    return __anext__


def _close(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def close(self: Any, *args: Any, **kwargs: Any) -> Any:
        recording = guarded("finding a stream's recording", _recording_of, self)
        try:
            return original(self, *args, **kwargs)
        finally:
            if recording is not None:
                guarded("ending a closed stream", _end_of_generator, recording)

    return close


def _aclose(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def aclose(self: Any, *args: Any, **kwargs: Any) -> Any:
        recording = guarded("finding a stream's recording", _recording_of, self)
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
                    chunk = read_around(functools.partial(next, stream), recording)
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
                    chunk = await aread_around(stream.__anext__, recording)
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
