"""`otel_llm.add_feedback`: scores in Opik and in the local store, durable, and harmless to the program."""

from __future__ import annotations

import logging
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import otel_llm
from otel_llm.backends.opik.ids import Uuid7IdGenerator
from otel_llm.control.running import fault_counts
from tests.fakes.opik import FakeOpik, faults, needs_openapi

if TYPE_CHECKING:
    from pathlib import Path

_DEADLINE = 30.0


def started(**settings: object) -> TracerProvider:
    """otel_llm on a provider of its own, whose trace ids are Opik's."""
    provider = TracerProvider(id_generator=Uuid7IdGenerator(), shutdown_on_exit=False)
    otel_llm.configure(tracer_provider=provider, handle_sigterm=False, **settings)
    return provider


def wait_for_flush() -> None:
    """Flush until nothing waits."""
    deadline = time.monotonic() + _DEADLINE
    while (report := otel_llm.flush(5)).waiting:
        assert time.monotonic() < deadline, report


def scores(row: dict[str, Any]) -> dict[str, float]:
    """A row's scores by name."""
    return {score["name"]: score["value"] for score in row.get("feedback_scores", ())}


@needs_openapi
def test_scores_reach_traces_and_spans_in_opik() -> None:
    """A score of a trace and one of a span, in its project; of two with one name the later counts."""
    with FakeOpik() as opik:
        started(backend="opik", opik_url=opik.url, opik_project="p", opik_tenants={"acme": "acme-project"})
        with otel_llm.tenant("acme"), otel_llm.span("answer") as answer:
            kept = otel_llm.current().trace_id
        assert otel_llm.add_feedback(kept, "thumbs", 0, tenant="acme")
        wait_for_flush()
        assert otel_llm.add_feedback(kept, "thumbs", 1, reason="helpful", category="up", tenant="acme")
        assert otel_llm.add_feedback(kept, "exact", value=True, span_id=answer.span_id, tenant="acme")
        wait_for_flush()
        (row,) = opik.traces("acme-project")
        assert scores(row) == {"thumbs": 1.0}
        assert (row["feedback_scores"][0]["reason"], row["feedback_scores"][0]["category_name"]) == ("helpful", "up")
        (span,) = opik.spans("acme-project")
        assert scores(span) == {"exact": 1.0}
        assert opik.spans("p") == []
        assert not opik.violations
        (backend,) = otel_llm.status().backends
        assert (backend.created, backend.delivered, backend.rejected) == (4, 4, {})
        otel_llm.shutdown()


@needs_openapi
def test_a_score_outlives_an_outage_and_a_refusal() -> None:
    """While Opik is down a score waits on disk; one that Opik refuses is counted as rejected, and others arrive."""
    with FakeOpik() as opik:
        opik.faults.add("PUT /v1/private/traces/feedback-scores", faults.status(503), times=2)
        started(backend="opik", opik_url=opik.url, opik_project="p")
        with otel_llm.span("answer") as answer:
            assert otel_llm.current().add_feedback("first", 0.5)
        wait_for_flush()
        assert scores(opik.traces("p")[0]) == {"first": 0.5}
        opik.faults.add("PUT /v1/private/traces/feedback-scores", faults.status(422), times=1)
        assert otel_llm.add_feedback(answer, "refused", 1)
        wait_for_flush()
        (backend,) = otel_llm.status().backends
        assert sum(backend.rejected.values()) == 1
        otel_llm.shutdown()


@needs_openapi
def test_a_trace_that_began_elsewhere() -> None:
    """With the span its Opik id is known; with nothing but an ordinary trace id of strangers the score is refused."""
    with FakeOpik() as opik:
        provider = TracerProvider(shutdown_on_exit=False)  # ordinary random ids
        otel_llm.configure(
            tracer_provider=provider, backend="opik", opik_url=opik.url, opik_project="p", handle_sigterm=False
        )
        with otel_llm.span("answer") as answer:
            pass
        wait_for_flush()
        assert otel_llm.add_feedback(answer.trace_id, "known", 1)
        assert otel_llm.add_feedback("0af7651916cd43dd8448eb211c80319c", "strange", 1)
        assert otel_llm.add_feedback(opik.traces("p")[0]["id"], "by opik's id", 2)
        wait_for_flush()
        assert scores(opik.traces("p")[0]) == {"known": 1.0, "by opik's id": 2.0}
        (backend,) = otel_llm.status().backends
        assert backend.rejected == {"invalid": 1}
        otel_llm.shutdown()


def test_the_local_store_shows_feedback(tmp_path: Path) -> None:
    """The view `feedback` has trace, span, name, value, reason and tenant; usage counts no call for it."""
    store = tmp_path / "store.db"
    started(backend="local", store_path=store)
    with otel_llm.tenant("acme", user="u1"), otel_llm.span("answer") as answer:
        assert otel_llm.add_feedback(answer, "thumbs", 1, reason="ann@example.com says so")
        assert otel_llm.add_feedback(answer.trace_id, "exact", 0.5, span_id=answer.span_id)
    wait_for_flush()
    otel_llm.shutdown()
    with sqlite3.connect(store) as connection:
        found = connection.execute(
            "SELECT trace_id, span_id, name, value, reason, tenant, user FROM feedback ORDER BY name"
        )
        exact, thumbs = found.fetchall()
        calls = connection.execute("SELECT count(*) FROM spans WHERE is_llm = 1").fetchone()
    connection.close()
    assert exact == (answer.trace_id, answer.span_id, "exact", 0.5, None, "acme", "u1")
    assert thumbs[:4] == (answer.trace_id, None, "thumbs", 1.0)
    assert calls == (0,)


def test_sampling_leaves_feedback_alone(tmp_path: Path) -> None:
    """With nothing of the spans kept, a score is."""
    store = tmp_path / "store.db"
    started(backend="local", store_path=store, sampling_ratio=0.0)
    with otel_llm.span("answer") as answer:
        pass
    assert otel_llm.add_feedback(answer, "thumbs", 1)
    wait_for_flush()
    otel_llm.shutdown()
    connection = sqlite3.connect(store)
    assert connection.execute("SELECT count(*) FROM feedback").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize(
    ("trace_id", "name", "value", "why"),
    [
        ("12", "n", 1, "trace id is not 32"),
        ("z" * 32, "n", 1, "trace id is not 32"),
        ("0" * 32, "n", 1, "trace id is not 32"),
        (None, "n", 1, "trace id is not 32"),
        (trace.INVALID_SPAN, "n", 1, "never recorded"),
        ("a" * 32, " ", 1, "has no name"),
        ("a" * 32, None, 1, "has no name"),
        ("a" * 32, "n", float("nan"), "is a number between"),
        ("a" * 32, "n", 10**10, "is a number between"),
        ("a" * 32, "n", "good", "is a number between"),
    ],
)
def test_bad_input_is_refused_in_words(
    trace_id: Any, name: Any, value: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing raises; the answer is False and the log says why."""
    started(backend="none")
    before = fault_counts()
    with caplog.at_level(logging.WARNING, "otel_llm"):
        assert otel_llm.add_feedback(trace_id, name, value) is False
    assert why in caplog.text
    assert fault_counts() == before


def test_without_configure_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """In a process where nothing runs, the answer is False and the log says so."""
    otel_llm.shutdown()
    with caplog.at_level(logging.WARNING, "otel_llm"):
        assert otel_llm.add_feedback("a" * 32, "n", 1) is False
    assert "not configured in this process" in caplog.text
