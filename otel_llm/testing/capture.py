"""Recording in memory for the length of a test, with nothing left behind.

with capturing() as captured:
    program()                     # may call `configure()` itself
captured.spans
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otel_llm import semconv
from otel_llm.config import load
from otel_llm.control import running
from otel_llm.control.captured import CapturedSpans, divert_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from otel_llm.control.pipeline import Pipeline

__all__ = ["capturing"]

_SETTLE_SECONDS = 2.0


@contextmanager
def capturing(**settings: object) -> Iterator[CapturedSpans]:
    """Keep every span that ends while this lasts in memory; backends get none of them.

    Where nothing records yet, recording starts with `settings` (those of `configure`; content is on unless they say
    otherwise, as it stays in memory) on a tracer provider of its own, so that the program's global one is neither set
    nor joined. Where something records already, it goes on with its own settings and `settings` are not used. In the
    end everything is as it was. Raises `ConfigError` for wrong settings, the environment's included.
    """
    captured = CapturedSpans()
    before = running.current_pipeline()
    if before is None:
        with divert_to(captured), _started(settings):
            yield captured
        return
    with divert_to(captured), _redirected(before, captured):
        yield captured
    if running.current_pipeline() is not before:  # the program under test configured something else
        running.restart(before)


@contextmanager
def _started(settings: dict[str, object]) -> Iterator[None]:
    """Record for a while in a process that does not."""
    wanted = {"content": "on", "http_spans": False, "handle_sigterm": False, **settings, "backend": "none"}
    resource = Resource({semconv.SERVICE_NAME: load(wanted).service_name})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    running.configure(tracer_provider=provider, **wanted)  # type: ignore[arg-type]
    try:
        yield
    finally:
        running.flush(_SETTLE_SECONDS)
        running.shutdown(_SETTLE_SECONDS)


@contextmanager
def _redirected(pipeline: Pipeline, captured: CapturedSpans) -> Iterator[None]:
    """Let a pipeline that runs already hand its spans to `captured` for a while."""
    processor = pipeline.processor
    if processor is None:
        yield
        return
    running.flush(_SETTLE_SECONDS)  # what ended before is not of this test
    goes_to = processor.redirect(captured, captured.ledgers)
    captured.before_reading = lambda: processor.settle(_SETTLE_SECONDS)
    try:
        yield
    finally:
        running.flush(_SETTLE_SECONDS)
        processor.redirect(*goes_to)
