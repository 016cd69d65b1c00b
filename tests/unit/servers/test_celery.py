"""`otel_llm.instrument_celery`: context through real messages of an in-memory broker to a worker's thread."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from celery import Celery, signals
from celery.contrib.testing.worker import start_worker
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.trace import SpanKind, StatusCode

import otel_llm
from otel_llm import semconv
from otel_llm.context import current_identity
from otel_llm.servers import celery as ours

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.servers.conftest import Recorded

DEADLINE = 30
meeting = threading.Barrier(3)
"""Two runs and the test wait for each other."""


@pytest.fixture
def instrumented() -> Iterator[None]:
    """Celery, instrumented by us, and let go of again."""
    otel_llm.instrument_celery()
    otel_llm.instrument_celery()  # a second call does nothing
    yield
    for signal in (
        signals.before_task_publish,
        signals.task_prerun,
        signals.task_failure,
        signals.task_retry,
        signals.task_postrun,
    ):
        for receiver in (ours._publishing, ours._beginning, ours._failed, ours._ended):
            signal.disconnect(receiver)
    ours._instrumented = False


@pytest.fixture
def app() -> Celery:
    """An application with a broker and results in memory."""
    made = Celery("tests", broker="memory://", backend="cache+memory://", set_as_current=False)
    made.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=False)

    @made.task(name="who", shared=False)
    def who() -> dict[str, Any]:
        with otel_llm.span("work"):
            return {"tenant": current_identity().tenant, "user": current_identity().user}

    @made.task(name="warm up", shared=False)
    def warm_up() -> None: ...

    @made.task(name="broken", shared=False)
    def broken() -> None:
        raise LookupError("gone")

    @made.task(name="again", shared=False, bind=True, max_retries=1)
    def again(self: Any) -> int:
        if not self.request.retries:
            raise self.retry(countdown=0, exc=ValueError("once more"))
        return int(self.request.retries)

    @made.task(name="meet", shared=False)
    def meet() -> str | None:
        meeting.wait(DEADLINE)
        return current_identity().tenant

    @made.task(name="leave", shared=False)
    def leave() -> None:
        raise SystemExit(3)

    return made


@pytest.mark.usefixtures("instrumented")
def test_tasks_carry_trace_and_tenant(recorded: Recorded, app: Celery) -> None:
    """A task is a CONSUMER span below its sender's, with its tenant; errors and retries are marked."""
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
        with otel_llm.tenant("acme", user="u1"), otel_llm.span("request"):
            found = app.tasks["who"].delay().get(timeout=DEADLINE)
        with pytest.raises(LookupError):
            app.tasks["broken"].delay().get(timeout=DEADLINE)
        assert app.tasks["again"].delay().get(timeout=DEADLINE) == 1
        assert app.tasks["who"].delay().get(timeout=DEADLINE) == {"tenant": None, "user": None}
    assert found == {"tenant": "acme", "user": "u1"}
    request = recorded.one("request")
    run, alone = [span for span in recorded.all if span.name == "run who"]
    assert run.kind is SpanKind.CONSUMER
    assert run.parent.span_id == request.context.span_id
    assert (run.attributes or {})[semconv.TENANT_ID] == "acme"
    assert alone.parent is None
    assert recorded.one("run broken").status.status_code is StatusCode.ERROR
    assert (recorded.one("run broken").attributes or {})[semconv.ERROR_TYPE] == "LookupError"
    runs = [span for span in recorded.all if span.name == "run again"]
    assert [(span.attributes or {}).get(semconv.CELERY_RETRIES) for span in runs] == [None, 1]
    assert not ours._open


@pytest.mark.usefixtures("instrumented")
def test_a_message_that_is_delivered_twice_at_once(recorded: Recorded, app: Celery) -> None:
    """Two runs of one task id in two threads are two spans, and neither leaves its tenant to what comes next."""
    meeting.reset()
    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=DEADLINE):
        for tenant in ("acme", "globex"):
            with otel_llm.tenant(tenant):
                app.tasks["meet"].apply_async(task_id="one and the same")
        meeting.wait(DEADLINE)
        answers = [app.tasks["meet"].delay() for _ in range(2)]  # in both threads, or they would not meet
        meeting.wait(DEADLINE)
        assert [answer.get(timeout=DEADLINE) for answer in answers] == [None, None]
    tenants = [(span.attributes or {}).get(semconv.TENANT_ID) for span in recorded.all if span.name == "run meet"]
    assert sorted(map(str, tenants)) == ["acme", "globex", "unknown", "unknown"]
    assert not ours._open


@pytest.mark.usefixtures("instrumented")
def test_what_ends_the_worker_ends_the_run_as_an_error(recorded: Recorded, app: Celery) -> None:
    """A SystemExit that goes through a task (a stop, a hard time limit) is its span's error; a handled one is not."""
    with pytest.raises(SystemExit):
        app.tasks["leave"].apply()
    try:
        raise ValueError("handled by whoever asks for the task")
    except ValueError:
        app.tasks["who"].apply()
    assert (recorded.one("run leave").attributes or {})[semconv.ERROR_TYPE] == "SystemExit"
    assert recorded.one("run leave").status.status_code is StatusCode.ERROR
    assert recorded.one("run who").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize("ours_first", [False, True])
def test_an_upstream_instrumentation_is_joined(
    recorded: Recorded, app: Celery, request: pytest.FixtureRequest, ours_first: bool
) -> None:
    """With opentelemetry-instrumentation-celery active its span is the only one of a run, and carries the tenant.

    Where ours was switched on first, that begins with the second task of the process.
    """
    if ours_first:
        request.getfixturevalue("instrumented")
    CeleryInstrumentor().instrument(tracer_provider=recorded.provider)
    if not ours_first:
        request.getfixturevalue("instrumented")
    try:
        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
            if ours_first:
                app.tasks["warm up"].delay().get(timeout=DEADLINE)
            with otel_llm.tenant("acme"), otel_llm.span("request"):
                assert app.tasks["who"].delay().get(timeout=DEADLINE)["tenant"] == "acme"
            assert app.tasks["who"].delay().get(timeout=DEADLINE)["tenant"] is None
    finally:
        CeleryInstrumentor().uninstrument()
    runs = [span for span in recorded.all if span.kind is SpanKind.CONSUMER]
    assert {span.name for span in runs} <= {"run/who", "run/warm up"}
    run = next(span for span in runs if span.context.trace_id == recorded.one("request").context.trace_id)
    assert (run.attributes or {})[semconv.TENANT_ID] == "acme"
    assert run.context.span_id in {span.parent.span_id for span in recorded.all if span.name == "work" and span.parent}


@pytest.mark.usefixtures("instrumented")
def test_before_configure_tasks_run_alone(app: Celery) -> None:
    """Without `configure` a task runs, without any span."""
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
        assert app.tasks["who"].delay().get(timeout=DEADLINE) == {"tenant": None, "user": None}
    assert not ours._open
