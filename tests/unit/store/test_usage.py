"""The numbers of `usage`, against sums and percentiles worked out here by other means."""

from __future__ import annotations

import math
import os
import random
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otel_llm import semconv
from otel_llm.backends.local import LocalBackend
from otel_llm.contracts import Delivered
from otel_llm.errors import StoreError
from otel_llm.store import db, queries
from otel_llm.store import usage as usage_module
from otel_llm.store.db import open_reader
from otel_llm.store.filters import Filter, nanoseconds
from tests.unit.store.building import HOUR, NOON, batch_of, call, span, used

if TYPE_CHECKING:
    from opentelemetry.proto.trace.v1.trace_pb2 import Span


def stored(path: Path, *spans: Span) -> Path:
    """Put `spans` into the store at `path`."""
    backend = LocalBackend(path, min_free_bytes=0)
    assert backend.send(batch_of(*spans), timeout=10) == Delivered(len(spans))
    backend.close()
    return path


def store_of(tmp_path: Path, *spans: Span) -> Path:
    """A new store that holds `spans`."""
    return stored(tmp_path / "store.db", *spans)


def nearest_rank(values: list[float], percent: int) -> float:
    """The textbook's percentile: the value at rank ceil(p/100 * n) of the sorted list."""
    return sorted(values)[math.ceil(percent * len(values) / 100) - 1]


def test_calls_tokens_and_cost_are_added_by_tenant_and_model(tmp_path: Path) -> None:
    """Each group has its own sums, the totals have all, and the most expensive group comes first."""
    store = store_of(
        tmp_path,
        call("acme", "gpt-4o", attributes=used(10, 5, 0.01)),
        call("acme", "gpt-4o", attributes=used(20, 6, 0.02)),
        call("acme", "gpt-4o-mini", attributes=used(1, 2, 0.001)),
        call("globex", "gpt-4o", attributes=used(7, 8, 0.5)),
        call("globex", "gpt-4o", error="Timeout"),
        span({"http.request.method": "POST", semconv.TENANT_ID: "acme"}),
    )
    report = queries.usage(store)
    seen = [(*r.labels.values(), r.calls, r.errors, r.input_tokens, r.output_tokens, r.cost_usd) for r in report.rows]
    assert seen == [
        ("globex", "gpt-4o", 2, 1, 7, 8, Decimal("0.5")),
        ("acme", "gpt-4o", 2, 0, 30, 11, Decimal("0.03")),
        ("acme", "gpt-4o-mini", 1, 0, 1, 2, Decimal("0.001")),
    ]
    assert (report.totals.calls, report.totals.errors, report.totals.cost_usd) == (5, 1, Decimal("0.531"))
    assert report.rows[0].error_rate == 0.5
    assert report.rows[0].labels == {"tenant": "globex", "model": "gpt-4o"}


def test_money_does_not_drift(tmp_path: Path) -> None:
    """0.1 + 0.2 is 0.3, and a thousand tenths of a cent are a dollar."""
    two = queries.usage(store_of(tmp_path, call(attributes=used(1, 1, 0.1)), call(attributes=used(1, 1, 0.2))))
    assert two.totals.cost_usd == Decimal("0.3")
    assert two.totals.cost_nano_usd == 300_000_000
    many = stored(tmp_path / "many.db", *(call(attributes=used(1, 1, 0.001)) for _ in range(1000)))
    assert queries.usage(many).totals.cost_usd == 1


def test_unknown_cost_is_counted_apart_and_never_zero(tmp_path: Path) -> None:
    """A group without any known cost has none; a mixed one has the known part and the count of the others."""
    store = store_of(
        tmp_path,
        call("dark", attributes=used(10, 5, None)),
        call("mixed", attributes=used(10, 5, None)),
        call("mixed", attributes=used(10, 5, 0.25)),
        call("free", attributes=used(10, 5, 0.0)),
        call("failing", error="Timeout", attributes={semconv.COST_STATUS: semconv.COST_UNKNOWN}),
    )
    rows = {row.labels["tenant"]: row for row in queries.usage(store, ("tenant",)).rows}
    seen = {name: (row.cost_usd, row.unknown_cost_calls) for name, row in rows.items()}
    assert seen == {"dark": (None, 1), "mixed": (Decimal("0.25"), 1), "free": (0, 0), "failing": (None, 0)}


