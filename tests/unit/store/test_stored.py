"""Stored spans as OTLP again: what the store can hold comes back, in order, in batches that receivers take."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm.backends.local import LocalBackend
from otel_llm.contracts import Batch, Delivered
from otel_llm.delivery.codec import encode
from otel_llm.store.bodies import span_bodies
from otel_llm.store.rows import rows_of
from otel_llm.store.stored import count_stored, services_in, stored_batches
from otel_llm.wire import decode
from tests.fakes.span_strategies import spans as any_spans
from tests.fakes.spans import all_spans, make_batch

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def rows_in(batches: list[Batch]) -> dict[tuple[str, str], dict[str, Any]]:
    """What the store makes of batches, by id; resources by what they say."""
    found = {}
    for batch in batches:
        rows = rows_of(decode(batch))
        for row in rows.spans:
            found[row["trace_id"], row["span_id"]] = {**row, "resource_id": rows.resources[row["resource_id"]]}
    return found


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_spans, min_size=1, max_size=6, unique_by=lambda one: (one.context.trace_id, one.context.span_id)))
def test_everything_that_the_store_holds_comes_back(tmp_path_factory: pytest.TempPathFactory, spans: list[Any]) -> None:
    """For spans of every shape: stored, read back and stored again they are the same rows."""
    path = tmp_path_factory.mktemp("store") / "store.db"
    backend = LocalBackend(path)
    batches = encode(spans)
    for batch in batches:
        assert backend.send(batch, timeout=10) == Delivered(batch.span_count)
    backend.close()
    again = [
        stored.batch
        for service in services_in(path, None, None)
        for stored in stored_batches(path, service, None, None)
    ]
    assert rows_in(again) == rows_in(batches)
    counted = [count_stored(path, service, None, None) for service in services_in(path, None, None)]
    assert sum(whole for whole, _ in counted) == len(spans)
    assert sum(numbers for _, numbers in counted) == 0


def test_batches_are_in_order_and_of_a_size_that_receivers_take(tmp_path: Path) -> None:
    """At most 64 spans and about a megabyte, by when the spans began; a giant is a batch of its own."""
    backend = LocalBackend(tmp_path / "store.db")
    backend.send(make_batch(200, start_time=5, end_time=6), timeout=10)
    backend.send(make_batch(10, first=201, start_time=1, end_time=2, attributes={"text": "x " * 200_000}), timeout=10)
    backend.send(make_batch(1, first=300, start_time=3, end_time=4, attributes={"text": "x " * 2_000_000}), timeout=10)
    backend.close()
    found = [stored.batch for stored in stored_batches(tmp_path / "store.db", "svc", None, None)]
    starts = [span.start_time_unix_nano for batch in found for span in all_spans(decode(batch))]
    assert starts == [1] * 10 + [3] + [5] * 200
    assert all(batch.span_count == len(all_spans(decode(batch))) <= 64 for batch in found)
    assert [batch.span_count for batch in found if len(batch.payload) > 1_200_000] == [1]


def test_what_is_left_out_is_left_out(tmp_path: Path) -> None:
    """Ids that are named are skipped, and the rest is whole."""
    backend = LocalBackend(tmp_path / "store.db")
    backend.send(make_batch(100), timeout=10)
    backend.close()
    ids = [(f"{2**100 + 7:032x}", f"{number:016x}") for number in range(1, 70)]
    found = [stored.batch for stored in stored_batches(tmp_path / "store.db", "svc", None, None, set(ids))]
    assert sum(batch.span_count for batch in found) == 31


def test_who_reads_every_span_keeps_no_log_from_being_used_again(tmp_path: Path) -> None:
    """In the middle of reading, SQLite can fold all of its write-ahead log into the file; and nothing is read twice."""
    backend = LocalBackend(tmp_path / "store.db")
    backend.send(make_batch(1500), timeout=10)
    reading = span_bodies(tmp_path / "store.db")
    found = [next(reading).span_id for _ in range(700)]
    backend.send(make_batch(10, first=2000), timeout=10)
    with closing(sqlite3.Connection(tmp_path / "store.db")) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    found += [row.span_id for row in reading]
    backend.close()
    assert len(found) == len(set(found)) == 1510
