"""The overview, pages of calls and single traces, as the dashboard asks the store for them."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from otel_llm import semconv
from otel_llm.backends.local import LocalBackend
from otel_llm.contracts import Delivered
from otel_llm.errors import StoreError
from otel_llm.store.call_pages import CallKey, call_page, call_page_sql
from otel_llm.store.filters import Filter
from otel_llm.store.groupings import GROUPINGS
from otel_llm.store.overview import overview
from otel_llm.store.traces import FEEDBACK_SQL, SPANS_SQL, read_trace
from otel_llm.store.usage import usage
from tests.unit.store.building import HOUR, MS, NOON, batch_of, call, span, used

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

AT_NOON = datetime(2026, 11, 1, 12, tzinfo=timezone.utc)


def stored(path: Path, *spans: Span) -> Path:
    """Put `spans` into the store at `path`."""
    backend = LocalBackend(path, min_free_bytes=0)
    assert backend.send(batch_of(*spans), timeout=10) == Delivered(len(spans))
    backend.close()
    return path


def mixed(count: int, seed: int = 1) -> list[Span]:
    """Calls of all kinds over three days: failed, cached, without a price, streamed, in attempts, HTTP spans."""
    rng = random.Random(seed)
    made: list[Span] = []
    for _ in range(count):
        start = NOON + rng.randrange(72 * HOUR)
        tenant, model = f"t{rng.randrange(4)}", rng.choice(["gpt-4o", "claude", "gemini"])
        facts = used(rng.randrange(5000), rng.randrange(900), rng.choice([None, 0.1, 0.2, rng.random()]))
        facts |= {semconv.USER_ID: f"u{rng.randrange(3)}"} if rng.random() < 0.7 else {}
        facts |= {semconv.TIME_TO_FIRST_CHUNK: rng.random()} if rng.random() < 0.3 else {}
        facts |= {semconv.CACHE_HIT: True, semconv.COST_SAVED: 0.01} if rng.random() < 0.1 else {}
        error = "Timeout" if rng.random() < 0.2 else None
        made.append(call(tenant, model, attributes=facts, error=error, ms=rng.random() * 5000, start=start))
        if rng.random() < 0.2:
            parent = call(tenant, "router", attributes={semconv.ATTEMPTS: 2}, start=start)
            ids = {"trace_id": parent.trace_id, "parent_span_id": parent.span_id}
            attempt = {**used(10, 20, 0.25), semconv.ATTEMPT: 2}
            made += [parent, call(tenant, model, attributes=attempt, start=start, **ids), span(start=start, **ids)]
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three days of calls of all kinds."""
    return stored(tmp_path_factory.mktemp("store") / "store.db", *mixed(400))


# --- the overview ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"tenant": "t1"},
        {"model": "claude"},
        {"since": AT_NOON + timedelta(hours=30)},
        {"since": AT_NOON + timedelta(hours=5), "until": AT_NOON + timedelta(hours=40), "tenant": "t2"},
        {"tenant": "nobody"},
    ],
    ids=str,
)
def test_the_overview_has_the_numbers_of_usage(store: Path, chosen: dict[str, object]) -> None:
    """Totals and each table equal what `usage` says for the same filter, percentiles and exact money included."""
    names = tuple(name for name in GROUPINGS if name != "day")
    found = overview(store, Filter(**chosen), names)
    for name in names:
        report = usage(store, (name,), **chosen)
        assert found.totals == report.totals
        assert found.tables[name] == report.rows


def test_the_course_of_time_adds_up_and_has_no_gaps(store: Path) -> None:
    """Buckets follow each other, at most some sixty of them, and together are the totals."""
    for chosen in (Filter(), Filter(since=AT_NOON + timedelta(hours=3)), Filter(tenant="t1")):
        found = overview(store, chosen, ("tenant",))
        line = found.timeline
        assert 1 < len(line) <= 62
        assert all(before.end_ns == after.start_ns for before, after in pairwise(line))
        assert len({bucket.end_ns - bucket.start_ns for bucket in line}) == 1
        assert sum(bucket.calls for bucket in line) == found.totals.calls
        assert sum(bucket.errors for bucket in line) == found.totals.errors
        assert sum(bucket.cost_nano_usd or 0 for bucket in line) == found.totals.cost_nano_usd