def test_a_call_with_several_attempts_counts_once_and_is_billed_once(tmp_path: Path) -> None:
    """Calls, errors and latency come from the logical span, tokens and cost from the attempts under it."""
    logical = call("acme", "gpt-4o", ms=900, attributes={semconv.ATTEMPTS: 2, semconv.COST_STATUS: "unknown"})
    under = {"trace_id": logical.trace_id, "parent_span_id": logical.span_id}
    first = call("acme", "gpt-4o", ms=300, error="RateLimitError", attributes={semconv.ATTEMPT: 1}, **under)
    second = call("acme", "gpt-4o", ms=500, attributes={**used(11, 7, 0.04), semconv.ATTEMPT: 2}, **under)
    store = store_of(tmp_path, logical, first, second)
    totals = queries.usage(store).totals
    assert (totals.calls, totals.errors, totals.input_tokens, totals.output_tokens) == (1, 0, 11, 7)
    assert (totals.cost_usd, totals.unknown_cost_calls, totals.latency_p50_ms) == (Decimal("0.04"), 0, 900)
    (listed,) = queries.calls(store)
    assert (listed.input_tokens, listed.cost_usd, listed.attempts) == (11, Decimal("0.04"), 2)


def test_a_fallbacks_cost_stands_with_the_model_that_was_billed(tmp_path: Path) -> None:
    """The call counts for the model asked for, tokens and cost for the one an attempt went to."""
    logical = call(model="gpt-4o", attributes={semconv.ATTEMPTS: 2, semconv.FALLBACK: True})
    under = {"trace_id": logical.trace_id, "parent_span_id": logical.span_id}
    other = call(model="claude", attributes={**used(3, 4, 0.1), semconv.ATTEMPT: 2, semconv.FALLBACK: True}, **under)
    rows = {r.labels["model"]: r for r in queries.usage(store_of(tmp_path, logical, other), ("model",)).rows}
    assert {model: (row.calls, row.cost_usd) for model, row in rows.items()} == {
        "gpt-4o": (1, None),
        "claude": (0, Decimal("0.1")),
    }
    assert rows["claude"].error_rate is None


def test_usage_on_spans_around_calls_is_not_added_again(tmp_path: Path) -> None:
    """An agent span that repeats the sum of its calls does not double it."""
    agent = span({semconv.OPERATION_NAME: semconv.OP_INVOKE_AGENT, **used(10, 10, 1.0)})
    totals = queries.usage(store_of(tmp_path, agent, call(attributes=used(10, 10, 1.0)))).totals
    assert (totals.calls, totals.input_tokens, totals.cost_usd) == (1, 10, 1)


@pytest.mark.parametrize("size", [1, 2, 3, 19, 20, 21, 40, 99, 100, 101, 367])
def test_percentiles_equal_an_independent_computation(tmp_path: Path, size: int) -> None:
    """p50 and p95 are the nearest-rank values at sizes where a careless rank is off by one."""
    rng = random.Random(size)
    lasted = {tenant: [float(rng.randrange(1, 400)) for _ in range(size)] for tenant in ("acme", "globex")}
    store = store_of(tmp_path, *(call(tenant, ms=ms) for tenant, values in lasted.items() for ms in values))
    report = queries.usage(store, ("tenant",))
    for row in report.rows:
        values = lasted[row.labels["tenant"] or ""]
        assert (row.latency_p50_ms, row.latency_p95_ms) == (nearest_rank(values, 50), nearest_rank(values, 95))
    together = lasted["acme"] + lasted["globex"]
    assert report.totals.latency_p50_ms == nearest_rank(together, 50)
    assert report.totals.latency_p95_ms == nearest_rank(together, 95)


def test_time_to_first_chunk_is_over_streams_only(tmp_path: Path) -> None:
    """Calls that did not stream do not enter the median; a group without streams has none."""
    streams = [call("acme", attributes={semconv.TIME_TO_FIRST_CHUNK: s}) for s in (0.1, 0.25, 0.9)]
    store = store_of(tmp_path, *streams, call("acme"), call("globex"))
    rows = {row.labels["tenant"]: row.ttft_p50_ms for row in queries.usage(store, ("tenant",)).rows}
    assert rows == {"acme": 250.0, "globex": None}


def test_cache_hits_have_a_rate_and_what_they_saved(tmp_path: Path) -> None:
    """Answers from the response cache are counted over calls, with the money they saved, and no tokens."""
    hit = {semconv.CACHE_HIT: True, semconv.COST: 0.0, semconv.COST_SAVED: 0.07}
    used = {semconv.USAGE_INPUT: 10, semconv.USAGE_OUTPUT: 5, semconv.USAGE_CACHE_READ: 4}
    bought = [call(attributes=used) for _ in range(3)]
    totals = queries.usage(store_of(tmp_path, call(attributes={**used, **hit}), *bought)).totals
    assert (totals.cache_hits, totals.cache_hit_rate, totals.saved_usd) == (1, 0.25, Decimal("0.07"))
    assert (totals.input_tokens, totals.output_tokens, totals.cache_read_tokens) == (30, 15, 12)


