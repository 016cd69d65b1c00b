"""The pipeline that runs in this process: started by `configure`, asked by `status`, ended by `shutdown`."""

from __future__ import annotations

import logging
import os
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm.clock import monotonic
from otel_llm.config import load
from otel_llm.config.stability import misspelt_opt_ins
from otel_llm.control.health import BackendStatus, HealthMonitor
from otel_llm.control.health_watch import HealthWatch
from otel_llm.control.lifecycle import EndOfProcess, beside
from otel_llm.control.outside import OutsideCounts
from otel_llm.control.pipeline import Pipeline, assemble
from otel_llm.control.summary import Instrumented, instrumented, start_line
from otel_llm.errors import ConfigError, InstrumentationError
from otel_llm.faults import fault_counts, guarded
from otel_llm.instrumentation.litellm.switch import settle

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    from otel_llm.config import Config
    from otel_llm.control.channels import ChannelReport
    from otel_llm.control.health_server import HealthServer
    from otel_llm.processors.call_metrics import MeasuresReport
    from otel_llm.processors.redaction import Redactor
    from otel_llm.processors.tally import TallyReport

__all__ = ["BackendStatus", "FlushReport", "Status", "configure", "flush", "shutdown", "status"]

_logger = logging.getLogger("otel_llm")
_NOTICE_SECONDS: Final = 1.0
_busy: Final[set[int]] = set()
"""Threads in the middle of a flush or of the end, whose locks they may hold."""


@dataclass(frozen=True, slots=True)
class Status:
    """What runs in this process, and what became of its spans."""

    running: bool
    backends: tuple[BackendStatus, ...] = ()
    instrumented: tuple[Instrumented, ...] = ()
    dropped_before_queue: dict[str, int] = field(default_factory=dict)
    """Spans that no backend was meant to get, by reason: duplicates, HTTP requests outside of calls, sampled out."""
    faults: dict[str, int] = field(default_factory=dict)
    """Our own faults by place; each was kept away from the program."""
    health_url: str | None = None
    """Where this process answers health checks; None where it opened no port (setting `health_port`)."""

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        return {
            "running": self.running,
            "backends": [backend.as_dict() for backend in self.backends],
            "instrumented": [library._asdict() for library in self.instrumented],
            "dropped_before_queue": dict(self.dropped_before_queue),
            "faults": dict(self.faults),
            "health_url": self.health_url,
        }


class FlushReport(NamedTuple):
    """What a flush achieved, over all backends. All are numbers of spans.

    `waiting` is of this process; the other counts are of all processes that share the spool, since it was made.
    """

    delivered: int
    waiting: int
    rejected: dict[str, int]
    dropped: dict[str, int]
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether every span was answered for: nothing waits, nothing was lost."""
        return not (self.waiting or self.rejected or self.dropped)

    def __bool__(self) -> bool:
        """True when `complete`."""
        return self.complete


def _hand_over() -> None:
    shutdown()


def _deliver(timeout: float) -> None:
    flush(timeout)


def _keep(timeout: float) -> None:
    # Without the lock, which another thread may hold for long; that may be closing the pipeline, too.
    pipeline, outside = _running.pipeline or _running.ending, _running.outside
    if pipeline is not None:
        guarded("keeping spans", pipeline.keep, timeout)
        if outside is not None:
            outside.write(pipeline.channels)


def _in_memory() -> bool:
    pipeline = _running.pipeline or _running.ending
    return pipeline is not None and pipeline.in_memory


def _look() -> None:
    """What the health watch does now and then; what waits for the stages is left to the thread whose work that is."""
    pipeline, outside = _running.pipeline, _running.outside
    if pipeline is None:
        return
    _running.monitor.observe(_reports(pipeline))
    if outside is not None:
        outside.write(pipeline.channels)


class _Running:
    """Holds the pipeline of this process, if there is one."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pipeline: Pipeline | None = None
        self.ending: Pipeline | None = None
        """The one that is being closed."""
        self.stopped: tuple[BackendStatus, ...] = ()
        """What became of the spans of the pipeline that ran last."""
        self.monitor = HealthMonitor()
        self.watch: HealthWatch | None = None
        self.outside: OutsideCounts | None = None
        self.server: HealthServer | None = None
        self.end = EndOfProcess(_hand_over, _keep, _deliver, _in_memory)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_locks)

    def _renew_locks(self) -> None:
        """In a child: another thread of the parent may have held them."""
        self.lock = threading.RLock()
        _busy.clear()
        self.monitor.reset_after_fork()

    def begin_health(self, pipeline: Pipeline) -> None:
        """Follow the states of a pipeline that has just begun."""
        self.stopped = ()
        self.monitor = HealthMonitor()
        self.outside = OutsideCounts(pipeline.config)
        self.watch = HealthWatch(_look)
        pipeline.counting.tally.on_span = self.watch.span_ended
        if pipeline.config.health_port is not None:
            from otel_llm.control import exposition  # noqa: PLC0415  (only who serves pages needs it)
            from otel_llm.control.health_server import HealthServer  # noqa: PLC0415  (loads http.server)

            guarded("loading what serves /metrics", exposition.prepare)
            self.server = HealthServer(pipeline.config.health_port)

    def end_health(self, pipeline: Pipeline) -> None:
        """Keep the last counts of a pipeline that was closed."""
        self.stopped = self.monitor.stopped(_reports(pipeline))
        watch, self.watch = self.watch, None
        outside, self.outside = self.outside, None
        if outside is not None:
            outside.write(pipeline.channels)
            outside.close()
        server, self.server = self.server, None
        if watch is not None:
            watch.stop()
        if server is not None:
            server.close()