def test_moments_at_the_ends_of_time_are_counted(tmp_path: Path) -> None:
    """Spans that begin in 1970 and at the largest number, and questions beyond what SQLite can hold, are no error."""
    path = stored(tmp_path / "s.db", call(start=0), call(start=2**63 - 1, ms=0))
    far = datetime(9999, 12, 31, tzinfo=timezone.utc)
    found = overview(path, Filter(), ("tenant",))
    assert found.totals.calls == sum(bucket.calls for bucket in found.timeline) == 2
    assert found.totals == usage(path, ()).totals
    assert found.totals.unknown_cost_calls == 0
    assert usage(path, (), until=far).totals.calls >= 1
    assert usage(path, (), since=far).totals.calls <= 1
    assert overview(path, Filter(since=datetime(1, 1, 1, tzinfo=timezone.utc)), ()).totals.calls == 2


def test_the_newest_call_is_known_where_the_question_finds_none(store: Path) -> None:
    """Nothing is found, and the store says when something last was."""
    found = overview(store, Filter(tenant="nobody"), ("tenant",))
    assert (found.totals.calls, found.tables, found.timeline) == (0, {"tenant": ()}, ())
    assert found.newest_ns is not None
    assert NOON <= found.newest_ns < NOON + 72 * HOUR


def test_a_question_that_takes_too_long_is_given_up(store: Path) -> None:
    """After the given time the reader stops and says what could be asked instead."""
    with pytest.raises(StoreError, match=r"longer than 0 s and was given up.*shorter period"):
        overview(store, Filter(), ("tenant", "model", "user"), seconds=0)


# --- pages of calls -------------------------------------------------------------------------------------------


def ids_of_all_pages(path: Path, chosen: Filter, *, failed: bool | None = None, limit: int = 7) -> list[str]:
    """The span ids of every page, one after the other."""
    found: list[str] = []
    before: CallKey | None = None
    while True:
        page = call_page(path, chosen, failed=failed, before=before, limit=limit)
        assert len(page.rows) <= limit
        found += [row.span_id for row in page.rows]
        if page.next is None:
            return found
        before = page.next


@pytest.mark.parametrize(
    ("chosen", "failed", "condition"),
    [
        (Filter(), None, "1"),
        (Filter(), True, "is_error = 1"),
        (Filter(), False, "is_error = 0"),
        (Filter(tenant="t1", user="u2"), None, "tenant = 't1' AND user = 'u2'"),
        (Filter(model="claude", provider="openai", operation="chat"), None, "request_model = 'claude'"),
        (Filter(service="shop", since=AT_NOON + timedelta(hours=24)), None, f"start_ns >= {NOON + 24 * HOUR}"),
        (Filter(session="none"), None, "0"),
    ],
    ids=str,
)
def test_pages_together_are_all_calls_once(store: Path, chosen: Filter, failed: bool | None, condition: str) -> None:
    """Whatever is filtered by, the pages hold each logical call once, newest first."""
    with closing(sqlite3.Connection(store)) as connection:
        sql = f"SELECT span_id FROM spans WHERE is_call = 1 AND {condition} ORDER BY start_ns DESC, id DESC"
        expected = [line[0] for line in connection.execute(sql)]
    assert ids_of_all_pages(store, chosen, failed=failed) == expected


def test_calls_of_the_same_moment_are_told_apart(tmp_path: Path) -> None:
    """Pages of calls that all began at once neither repeat nor lose any."""
    path = stored(tmp_path / "s.db", *(call(f"t{number % 3}") for number in range(23)))
    found = ids_of_all_pages(path, Filter(), limit=5)
    assert len(found) == len(set(found)) == 23


def test_calls_recorded_meanwhile_move_no_page(tmp_path: Path) -> None:
    """The second page begins where the first ended, though newer calls came between them."""
    path = stored(tmp_path / "s.db", *(call(start=NOON + number * MS) for number in range(20)))
    first = call_page(path, Filter(), limit=8)
    stored(path, *(call(start=NOON + (100 + number) * MS) for number in range(20)))
    second = call_page(path, Filter(), before=first.next, limit=8)
    assert second.rows[0].start < first.rows[-1].start
    assert not {row.span_id for row in first.rows} & {row.span_id for row in second.rows}


