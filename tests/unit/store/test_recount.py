"""Every number that the store adds up, against a plain recount of the same spans in Python."""

from __future__ import annotations

import math
import tempfile
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otel_llm import semconv
from otel_llm.backends.local import LocalBackend
from otel_llm.store.call_pages import call_page
from otel_llm.store.filters import Filter
from otel_llm.store.overview import overview
from otel_llm.store.usage import UsageRow, usage
from tests.unit.store.building import HOUR, NOON, batch_of, call, span, used

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

_SUNDAY_OF_DST = datetime(2026, 10, 25, tzinfo=timezone(timedelta(hours=2)))
"""Its midnight in Berlin is 22:00 UTC of the day before; the day there has 25 hours, the UTC day 24."""
_STARTS = st.one_of(
    st.integers(NOON - 200 * HOUR, NOON + 200 * HOUR),
    # at, and a nanosecond before, midnights, both in UTC and where the clock is set back
    st.builds(
        lambda day, zone, before: (day * 86_400 - zone * 3600) * 10**9 - before,
        st.integers(20_749, 20_763),
        st.sampled_from((0, 1, 2)),
        st.sampled_from((0, 1)),
    ),
)


@dataclass(frozen=True)
class _Case:
    """What is known of one call that a program made; those with several attempts carry their usage on these."""

    start: int
    ms: int
    facts: dict[str, str]
    tokens: tuple[int, int]
    cost: float | None
    first: float | None
    error: bool
    hit: bool | None
    attempts: tuple[tuple[int, int, float | None, bool], ...]
    """Input, output, cost, and whether it failed."""


_MONEY = st.one_of(st.none(), st.sampled_from((0.0, 0.1, 0.2, 1e-9, 2.5e-9)), st.floats(0, 10))
_CASES = st.builds(
    _Case,
    start=_STARTS,
    ms=st.integers(0, 50),
    facts=st.fixed_dictionaries(
        {"tenant": st.sampled_from(("acme", "globex")), "model": st.sampled_from(("a", "b"))},
        optional={
            "user": st.sampled_from(("u1", "u2")),
            "session": st.sampled_from(("s1", "s2")),
            "provider": st.sampled_from(("openai", "anthropic")),
        },
    ),
    tokens=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    cost=_MONEY,
    first=st.one_of(st.none(), st.integers(0, 9).map(lambda ms: ms / 1000)),
    error=st.booleans(),
    hit=st.sampled_from((None, False, True)),
    attempts=st.one_of(
        st.just(()),
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), _MONEY, st.booleans()), min_size=2, max_size=3).map(
            tuple
        ),
    ),
)
_FEW_OR_MANY = st.one_of(st.lists(_CASES, min_size=1, max_size=4), st.lists(_CASES, min_size=20, max_size=40))
_ATTRIBUTES = {"user": semconv.USER_ID, "session": semconv.SESSION_ID, "provider": semconv.PROVIDER_NAME}


def _spans(case: _Case) -> Iterable[Span]:
    facts: dict[str, Any] = {semconv.PROVIDER_NAME: "none"}
    facts |= {_ATTRIBUTES[name]: value for name, value in case.facts.items() if name in _ATTRIBUTES}
    known = {**facts, semconv.CACHE_HIT: case.hit} if case.hit is not None else dict(facts)
    if case.first is not None:
        known[semconv.TIME_TO_FIRST_CHUNK] = case.first
    known |= {semconv.ATTEMPTS: len(case.attempts)} if case.attempts else used(*case.tokens, case.cost)
    error = "Timeout" if case.error else None
    about = (case.facts["tenant"], case.facts["model"])
    logical = call(*about, attributes=known, error=error, ms=case.ms, start=case.start)
    below = {"trace_id": logical.trace_id, "parent_span_id": logical.span_id, "start": case.start}
    yield logical
    yield span({"http.request.method": "POST"}, **below)
    for number, (read, written, cost, failed) in enumerate(case.attempts, 1):
        on_it = {**facts, **used(read, written, cost), semconv.ATTEMPT: number}
        yield call(*about, attributes=on_it, error="Timeout" if failed else None, **below)


