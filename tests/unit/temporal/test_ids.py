"""Ids of spans in workflows: the same in every replay."""

from __future__ import annotations

import uuid

from opentelemetry import context as otel_context
from opentelemetry.context import Context

from otel_llm.backends.opik.ids import Uuid7IdGenerator, own_millis
from otel_llm.context import with_id_source
from otel_llm.temporal.run_ids import RunIds

MILLIS = 1_800_000_000_123
RUN = "0197-run"


def made(ids: RunIds, count: int = 100) -> list[int]:
    """So many span ids."""
    return [ids.span_id() for _ in range(count)]


def test_ids_are_a_function_of_the_run() -> None:
    """Two replays of a run make the same ids in the same order; another run makes others, and none comes twice."""
    assert made(RunIds(RUN, MILLIS)) == made(RunIds(RUN, MILLIS))
    assert not set(made(RunIds(RUN, MILLIS))) & set(made(RunIds("other", MILLIS)))
    assert len(set(made(RunIds(RUN, MILLIS)))) == 100


def test_a_trace_id_is_a_uuid7_of_its_time() -> None:
    """Opik takes it as it stands."""
    trace_id = RunIds(RUN, MILLIS).trace_id()
    assert uuid.UUID(int=trace_id).version == 7
    assert uuid.UUID(int=trace_id).variant == uuid.RFC_4122
    assert own_millis(trace_id.to_bytes(16, "big"), MILLIS * 1_000_000) == MILLIS


def test_the_generator_takes_ids_from_where_the_context_says() -> None:
    """In a workflow they come from the run, elsewhere (also in its queries) they are random."""
    generator = Uuid7IdGenerator()
    token = otel_context.attach(with_id_source(RunIds(RUN, MILLIS), Context()))
    try:
        assert [generator.generate_span_id(), generator.generate_span_id()] == made(RunIds(RUN, MILLIS), 2)
        inner = otel_context.attach(with_id_source(None, otel_context.get_current()))
        assert generator.generate_span_id() not in made(RunIds(RUN, MILLIS))
        otel_context.detach(inner)
    finally:
        otel_context.detach(token)
    assert generator.generate_trace_id() != generator.generate_trace_id()