def test_a_call_of_several_attempts_has_their_tokens(tmp_path: Path) -> None:
    """Tokens and cost of the attempts stand on the line of the call."""
    parent = call(attributes={semconv.ATTEMPTS: 2})
    ids = {"trace_id": parent.trace_id, "parent_span_id": parent.span_id}
    attempts = [call(attributes={**used(10, 5, 0.1), semconv.ATTEMPT: number}, **ids) for number in (1, 2)]
    (row,) = call_page(stored(tmp_path / "s.db", parent, *attempts), Filter()).rows
    assert (row.input_tokens, row.output_tokens, row.cost_nano_usd, row.attempts) == (20, 10, 200_000_000, 2)


def test_a_page_of_one_long_trace_reads_its_calls_and_not_the_trace(tmp_path: Path) -> None:
    """SQLite takes no more steps for a page out of a trace of 2,000 calls than for one of as many traces."""
    ids = {"trace_id": TRACE}
    steps = {}
    for name, fields in (("one", ids), ("many", {})):
        path = stored(tmp_path / f"{name}.db", *(call(**fields) for _ in range(2000)))
        with closing(sqlite3.Connection(path)) as connection:
            taken: list[int] = []
            connection.set_progress_handler(lambda taken=taken: taken.append(1), 100)
            connection.execute(call_page_sql(Filter(), failed=None, before=None), {"limit": 50}).fetchall()
            steps[name] = len(taken)
    assert steps["one"] <= steps["many"] + 2