_running = _Running()


def configure(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    redactors: Sequence[Redactor] = (),
    **settings: object,
) -> Status:
    """Start recording, with these settings before those of the environment and of files.

    `tracer_provider` is joined where given; else the program's global provider is, and where there is none, one is
    made. Every row of docs/settings.md is a keyword (`backend="opik"`, `content="on"`, `opik_project="p"`).
    `redactors` are functions from text to text that every text of a span goes through before it is kept anywhere.
    Calling it again with other settings replaces what runs; with the same ones it changes nothing.

    Returns the status just after the start. Raises `ConfigError` for wrong settings, `BackendError` for a backend
    that cannot be built, and, with `strict`, `InstrumentationError` for a library that cannot be recorded.
    """
    config = load(settings)
    _check_objects(tracer_provider, meter_provider, redactors)
    with _running.lock:
        running = _running.pipeline
        if running is not None:
            same_settings = running.config.has_values_of(config) and running.redactors == tuple(redactors)
            if same_settings and tracer_provider in (None, running.provider):
                return status()
            shutdown()
        if not config.enabled:
            _logger.info("otel_llm is switched off (%s).", config.source("enabled"))
            return status()
        pipeline = assemble(config, tracer_provider=tracer_provider, meter_provider=meter_provider, redactors=redactors)
        _begin(pipeline)
    _announce(config, pipeline)
    return status()


def _check_objects(tracer_provider: object, meter_provider: object, redactors: object) -> None:
    """Raise `ConfigError` for arguments that are no settings and are not what they are called."""
    providers = (("tracer_provider", tracer_provider, "get_tracer"), ("meter_provider", meter_provider, "get_meter"))
    for name, given, method in providers:
        if given is not None and not callable(getattr(given, method, None)):
            raise ConfigError(
                f"{name} (argument): is of type {type(given).__name__}, which has no {method}; "
                "pass the provider itself, or leave it out"
            )
    if not isinstance(redactors, (list, tuple)) or not all(map(callable, redactors)):
        raise ConfigError(
            "redactors (argument): is not a list of functions from text to text; "
            "names of what is to be found belong into redact, as in redact=['keys', 'email']"
        )


def _begin(pipeline: Pipeline) -> None:
    config = pipeline.config
    _running.pipeline = pipeline
    if config.strict:
        _insist(pipeline)
    _running.begin_health(pipeline)
    _running.end.watch(os_exit_patience=config.shutdown_timeout if config.handle_os_exit else None)
    if config.handle_sigterm:
        _running.end.watch_sigterm(config.shutdown_timeout)


def current_pipeline() -> Pipeline | None:
    """What runs in this process; None where nothing does. For test kits."""
    return _running.pipeline


def restart(stopped: Pipeline) -> None:
    """Run again, with its own settings and provider, what was stopped or replaced. For test kits."""
    with _running.lock:
        shutdown()
        provider = None if stopped.home.owned else stopped.provider
        _begin(assemble(stopped.config, tracer_provider=provider, redactors=stopped.redactors))


def current_config() -> Config | None:
    """The settings of what runs in this process; None where nothing runs."""
    pipeline = _running.pipeline
    return pipeline.config if pipeline is not None else None


def current_provider() -> TracerProvider | None:
    """The tracer provider that this process records on; None where nothing runs."""
    pipeline = _running.pipeline
    return pipeline.provider if pipeline is not None else None


def status() -> Status:
    """What runs in this process and where its spans are; never waits for a network."""
    pipeline = _settled()
    if pipeline is None:
        return Status(running=False, backends=_running.stopped, faults=fault_counts())
    return Status(
        running=True,
        backends=_running.monitor.observe(_reports(pipeline)),
        instrumented=tuple(instrumented(pipeline)),
        dropped_before_queue=pipeline.processor.dropped if pipeline.processor is not None else {},
        faults=fault_counts(),
        health_url=_running.server.url if _running.server is not None else None,
    )


def tally_report() -> TallyReport | None:
    """Calls, tokens and money of this process since the start; None where nothing runs."""
    pipeline = _settled()
    return pipeline.counting.tally.report() if pipeline is not None else None


def measures_report() -> MeasuresReport:
    """The conventions' metrics of this process since the start; empty where nothing runs."""
    pipeline = _settled()
    return pipeline.counting.page.report() if pipeline is not None else {}


