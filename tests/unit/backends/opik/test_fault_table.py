"""Every way in which Opik can fail, through the spool and the courier: created = stored + rejected, nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.delivery import courier_backoff
from otel_llm.delivery.courier import Courier, CourierSettings
from otel_llm.delivery.spool import Spool
from tests.fakes.opik import SPANS, TRACES, FakeOpik, Fault, Limit, faults, needs_openapi
from tests.unit.backends.opik.helpers import batch_of, trace_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from otel_llm.ledger import LedgerReport

pytestmark = needs_openapi

FAULTS = [
    faults.redirect("https://login.example.com/"),
    faults.html(),
    faults.html(404),
    faults.captive_portal(),
    faults.wrong_content_type(),
    faults.truncated_json(),
    faults.throttled(1),
    faults.throttled(1, header="Retry-After"),
    faults.throttled(None),
    *(faults.status(code) for code in (500, 502, 503, 504)),
    faults.status(504, commits=True),
    *(faults.status(code) for code in (401, 402, 403, 404, 407, 408)),
    *(faults.status(code) for code in (400, 409, 413, 422)),
    faults.slow(0.05),
    faults.slow_body(0.05),
    faults.hang(),
    faults.commit_then_hang(),
    faults.reset_before_reading(),
    faults.reset_after_reading(),
    faults.reset_after_commit(),
    faults.cut_body(),
]


def _name(fault: Fault) -> str:
    return f"{fault.name} {fault.answer.status if fault.answer else ''}{' commits' if fault.commits else ''}".strip()


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits minutes for a table."""
    for name in ("_FIRST_SECONDS", "_NEEDS_ACTION_SECONDS", "_LONGEST_ASKED_SECONDS", "_SHORTEST_ASKED_SECONDS"):
        monkeypatch.setattr(courier_backoff, name, 0.02)


def _delivered_through(opik: FakeOpik, directory: Path, *, traces: int = 4, old: int = 0) -> LedgerReport:
    """Send so many traces of three spans, and `old` ones of two days ago, until nothing waits; the spool's counts."""
    spool = Spool(directory / "spool")
    backend = OpikBackend(OpikOptions(url=opik.url, service="shop"))
    courier = Courier(spool, {"opik": backend}, CourierSettings(request_timeout=2.0))
    for number in range(traces + old):
        spool.append(batch_of(trace_bytes(48.0 if number < old else 0.0), spans_each=3))
        courier.notify()
    assert courier.flush(100.0).complete
    report = spool.report().backends["opik"].ledger
    courier.shutdown(5.0)
    return report


def _check(opik: FakeOpik, report: LedgerReport, traces: int) -> None:
    assert report.created == report.delivered + sum(report.rejected.values())
    assert (report.waiting, report.dropped) == (0, {})
    assert len(opik.spans()) == len({row["id"] for row in opik.spans()}) == report.delivered
    assert len(opik.traces()) == len({row["id"] for row in opik.traces()}) == traces
    assert opik.duplicates() == []
    assert opik.violations == []


@pytest.mark.parametrize("route", [TRACES, SPANS], ids=["traces", "spans"])
@pytest.mark.parametrize("fault", FAULTS, ids=_name)
def test_after_every_fault_each_span_is_stored_once_or_counted(fault: Fault, route: str, tmp_path: Path) -> None:
    """The fault strikes the first request, and the next if there is one: each span is stored once, or counted."""
    for_good = fault.answer is not None and fault.answer.status in {400, 409, 413, 422}
    with FakeOpik() as opik:
        # refused twice, a trace would have neither its row nor the bare one that stands in for it
        planned = opik.faults.add(route, fault, times=1 if for_good and route == TRACES else 2)
        report = _delivered_through(opik, tmp_path)
        assert planned.hits >= 1
        assert report.created == 12
        assert not report.rejected or (for_good and route == SPANS)
        _check(opik, report, traces=4)


def test_what_is_too_old_is_counted_and_the_rest_stored(tmp_path: Path) -> None:
    """The spans of a trace that the server will never take are rejected with its reason, and no others."""
    with FakeOpik(id_window_hours=24) as opik:
        report = _delivered_through(opik, tmp_path, old=1)
        assert report.rejected == {"too_old": 3}
        _check(opik, report, traces=4)


def test_over_the_rate_limit_nothing_is_lost(tmp_path: Path) -> None:
    """A real limit that refuses whole batches only delays them."""
    with FakeOpik(user_limit=Limit(12, seconds=1)) as opik:  # as many as the largest request may hold
        report = _delivered_through(opik, tmp_path)
        assert report.rejected == {}
        _check(opik, report, traces=4)


def test_an_outage_in_the_middle_loses_nothing(tmp_path: Path) -> None:
    """Refused connections between two deliveries: what was waiting arrives once when the server is back."""
    with FakeOpik() as opik:
        spool = Spool(tmp_path / "spool")
        backend = OpikBackend(OpikOptions(url=opik.url, service="shop"))
        courier = Courier(spool, {"opik": backend}, CourierSettings(request_timeout=2.0))
        for number in range(3):
            if number == 1:
                opik.stop()
            spool.append(batch_of(trace_bytes(), spans_each=3))
            courier.notify()
            assert courier.flush(100.0 if number == 0 else 0.2).complete is (number == 0)
        opik.start()
        assert courier.flush(100.0).complete
        _check(opik, spool.report().backends["opik"].ledger, traces=3)
        courier.shutdown(5.0)