@pytest.mark.parametrize(
    ("chosen", "before", "index"),
    [
        (Filter(), None, "USING COVERING INDEX spans_usage (is_llm=?)"),
        (
            Filter(tenant="x", user="y", session="z", service="s"),
            CallKey(1, 1),
            "spans_usage (is_llm=? AND start_ns<?)",
        ),
        (Filter(since=AT_NOON), None, "spans_usage (is_llm=? AND start_ns>?)"),
        (Filter(trace_id="0" * 32), None, "sqlite_autoindex_spans_1 (trace_id=?)"),
    ],
    ids=str,
)
def test_pages_of_calls_read_an_index(store: Path, chosen: Filter, before: CallKey | None, index: str) -> None:
    """No page reads the table to find its calls, however large it is: SQLite's own plan says so."""
    sql = call_page_sql(chosen, failed=True, before=before)
    values = {**chosen.values, "failed": True, "limit": 5, "at": 1, "id": 1}
    with closing(sqlite3.Connection(store)) as connection:
        plan = [line[3] for line in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert [line for line in plan if index in line], plan
    assert [line for line in plan if line.startswith("SCAN") and line != "SCAN chosen"] == []


@pytest.mark.parametrize("sql", [SPANS_SQL, FEEDBACK_SQL])
def test_a_trace_is_found_by_an_index(store: Path, sql: str) -> None:
    """Neither the spans of a trace nor its feedback are looked for in the whole table."""
    with closing(sqlite3.Connection(store)) as connection:
        plan = [line[3] for line in connection.execute(f"EXPLAIN QUERY PLAN {sql}", ("0" * 32, 5))]
    assert [line for line in plan if "(trace_id=?)" in line], plan
    assert [line for line in plan if line.startswith("SCAN")] == []


# --- one trace ------------------------------------------------------------------------------------------------


TRACE = bytes(range(1, 17))


def of_trace(name: str, own: int, parent: int | None = None, *, start: int = NOON, **fields: object) -> Span:
    """A span of the one trace, with a small number as its id."""
    ids = {"trace_id": TRACE, "span_id": own.to_bytes(8, "big")}
    above = {} if parent is None else {"parent_span_id": parent.to_bytes(8, "big")}
    return span(name=name, start=start, **ids, **above, **fields)


def shape(path: Path, **options: int) -> Sequence[tuple[str, int]]:
    """Names and depths of the trace's spans, in their order."""
    return [(found.name, found.depth) for found in read_trace(path, TRACE.hex(), **options).spans]


def test_a_trace_is_a_tree(tmp_path: Path) -> None:
    """Children stand below their parent in order of their beginning, whatever order they came in."""
    path = stored(
        tmp_path / "s.db",
        of_trace("second child", 3, 1, start=NOON + 2 * MS),
        of_trace("grandchild", 4, 2, start=NOON + 3 * MS),
        of_trace("root", 1),
        of_trace("first child", 2, 1, start=NOON + MS),
    )
    assert shape(path) == [("root", 0), ("first child", 1), ("grandchild", 2), ("second child", 1)]


def test_spans_without_their_parent_and_rings_are_shown(tmp_path: Path) -> None:
    """What hangs on nothing stands at the root and says so; parents that form a ring end neither the page nor us."""
    path = stored(
        tmp_path / "s.db",
        of_trace("orphan", 1, 99),
        of_trace("ring a", 2, 3),
        of_trace("ring b", 3, 2),
        of_trace("itself", 4, 4),
    )
    found = {one.name: one for one in read_trace(path, TRACE.hex()).spans}
    assert set(found) == {"orphan", "ring a", "ring b", "itself"}
    assert (found["orphan"].detached, found["orphan"].depth) == (True, 0)
    assert not found["ring a"].detached


def test_a_deep_trace_needs_no_deep_stack(tmp_path: Path) -> None:
    """Five thousand spans, each in the last, are put in order, and not more of them than were asked for."""
    path = stored(
        tmp_path / "s.db", *(of_trace(str(own), own, own - 1 or None, start=NOON + own) for own in range(1, 5001))
    )
    assert shape(path, limit=6000)[-1] == ("5000", 4999)
    cut = read_trace(path, TRACE.hex(), limit=100)
    assert (len(cut.spans), cut.cut) == (100, True)


def test_the_first_call_is_shown_unless_a_span_is_named(tmp_path: Path) -> None:
    """One span comes in full: the one asked for, else the first call to a model, else the root; or none of that id."""
    failed = Status(code=Status.STATUS_CODE_ERROR, message="no")
    path = stored(
        tmp_path / "s.db",
        of_trace("root", 1, attributes={"a": 1}),
        of_trace(
            "the call", 2, 1, attributes={semconv.OPERATION_NAME: "chat", semconv.REQUEST_MODEL: "m"}, status=failed
        ),
    )
    assert (read_trace(path, TRACE.hex()).whole or {})["name"] == "the call"
    whole = read_trace(path, TRACE.hex(), f"{1:016x}").whole or {}
    assert (whole["name"], whole["attributes"], whole["resource"]) == ("root", {"a": 1}, {semconv.SERVICE_NAME: "shop"})
    assert read_trace(path, TRACE.hex(), f"{9:016x}").whole is None
    assert read_trace(path, "0" * 32).spans == ()


def test_feedback_comes_with_the_trace(tmp_path: Path) -> None:
    """Records of feedback are read with the trace that they are about."""
    request = batch_of(of_trace("root", 1))
    backend = LocalBackend(tmp_path / "s.db", min_free_bytes=0)
    backend.send(request, timeout=10)
    backend.close()
    with closing(sqlite3.Connection(tmp_path / "s.db")) as connection, connection:
        facts = (
            f'{{"{semconv.EVALUATION_NAME}":"thumbs","{semconv.EVALUATION_SCORE}":1,"{semconv.FEEDBACK_OF}":"trace"}}'
        )
        connection.execute("UPDATE spans SET scope = ?", (semconv.FEEDBACK_SCOPE,))
        connection.execute("UPDATE span_bodies SET attributes = ?", (facts,))
    (found,) = read_trace(tmp_path / "s.db", TRACE.hex()).feedback
    assert (found.name, found.value, found.span_id) == ("thumbs", 1, None)


@pytest.mark.parametrize("name", ["user", "session"])
def test_who_calls_does_not_multiply_what_is_called(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups by user or session are not put together with the others, which would make a group of each call."""
    from otel_llm.store import overview as module

    key = {"user": semconv.USER_ID, "session": semconv.SESSION_ID}[name]
    spans = [
        call(f"t{tenant}", f"m{model}", attributes={key: f"x{person}"})
        for tenant in range(5)
        for model in range(5)
        for person in range(5)
    ]
    path, read, parts = stored(tmp_path / "store.db", *spans), [], module._parts
    monkeypatch.setattr(module, "_parts", lambda line: read.append(line) or parts(line))
    found = overview(path, Filter(), ("tenant", "model", name))
    assert len(read) == 5 * 5 + 5
    assert [row.calls for row in found.tables[name]] == [25] * 5
    assert found.tables[name] == usage(path, (name,)).rows