@pytest.mark.parametrize(
    ("grouping", "label"),
    [
        ("tenant", "Bücher & Söhne 雪"),
        ("model", "gpt-4o"),
        ("response_model", "gpt-4o-2024-08-06"),
        ("provider", "openai"),
        ("day", "2026-11-01"),
        ("operation", "chat"),
        ("user", "u1"),
        ("session", "s1"),
        ("service", "shop"),
    ],
)
def test_every_grouping_names_its_label(tmp_path: Path, grouping: str, label: str) -> None:
    """Each name in GROUPINGS groups by what it says, in any script."""
    who = {semconv.USER_ID: "u1", semconv.SESSION_ID: "s1", semconv.RESPONSE_MODEL: "gpt-4o-2024-08-06"}
    store = store_of(tmp_path, call("Bücher & Söhne 雪", attributes=who))
    assert [row.labels for row in queries.usage(store, (grouping,)).rows] == [{grouping: label}]


def test_days_are_utc_and_in_order(tmp_path: Path) -> None:
    """A call at 23:59:59.999 UTC and one at midnight are on two days, the earlier first whatever it cost."""
    midnight = NOON + 12 * HOUR
    store = store_of(
        tmp_path,
        call(start=midnight, attributes=used(1, 1, 9.0)),
        call(start=midnight - 1, attributes=used(1, 1, 1.0)),
    )
    days = [(row.labels["day"], row.cost_usd) for row in queries.usage(store, ("day",)).rows]
    assert days == [("2026-11-01", 1), ("2026-11-02", 9)]


def test_the_window_includes_its_beginning_and_excludes_its_end(tmp_path: Path) -> None:
    """A span counts if since <= start < until, to the nanosecond."""
    noon = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)
    hour = timedelta(hours=1)
    store = store_of(
        tmp_path, call(start=NOON - 1), call(start=NOON), call(start=NOON + HOUR - 1), call(start=NOON + HOUR)
    )
    assert queries.usage(store, since=noon, until=noon + hour).totals.calls == 2
    assert queries.usage(store, since=noon).totals.calls == 3
    assert queries.usage(store, until=noon).totals.calls == 1


def test_tenant_and_model_filter_what_is_added(tmp_path: Path) -> None:
    """`model` matches the model asked for and the one that answered; odd names are values, not SQL."""
    odd = "o'hare\"; DROP TABLE spans; --"
    store = store_of(
        tmp_path, call(odd, "gpt-4o", attributes={semconv.RESPONSE_MODEL: "gpt-4o-x"}), call("acme", "other")
    )
    assert queries.usage(store, tenant=odd).totals.calls == 1
    assert queries.usage(store, model="gpt-4o").totals.calls == 1
    assert queries.usage(store, model="gpt-4o-x").totals.calls == 1
    assert queries.usage(store, tenant="acme", model="gpt-4o").totals.calls == 0
    assert queries.usage(store).totals.calls == 2


def test_an_empty_store_has_totals_of_nothing(tmp_path: Path) -> None:
    """Without calls there are no rows, zeros for counts, and None for what cannot be known."""
    report = queries.usage(store_of(tmp_path, span()))
    assert report.rows == ()
    assert (report.totals.calls, report.totals.input_tokens, report.totals.cost_usd) == (0, 0, None)
    assert (report.totals.latency_p50_ms, report.totals.error_rate) == (None, None)


def test_no_grouping_gives_the_totals_as_one_row(tmp_path: Path) -> None:
    """Grouping by nothing is allowed."""
    report = queries.usage(store_of(tmp_path, call(), call("globex")), ())
    assert [row.calls for row in report.rows] == [2]
    assert report.totals == report.rows[0]