def _settled() -> Pipeline | None:
    """What runs in this process, once it has taken notice of everything that has ended (bounded: it is CPU alone)."""
    pipeline = _running.pipeline
    if pipeline is not None and pipeline.processor is not None:
        pipeline.processor.settle(_NOTICE_SECONDS)
    return pipeline


def _reports(pipeline: Pipeline) -> list[ChannelReport]:
    return [report for channel in pipeline.channels for report in channel.reports()]


def flush(timeout: float = 5.0) -> FlushReport:
    """Deliver everything that has ended so far, within `timeout` seconds. The report says what became of it.

    May be called anywhere, in a signal handler too.
    """
    with _at_it() as first:
        if first:
            return _flush(timeout)
    began = monotonic()
    reports: list[FlushReport] = []
    if beside(lambda: reports.append(_flush(timeout)), timeout) and reports:
        return reports[0]
    pipeline = _running.pipeline  # what was interrupted holds what it would take to know more
    waiting = pipeline.processor.waiting if pipeline is not None and pipeline.processor is not None else 0
    return FlushReport(0, max(1, waiting), {}, {}, monotonic() - began)


@contextmanager
def _at_it() -> Iterator[bool]:
    """Whether this thread is not in such a block already: a handler may interrupt it, and must not wait for itself."""
    me = threading.get_ident()
    first = me not in _busy
    _busy.add(me)
    try:
        yield first
    finally:
        if first:
            _busy.discard(me)


def _flush(timeout: float) -> FlushReport:
    began = monotonic()
    pipeline = _running.pipeline
    channels = pipeline.channels if pipeline is not None else []
    settle(timeout)
    if pipeline is not None and pipeline.processor is not None:
        pipeline.processor.settle(max(0.0, timeout - (monotonic() - began)), for_room=True)
    waiting = 0
    if pipeline is not None and pipeline.processor is not None:
        waiting = pipeline.processor.waiting * len(_reports(pipeline))
    for channel in channels:
        waiting += channel.flush(max(0.0, timeout - (monotonic() - began)))
    if pipeline is not None:
        pipeline.flush_others(max(0.0, timeout - (monotonic() - began)))
        pipeline.counting.export.flush(max(0.0, timeout - (monotonic() - began)))
        if pipeline.media is not None:
            pipeline.media.flush(max(0.0, timeout - (monotonic() - began)))
    if _running.outside is not None:
        _running.outside.write(channels)
    ledgers = [report.ledger for channel in channels for report in channel.reports()]
    return FlushReport(
        delivered=sum(ledger.delivered for ledger in ledgers),
        waiting=waiting,
        rejected=_summed([ledger.rejected for ledger in ledgers]),
        dropped=_summed([ledger.dropped for ledger in ledgers]),
        seconds=monotonic() - began,
    )


def shutdown(timeout: float | None = None) -> None:
    """Stop recording and hand over what is queued, within `timeout` seconds (default: setting `shutdown_timeout`).

    litellm gets its own functions back; a later `configure` starts anew. Runs by itself at the end of the process.
    """
    with _running.end.undisturbed():
        with _running.lock:
            pipeline, _running.pipeline = _running.pipeline, None
            _running.ending = pipeline or _running.ending
        if pipeline is None:
            return
        patience = pipeline.config.shutdown_timeout if timeout is None else timeout
        with _at_it() as first:
            if first:
                _close(pipeline, patience)
            else:
                beside(lambda: _close(pipeline, patience), patience + _NOTICE_SECONDS)
    _running.end.leave_sigterm()


def _close(pipeline: Pipeline, patience: float) -> None:
    if _running.watch is not None:
        _running.watch.stop()  # the first span may be drained only now, and at the interpreter's end no thread begins
    pipeline.close(patience)
    _running.ending = None
    _running.end_health(pipeline)


def _summed(counts: list[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for count in counts:
        for reason, spans in count.items():
            total[reason] = total.get(reason, 0) + spans
    return total


def _insist(pipeline: Pipeline) -> None:
    """Under `strict`, a library that the program can import and that would not be recorded stops the start."""
    problems = [
        f"{entry.library} ({entry.why})"
        for entry in instrumented(pipeline)
        if entry.state == "missing" and entry.library != "litellm"
    ]
    if fault_counts().get("instrumenting litellm"):
        problems.append("litellm (its functions are not what this version of otel_llm knows)")
    if not problems:
        return
    shutdown()
    message = f"Not recorded, and `strict` is on: {', '.join(problems)}. Install what is named, or turn `strict` off."
    raise InstrumentationError(message)


def _announce(config: Config, pipeline: Pipeline) -> None:
    """Say once what is on: in the program's log, or on stderr where the program has set up no logging."""
    for sentence in misspelt_opt_ins(os.environ):
        _logger.warning("%s", sentence)
    line = start_line(config, pipeline)
    if _logger.hasHandlers():
        _logger.info("%s", line)
    elif sys.stderr is not None:  # a daemon may have closed it, and then Python has none
        with suppress(OSError, ValueError):
            sys.stderr.write(f"{line}\n")
