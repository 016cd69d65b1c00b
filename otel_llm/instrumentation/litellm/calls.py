"""A logical call and its attempts.

One call that a program makes is one span, whatever litellm does to answer it. Most calls need one attempt,
and then the logical span is all there is: it carries model, tokens and cost. Only when a second attempt
begins do attempts get spans of their own: the first, which has already failed, is written down as a child
with its own start and end, and every further one is a child from its beginning. Tokens and cost then stand
on the attempt that was billed, never on the logical span as well.
"""

from __future__ import annotations

import sys
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.instrumentation.litellm.answer import fill_answer, fill_billing, fill_target
from otel_llm.instrumentation.litellm.answers import answer_in, reader_for
from otel_llm.instrumentation.litellm.failed_answers import failure_of
from otel_llm.instrumentation.litellm.keeping import kept_answer, weight
from otel_llm.instrumentation.litellm.later import AWAITED, is_undone
from otel_llm.instrumentation.litellm.request import fill_request
from otel_llm.instrumentation.litellm.stream_usage import usage_chunks
from otel_llm.instrumentation.litellm.streams import AttemptStream, StreamRecording, follow, is_stream, on_failure
from otel_llm.instrumentation.recorder import Facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from otel_llm.instrumentation.failures import ReportedError
    from otel_llm.instrumentation.litellm.forms import Form
    from otel_llm.instrumentation.litellm.request import Request
    from otel_llm.instrumentation.litellm.stream_reader import StreamReader
    from otel_llm.instrumentation.recorder import Recorder, Recording

__all__ = ["Attempt", "LogicalCall"]

_TARGET: Final = (semconv.PROVIDER_NAME, semconv.SERVER_ADDRESS, semconv.SERVER_PORT)


class LogicalCall:
    """One call as the program made it."""

    def __init__(self, recorder: Recorder, request: Request, *, routed: bool, tenant_key: str) -> None:
        self.request = request
        self.routed = routed
        """True for a Router's call: it is never an attempt itself, the calls inside it are."""
        self._recorder = recorder
        self._tenant_key = tenant_key
        self._ambient = sys.exc_info()[1]
        """What the program is handling already; not a failure of ours."""
        self.door: str | None = None
        """Name of litellm's inner function that the public one is about to call for this very attempt."""
        self.raw_chunks: list[Any] | None = None
        self.recording: Recording = recorder.start(request.call(tenant_key=tenant_key), self)
        self._first: Attempt | None = None if routed else Attempt(self, request, 1)
        self._last: Attempt | None = self._first
        guarded("reading a request", self._keep if self.recording.defers else self._fill_request)

    def _keep(self) -> None:
        self.request.keep(content=self._recorder.wants_content)

    def _fill_request(self) -> None:
        fill_request(self.recording, self.request, content=self._recorder.wants_content)

    def _fill_attempt(self, facts: Facts, request: Request) -> None:
        fill_request(facts, request, within=self.request)

    def begin_attempt(self, request: Request) -> Attempt:
        """A call inside this one is about to try, or to try again."""
        if self._first is None or (self._last is self._first and not self._first.over):
            # Nothing has failed yet: a router has chosen, or litellm begins to walk its list of fallbacks.
            self._first = self._last = Attempt(self, request, 1)
            if self.recording.defers:
                guarded("keeping a request", self._keep_attempt, request)
            return self._first
        if self._last is self._first:
            guarded("recording the first attempt", self._write_first)
        number = self._last.number + 1 if self._last is not None else 1
        attempt = Attempt(self, request, number)
        attempt.recording = self._recorder.start_attempt(request.call(tenant_key=self._tenant_key), attempt, number)
        self._last = attempt
        guarded("reading a request", self._fill_attempt, attempt.recording, request)
        attempt.recording.set({semconv.FALLBACK: self._fell_back(request)})
        return attempt

    def _keep_attempt(self, request: Request) -> None:
        request.keep(content=False)

    def note_failure(self, error: BaseException | None) -> None:
        """Litellm is handling `error`, which the only attempt so far has raised."""
        if error is not None and error is not self._ambient and self._first is not None and self._last is self._first:
            self._first.fail(error)

    def finish(self, result: Any) -> Any:
        """The call returned `result`; answers what the user is to get, which is `result` itself."""
        if is_stream(result):
            self.recording.suspend()
            return self._follow(result)
        kept = guarded("keeping an answer", self._kept, result) if self.recording.defers else None
        answer, size = (result, 0) if kept is None else kept
        failure = _failure(self.request.form, result)
        if self.request.form.later:
            guarded("waiting for an answer", AWAITED.note, self.request, result, self.recording.identity)
        if failure is None:
            self.recording.end(partial(self._fill, answer), size)
        else:
            self.recording.fail(failure, partial(self._fill, answer), size)
        return result

    def _kept(self, result: Any) -> tuple[Any, int]:
        if self.request.form.raw:
            return result, len(result.content)
        answer = kept_answer(self.request.form, result)
        return answer, weight(answer) + weight(self.request.arguments)

    def fail(self, error: BaseException) -> None:
        """The call raised `error`."""
        self.recording.fail(error, self._fill_failure)

    def abandon(self) -> None:
        """Recording came to grief: end the span as it is."""
        self.recording.end()

    @property
    def closed(self) -> bool:
        """Whether the span has ended, so that no further attempt can belong to it."""
        return self.recording.ended

    @property
    def served(self) -> Request:
        """The request of the attempt that answered."""
        return self._last.request if self._last is not None else self.request

    @property
    def _several(self) -> bool:
        return self._last is not None and self._last.number > 1

    def _fell_back(self, request: Request) -> bool | None:
        first = self._first.request if self._first is not None else self.request
        return True if request.target != first.target else None

    def _follow(self, stream: Any) -> Any:
        if self.raw_chunks is None:
            self.raw_chunks = usage_chunks(stream)
        reader = _reader(self.request, stream)
        return follow(stream, StreamRecording(self.recording, reader, self._finish_stream))

    def _finish_stream(self, _: Recording, reader: StreamReader) -> None:
        self._fill_kept_request()
        guarded("reading an answer", self._fill_answer, reader.answer())
        if semconv.STREAM_END in self.recording.attributes:
            self.recording.attributes.setdefault(semconv.FINISH_REASONS, ["error"])
        self._fill_attempts()
        if not self._several:
            fill_stream_billing(self.recording, self.served, reader, self.raw_chunks)
        elif self._last is not None and self._last.recording is not None:
            # The first chunks may be those of a stream that broke off before it said anything.
            said = self._last.recording.attributes
            self.recording.set({name: said.get(name) for name in (semconv.RESPONSE_ID, semconv.RESPONSE_MODEL)})

    def _fill_kept_request(self) -> None:
        if self.recording.defers:
            guarded("reading a request", self._fill_request)

    def _fill(self, result: Any) -> None:
        self._fill_kept_request()
        result = guarded("reading an answer", answer_in, self.request.form, result)
        guarded("reading an answer", self._fill_answer, result)
        self._fill_attempts()
        if not self._several and not (self.request.form.later and is_undone(result)):
            guarded("reading what was billed", fill_billing, self.recording, self.served, result)

    def _fill_answer(self, answer: object) -> None:
        fill_answer(self.recording, self.served, answer, content=self._recorder.wants_content)

    def _fill_failure(self) -> None:
        self._fill_kept_request()
        fill_target(self.recording, self.served, None)
        self._fill_attempts()

    def _fill_attempts(self) -> None:
        if self.routed:  # begun with what the deployments have in common, before one was chosen
            self.recording.correct({name: self.recording.attributes.get(name) for name in _TARGET})
        if not self._several or self._last is None:
            return
        self.recording.set({semconv.ATTEMPTS: self._last.number, semconv.FALLBACK: self._fell_back(self._last.request)})

    def _write_first(self) -> None:
        first = self._first
        if first is None or first.error is None:
            return
        asked = Facts()
        guarded("reading a request", self._fill_attempt, asked, first.request)
        self._recorder.failed_attempt(
            first.request.call(tenant_key=self._tenant_key),
            self.recording,
            first.number,
            asked=asked,
            start_ns=first.start_ns,
            end_ns=first.end_ns or time.time_ns(),
            error=first.error,
        )