def _recount(cases: Iterable[_Case], labels: dict[str, str | None]) -> UsageRow:
    """The row of usage that `cases` come to, by the rules of docs/store.md and nothing of ours."""
    listed = list(cases)
    bills = [bill for case in listed for bill in _bills(case)]
    known = [_nano(cost) for _, _, cost in bills if cost is not None]
    return UsageRow(
        labels,
        calls=len(listed),
        errors=sum(case.error for case in listed),
        input_tokens=sum(read for read, _, _ in bills),
        output_tokens=sum(written for _, written, _ in bills),
        cost_nano_usd=sum(known) if known else None,
        unknown_cost_calls=sum(cost is None for _, _, cost in bills),
        cache_hits=sum(case.hit is True for case in listed),
        latency_p50_ms=_rank([float(case.ms) for case in listed], 50),
        latency_p95_ms=_rank([float(case.ms) for case in listed], 95),
        ttft_p50_ms=_rank([round(case.first * 1000, 6) for case in listed if case.first is not None], 50),
    )


def _bills(case: _Case) -> list[tuple[int, int, float | None]]:
    if case.attempts:
        return [(read, written, cost) for read, written, cost, _ in case.attempts]
    if case.hit:  # nobody was billed; what the span says of money stands
        unknown_and_failed = case.cost is None and case.error
        return [] if unknown_and_failed else [(0, 0, case.cost)]
    return [(*case.tokens, case.cost)]


def _nano(cost: float) -> int:
    return int((Decimal(repr(cost)) * 10**9).to_integral_value())


def _rank(values: list[float], percent: int) -> float | None:
    return sorted(values)[math.ceil(percent * len(values) / 100) - 1] if values else None


def _label(name: str) -> Callable[[_Case], str | None]:
    if name == "day":
        return lambda case: f"{datetime.fromtimestamp(case.start // 10**9, timezone.utc):%Y-%m-%d}"
    return lambda case: case.facts.get(name, "none" if name == "provider" else None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(cases=_FEW_OR_MANY, hours=st.tuples(st.integers(-30, 30), st.integers(1, 60)))
def test_every_number_is_that_of_a_recount(cases: list[_Case], hours: tuple[int, int]) -> None:
    """Totals and groups of usage, of the overview and of the listed calls are those that counting by hand gives."""
    since = _SUNDAY_OF_DST + timedelta(hours=hours[0])
    until = since + timedelta(hours=hours[1])
    low, high = (int(moment.timestamp()) * 10**9 for moment in (since, until))
    within = [case for case in cases if low <= case.start < high]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "own" / "store.db"
        backend = LocalBackend(path, min_free_bytes=0)
        backend.send(batch_of(*(made for case in cases for made in _spans(case))), timeout=30)
        backend.close()
        for chosen, expected in ((Filter(), cases), (Filter(since=since, until=until), within)):
            _compare(path, chosen, expected)


def _compare(path: Path, chosen: Filter, cases: list[_Case]) -> None:
    names = ("tenant", "model", "user", "session", "provider", "day")
    found = overview(path, chosen, names)
    listed = call_page(path, chosen, limit=1000).rows
    assert found.totals == usage(path, (), since=chosen.since, until=chosen.until).totals
    assert found.totals == (_recount(cases, {}) if cases else UsageRow({}))
    assert sum(bucket.calls for bucket in found.timeline) == len(listed) == len(cases)
    assert sum(row.is_error for row in listed) == found.totals.errors
    for field in ("input_tokens", "output_tokens", "cost_nano_usd"):
        assert sum(getattr(row, field) or 0 for row in listed) == (getattr(found.totals, field) or 0)
    for name in names:
        of = _label(name)
        expected = {label: _recount((c for c in cases if of(c) == label), {name: label}) for label in map(of, cases)}
        assert {row.labels[name]: row for row in found.tables[name]} == expected
        assert found.tables[name] == usage(path, (name,), since=chosen.since, until=chosen.until).rows