def test_what_cannot_be_asked_says_why(tmp_path: Path) -> None:
    """No store, what is none, an unknown grouping and a naive time are StoreErrors that say what to do."""
    with pytest.raises(StoreError, match=r"no local store .* yet.*otel-llm demo"):
        queries.usage(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("this is not a database, but it is long enough to look like one" * 20)
    with pytest.raises(StoreError, match=r"cannot be read \(file is not a database\).*otel-llm doctor"):
        queries.usage(tmp_path / "text.db")
    os.mkfifo(tmp_path / "pipe.db")
    for odd in (tmp_path / "pipe.db", Path("/dev/zero")):
        with pytest.raises(StoreError, match=r"not a regular file.*--store"):
            queries.usage(odd)
    with pytest.raises(StoreError, match="cannot be grouped by 'colour'"):
        queries.usage(tmp_path / "none.db", ("colour",))
    with pytest.raises(StoreError, match="no time zone"):
        queries.usage(store_of(tmp_path, call()), since=datetime(2026, 11, 1))  # noqa: DTZ001


def test_calls_of_a_service_are_counted_and_its_newest_is_found(tmp_path: Path) -> None:
    """However many newer calls others have made; attempts and other spans are none; an empty store has no newest."""
    path = tmp_path / "store.db"
    backend = LocalBackend(path, min_free_bytes=0)
    mine = [call(start=NOON + number) for number in range(3)]
    attempt = call(start=NOON + 9, attributes={semconv.ATTEMPT: 1})
    backend.send(batch_of(*mine, attempt, span(start=NOON + 9), resource={semconv.SERVICE_NAME: "mine"}), timeout=10)
    backend.send(batch_of(*(call(start=NOON + HOUR) for _ in range(1100))), timeout=10)
    backend.close()
    assert queries.usage(path, ("service",)).totals.calls == 1103
    assert usage_module.count_calls(path) == (1103, NOON + HOUR)
    assert usage_module.count_calls(path, "mine") == (3, NOON + 2)
    assert usage_module.count_calls(path, "nobody's") == (0, None)


def test_who_reads_a_store_that_another_holds_is_told_to_end_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader's question is not tried again, as a writer's batch is: what it is told is what a person can do."""
    monkeypatch.setattr(db, "_READER_BUSY_SECONDS", 0.01)
    store = store_of(tmp_path, call())
    with closing(sqlite3.Connection(store, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match=r"cannot be read \(database is locked\).*End it, and ask again"):
            queries.usage(store)


def test_usage_reads_an_index_and_never_the_table(tmp_path: Path) -> None:
    """Every column that is added up stands in the usage index, so a million rows are not fetched."""
    store = store_of(tmp_path, call())
    asked: list[str] = []
    connection = open_reader(store)
    usage_module._add_percentiles(connection)
    connection.set_trace_callback(asked.append)
    window = Filter(since=datetime(2026, 1, 1, tzinfo=timezone.utc), tenant="acme", model="gpt-4o")
    for grouping in queries.GROUPINGS:
        usage_module._rows(connection, (grouping,), window)
    connection.set_trace_callback(None)
    assert len(asked) == len(queries.GROUPINGS)
    for sql in asked:
        plan = [line["detail"] for line in connection.execute("EXPLAIN QUERY PLAN " + sql)]
        assert any("COVERING INDEX spans_usage" in step for step in plan), (sql, plan)
    connection.close()


def test_the_newest_calls_come_first_and_carry_their_facts(tmp_path: Path) -> None:
    """`calls` lists logical calls only, newest first, up to the limit; `errors` lists the failed ones."""
    store = store_of(
        tmp_path,
        call("old", start=NOON),
        call("bad", start=NOON + HOUR, error="AuthenticationError", attributes={semconv.HTTP_STATUS_CODE: 401}),
        call("new", start=NOON + 2 * HOUR, ms=1234, attributes={**used(3, 4, 0.5), semconv.REQUEST_STREAM: True}),
        span(start=NOON + 3 * HOUR),
    )
    assert [row.tenant for row in queries.calls(store)] == ["new", "bad", "old"]
    (newest,) = queries.calls(store, limit=1)
    assert (newest.start, newest.duration_ms) == (datetime(2026, 11, 1, 14, tzinfo=timezone.utc), 1234)
    assert (newest.stream, newest.cache_hit, newest.cost_usd) == (True, False, Decimal("0.5"))
    (failed,) = queries.errors(store)
    assert (failed.tenant, failed.error_type, failed.http_status) == ("bad", "AuthenticationError", 401)
    assert [row.tenant for row in queries.calls(store, tenant="old")] == ["old"]


def test_whole_spans_come_back_as_they_went_in(tmp_path: Path) -> None:
    """`spans` gives attributes, events, links and resource as data, of one trace if asked."""
    made = call(attributes={"custom": ["a", "b"]})
    event = made.events.add(name="exception", time_unix_nano=NOON)
    event.attributes.add(key="exception.type").value.string_value = "Boom"
    made.links.add(trace_id=b"t" * 16, span_id=b"s" * 8)
    store = store_of(tmp_path, made, call())
    (found,) = queries.spans(store, trace_id=made.trace_id.hex())
    assert found["attributes"]["custom"] == ["a", "b"]
    assert found["events"] == [{"name": "exception", "time_ns": NOON, "attributes": {"exception.type": "Boom"}}]
    assert found["links"] == [{"trace_id": (b"t" * 16).hex(), "span_id": (b"s" * 8).hex(), "attributes": {}}]
    assert found["resource"] == {semconv.SERVICE_NAME: "shop"}
    assert len(queries.spans(store)) == 2


def test_moments_become_nanoseconds_exactly() -> None:
    """No float is on the way: microseconds of today survive."""
    moment = datetime(2026, 11, 1, 13, 0, 0, 123457, tzinfo=timezone(timedelta(hours=1)))
    assert nanoseconds(moment) == NOON + 123_457_000