class Attempt:
    """One try at answering a logical call; the first has no span of its own unless a second one follows."""

    def __init__(self, logical: LogicalCall, request: Request, number: int) -> None:
        self._logical = weakref.ref(logical)  # which holds its attempts: a cycle would be left to the collector
        self.request = request
        self.number = number
        self.recording: Recording | None = None
        self.start_ns = time.time_ns()
        self.end_ns: int | None = None
        self.error: BaseException | None = None
        self.door: str | None = None

    @property
    def over(self) -> bool:
        """Whether it has failed already."""
        return self.error is not None

    def finish(self, result: Any) -> Any:
        """The attempt was answered with `result`."""
        if self.recording is None:
            logical = self._logical()
            if logical is not None:
                logical.raw_chunks = usage_chunks(result)
                if logical.routed and is_stream(result):
                    on_failure(result, self.fail, _reader(self.request, result).failure_in)
            return result
        if is_stream(result):
            self.recording.suspend()
            finish = self._finish_stream(usage_chunks(result))
            return follow(result, AttemptStream(self.recording, _reader(self.request, result), finish))
        form, failure = self.request.form, None
        try:
            failure = _failure(form, result)
            guarded("reading an answer", self._fill, answer_in(form, result))
        finally:
            self.recording.end() if failure is None else self.recording.fail(failure)
        return result

    def fail(self, error: BaseException | None) -> None:
        """The attempt raised `error`."""
        if self.over or error is None:
            return
        self.error = error
        self.end_ns = time.time_ns()
        if self.recording is not None:
            self.recording.fail(error)

    def abandon(self) -> None:
        """Recording came to grief: end the attempt's own span as it is."""
        if self.recording is not None:
            self.recording.end()

    @property
    def closed(self) -> bool:
        """Whether the logical call is over."""
        logical = self._logical()
        return logical is None or logical.closed

    def _fill(self, result: Any) -> None:
        assert self.recording is not None
        fill_answer(self.recording, self.request, result, content=False)
        fill_billing(self.recording, self.request, result)

    def _finish_stream(self, chunks: list[Any] | None) -> Callable[[Recording, StreamReader], None]:
        def finish(recording: Recording, reader: StreamReader) -> None:
            fill_answer(recording, self.request, reader.answer(), content=False)
            fill_stream_billing(recording, self.request, reader, chunks)

        return finish


def _failure(form: Form, answer: object) -> ReportedError | None:
    """What an answer says went wrong, where its form has a word for that."""
    return guarded("reading a failure", failure_of, answer) if form.tells_failure else None


def _reader(request: Request, stream: object) -> StreamReader:
    return reader_for(request.form)(
        request, cache_hit=getattr(stream, "custom_llm_provider", None) == "cached_response"
    )


def fill_stream_billing(
    recording: Recording, request: Request, reader: StreamReader, raw_chunks: list[Any] | None
) -> None:
    """Put tokens and cost of a stream on its span."""
    usage = reader.usage(raw_chunks, cut_short=semconv.STREAM_END in recording.attributes)
    fill_billing(recording, request, reader.priceable(usage), usage)
