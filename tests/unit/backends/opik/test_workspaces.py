"""Spans of tenants with workspaces of their own, through spool and courier: who is shut out holds up nobody else."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm import semconv
from otel_llm.backends.opik.backend import OpikBackend, OpikOptions
from otel_llm.contracts import Batch, Delivered, Held, Retry
from otel_llm.delivery.courier import Courier, CourierSettings
from otel_llm.delivery.spool import Spool
from otel_llm.delivery.spool_types import SpoolSettings
from tests.crash.kit import wait_until
from tests.fakes.opik import SPANS, FakeOpik, Fault, Limit, Request, Wire, faults, needs_openapi
from tests.unit.backends.opik.helpers import trace_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from otel_llm.delivery.spool_types import Parked

pytestmark = needs_openapi

_KEY = "key"
_TENANTS = {"globex": "g @globex", "initech": "i @initech"}
_NUMBER = "app.number"


class Opik(FakeOpik):
    """A server where the trouble of single workspaces can be planned."""

    def __init__(self, *open_ones: str, **options: Any) -> None:
        super().__init__(api_keys={_KEY: ("main", *open_ones)}, **options)
        self.sick: dict[str, Fault] = {}
        """By workspace."""

    def open(self, *workspaces: str) -> None:
        """Let the key into these besides `main`."""
        self.let(_KEY, "main", *workspaces)

    def numbers(self, workspace: str) -> list[int]:
        """Which spans a workspace has."""
        return sorted(row["metadata"][_NUMBER] for row in self.spans(workspace=workspace))

    def arrived(self, workspace: str) -> list[int]:
        """The spans of all requests for a workspace that were taken, in order, repeats and all."""
        mine = [each for each in self.requests_to(SPANS) if each.headers["Comet-Workspace"] == workspace]
        return [row["metadata"][_NUMBER] for each in mine if each.status == 204 for row in each.json["spans"]]

    def _fault_for(self, request: Request) -> Fault | None:
        return self.sick.get(request.headers.get("Comet-Workspace", "")) or super()._fault_for(request)


def batch(*spans: tuple[str, int], size: int = 0) -> Batch:
    """A batch of one span, each a trace of its own, for each (tenant, number)."""
    request, now = ExportTraceServiceRequest(), time.time_ns()
    scoped = request.resource_spans.add().scope_spans.add()
    for tenant, number in spans:
        span = scoped.spans.add(
            trace_id=trace_bytes(), span_id=number.to_bytes(8, "big"), name="chat m", start_time_unix_nano=now
        )
        span.end_time_unix_nano = now + 1000
        span.attributes.add(key=semconv.TENANT_ID).value.string_value = tenant
        span.attributes.add(key=_NUMBER).value.int_value = number
        span.attributes.add(key="app.pad").value.string_value = "x" * size
    return Batch(request.SerializeToString(), len(spans))


class Bench:
    """A spool, an Opik backend, and their courier: one process of a program."""

    def __init__(
        self,
        opik: FakeOpik,
        place: Path,
        *,
        tenants: dict[str, str] = _TENANTS,
        key: str = _KEY,
        workspace: str = "main",
        settings: SpoolSettings | None = None,
        **courier: float,
    ) -> None:
        options = OpikOptions(url=opik.url, api_key=key, workspace=workspace, project="shop", tenants=tenants)
        self.spool = Spool(place / "spool", settings)
        self.courier = Courier(
            self.spool,
            {"opik": OpikBackend(options)},
            CourierSettings(pace=0.0, **courier),  # type: ignore[arg-type]
        )

    def append(self, *spans: tuple[str, int], size: int = 0) -> None:
        self.spool.append(batch(*spans, size=size))
        self.courier.notify(1)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Created, delivered, waiting; nothing was lost."""
        ledger = self.spool.report().backends["opik"].ledger
        assert not ledger.rejected
        assert not ledger.dropped
        return ledger.created, ledger.delivered, ledger.waiting

    @property
    def parked(self) -> dict[str, Parked]:
        return {each.workspace: each for each in self.spool.report().backends["opik"].parked}

    def waits(self) -> dict[str, int]:
        """Spans by closed workspace."""
        return {name: each.waiting for name, each in self.parked.items()}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """A maker of benches over one spool, shut down afterwards."""
    made: list[Bench] = []

    def build(opik: FakeOpik, **options: Any) -> Bench:
        made.append(Bench(opik, tmp_path, **options))
        return made[-1]

    yield build
    for one in made:
        one.courier.shutdown(0.5)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-off in milliseconds, whatever the reason."""
    monkeypatch.setattr(
        "otel_llm.delivery.courier_backoff.Backoff.seconds_after",
        lambda self, retry: setattr(self, "failures", self.failures + 1) or 0.02,
    )


def test_a_closed_workspace_holds_up_no_other(bench: Callable[..., Bench]) -> None:
    """All of the others arrive, batch after batch; what waits is counted under the workspace, with the reason."""
    with Opik("initech") as opik:
        one = bench(opik)
        for number in range(0, 60, 3):
            one.append(("acme", number), ("globex", number + 1), ("initech", number + 2))
        assert wait_until(lambda: one.counts == (60, 40, 20))
        assert opik.numbers("main") == list(range(0, 60, 3))
        assert opik.numbers("initech") == list(range(2, 60, 3))
        assert one.waits() == {"globex": 20}
        failure = one.parked["globex"].failure
        assert failure is not None
        assert (failure.reason, failure.needs_action) == ("forbidden", True)
        assert "'globex'" in failure.why
        assert one.spool.report().backends["opik"].failure is None
        refused = [each for each in opik.requests if each.headers["Comet-Workspace"] == "globex"]
        assert len(refused) == 1, "it was asked once, and is left alone until its time comes"


def test_what_waited_goes_in_order_before_what_came_later_once_it_is_open(
    bench: Callable[..., Bench], quick: None
) -> None:
    """Each span once, without a restart, in the order in which it came, also what comes while the rest is going."""
    with Opik("initech") as opik:
        one = bench(opik)
        for number in range(40):
            one.append(("globex", number), ("acme", 1000 + number))
        assert wait_until(lambda: one.waits() == {"globex": 40} and one.counts[1] == 40)
        opik.open("globex", "initech")
        for number in range(40, 80):
            one.append(("globex", number), ("acme", 1000 + number))
        assert wait_until(lambda: one.counts == (160, 160, 0))
        assert opik.arrived("globex") == list(range(80))
        assert opik.arrived("main") == list(range(1000, 1080))
        assert one.waits() == {}
        one.append(("globex", 80))
        assert wait_until(lambda: opik.numbers("globex") == list(range(81)))
        assert not opik.duplicates()


def test_a_batch_for_nobody_but_a_closed_workspace_is_parked_too(bench: Callable[..., Bench]) -> None:
    """The batches behind it are not held up either, and the configured workspace can be the closed one."""
    with Opik("initech") as opik:
        one = bench(opik, workspace="nobodys")
        one.append(("globex", 1))
        one.append(("acme", 2))
        one.append(("initech", 3))
        assert wait_until(lambda: one.counts == (3, 1, 2))
        assert one.waits() == {"globex": 1, "nobodys": 1}
        failure = one.parked["nobodys"].failure
        assert failure is not None
        assert "OPIK_WORKSPACE" in failure.why


def test_with_one_workspace_alone_nothing_is_parked(bench: Callable[..., Bench]) -> None:
    """Where there are no others to hold up, the backend as a whole does not take spans, as ever."""
    with Opik() as opik:
        one = bench(opik, workspace="nobodys", tenants={"acme": "a project"})
        one.append(("acme", 1))
        assert wait_until(lambda: one.spool.report().backends["opik"].failure is not None)
        assert one.waits() == {}


@pytest.mark.parametrize("how", ["throttled", "quota", "server_error", "hangs"])
def test_any_trouble_of_one_workspace_is_its_own(bench: Callable[..., Bench], quick: None, how: str) -> None:
    """Throttled, unpaid, broken or silent: the others go on, and it gets its own once it is well."""
    trouble = {
        "throttled": faults.throttled(1),
        "quota": faults.status(402),
        "server_error": faults.status(500),
        "hangs": Fault("hang", wire=Wire.HANG),
    }
    with Opik("globex", "initech") as opik:
        opik.sick["globex"] = trouble[how]
        one = bench(opik, request_timeout=0.5)
        for number in range(0, 60, 3):
            one.append(("globex", number), ("acme", number + 1), ("initech", number + 2))
        assert wait_until(lambda: one.counts == (60, 40, 20))
        assert one.waits() == {"globex": 20}
        opik.sick.clear()
        assert wait_until(lambda: one.counts == (60, 60, 0))
        assert opik.numbers("globex") == list(range(0, 60, 3))


def test_a_batch_that_is_all_a_broken_workspaces_does_not_hold_up_the_others_for_good(
    bench: Callable[..., Bench], quick: None
) -> None:
    """Nothing but the others tells that it is not the server: one batch of theirs is let pass, and then the rest."""
    with Opik("globex", "initech") as opik:
        opik.sick["globex"] = faults.status(500)
        one = bench(opik)
        one.spool.append(batch(("globex", 1)))
        one.spool.append(batch(("globex", 2), size=1 << 20))
        one.spool.append(batch(("acme", 3), size=1 << 20))
        one.append(("acme", 4))
        assert wait_until(lambda: opik.numbers("main") == [3, 4])
        assert wait_until(lambda: one.counts[1] == 2)


def test_workspaces_that_hang_do_not_take_the_time_of_the_others(bench: Callable[..., Bench], quick: None) -> None:
    """However many are due, they are tried a part of the time only: what comes for the others does not queue up."""
    tenants = {name: f"p @{name}" for name in ("a", "b", "c", "d", "e")}
    with Opik(*tenants) as opik:
        opik.sick = dict.fromkeys(tenants, Fault("hang", wire=Wire.HANG))
        one = bench(opik, tenants=tenants, request_timeout=0.2)
        one.append(*((name, number) for number, name in enumerate(tenants, start=1)), ("acme", 6))
        assert wait_until(lambda: one.counts == (6, 1, 5))
        before = len(opik.requests)
        for number in range(100, 130):
            one.append(("acme", number))
            assert wait_until(lambda expected=number: expected in opik.numbers("main"))
        tried = [each for each in opik.requests[before:] if each.headers["Comet-Workspace"] in tenants]
        assert len(tried) < 15
        opik.sick.clear()
        assert wait_until(lambda: one.counts == (36, 36, 0))


def test_a_server_that_is_down_is_not_taken_for_closed_workspaces(bench: Callable[..., Bench], quick: None) -> None:
    """Where no workspace answers, nothing is parked: the batch waits as it is."""
    with Opik("globex", "initech") as opik:
        opik.faults.add("*", faults.status(503), times=None)
        one = bench(opik)
        one.append(("globex", 1), ("acme", 2), ("initech", 3))
        assert wait_until(lambda: len(opik.requests) >= 8)
        assert one.waits() == {}
        failure = one.spool.report().backends["opik"].failure
        assert failure is not None
        assert failure.reason == "server_error"
        opik.faults.clear()
        assert wait_until(lambda: one.counts == (3, 3, 0))


def test_several_broken_workspaces_take_nothing_from_those_that_were_not_reached(
    bench: Callable[..., Bench], quick: None
) -> None:
    """However many fail, a span counts as delivered only when it is there."""
    tenants = {name: f"p @{name}" for name in ("a", "b", "c", "d", "e")}
    with Opik(*tenants) as opik:
        opik.sick = dict.fromkeys(("b", "c"), faults.status(500))
        one = bench(opik, tenants=tenants)
        one.append(("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5))
        assert wait_until(lambda: one.counts == (5, 3, 2))
        assert [opik.numbers(name) for name in ("a", "d", "e")] == [[1], [4], [5]]
        opik.sick = dict.fromkeys(tenants, faults.status(500))
        one.append(("b", 6), ("a", 7), ("d", 8), ("e", 9))
        assert wait_until(lambda: one.spool.report().backends["opik"].failure is not None)
        assert one.counts[1] == 3
        opik.sick.clear()
        assert wait_until(lambda: one.counts == (9, 9, 0))
        assert [opik.numbers(name) for name in tenants] == [[1, 7], [2, 6], [3], [4, 8], [5, 9]]


def test_workspaces_have_rates_of_their_own(bench: Callable[..., Bench], quick: None) -> None:
    """A tenant who sends more than Opik takes for its workspace gets it later, and nobody else does."""
    with Opik("globex", "initech", workspace_limit=Limit(12, 1.0)) as opik:
        one = bench(opik)
        one.append(*(("globex", number) for number in range(6)))  # six traces and six spans
        for number in range(100, 103):
            one.append(("globex", number), ("acme", 1000 + number))
        assert wait_until(lambda: opik.numbers("main") == [1100, 1101, 1102])
        assert wait_until(lambda: one.counts == (12, 12, 0))
        assert opik.arrived("globex") == [*range(6), 100, 101, 102]


def score(tenant: str, trace: bytes, value: float) -> Batch:
    """A batch with one record of feedback on a trace."""
    request = ExportTraceServiceRequest()
    scoped = request.resource_spans.add().scope_spans.add()
    scoped.scope.name = semconv.FEEDBACK_SCOPE
    record = scoped.spans.add(trace_id=trace, span_id=uuid.uuid4().bytes[:8], name="feedback thumbs")
    record.start_time_unix_nano = record.end_time_unix_nano = time.time_ns()
    record.attributes.add(key=semconv.TENANT_ID).value.string_value = tenant
    record.attributes.add(key=semconv.EVALUATION_NAME).value.string_value = "thumbs"
    record.attributes.add(key=semconv.EVALUATION_SCORE).value.double_value = value
    record.attributes.add(key=semconv.FEEDBACK_OF).value.string_value = semconv.FEEDBACK_OF_TRACE
    return Batch(request.SerializeToString(), 1)


@pytest.mark.parametrize("tenant", ["globex", "käse & co. @home", "a'b\"; DROP", "x" * 300])
def test_feedback_waits_with_its_trace_whatever_the_tenant_is_called(bench: Callable[..., Bench], tenant: str) -> None:
    """A score for a closed workspace is parked like a span, and the last of several is the one that counts."""
    with Opik() as opik:
        one = bench(opik, tenants={tenant: "g @globex"})
        first = batch((tenant, 1), ("acme", 2))
        trace = ExportTraceServiceRequest.FromString(first.payload).resource_spans[0].scope_spans[0].spans[0].trace_id
        one.spool.append(first)
        one.spool.append(score(tenant, trace, 0.0))
        one.courier.notify(1)
        assert wait_until(lambda: one.waits() == {"globex": 2})
        one.spool.append(score(tenant, trace, 1.0))
        one.append((tenant, 3))
        assert wait_until(lambda: one.counts == (5, 1, 4))
        opik.open("globex")
        before = len(opik.requests)
        assert one.courier.flush(20.0).complete
        assert one.counts == (5, 5, 0)
        sent = [each.json["scores"] for each in opik.requests[before:] if each.method == "PUT"]
        assert [[each["value"] for each in scores] for scores in sent] == [[0.0], [1.0]], "in one, either might count"
        assert opik.numbers("globex") == [1, 3]
        (scored,) = [row for row in opik.traces(workspace="globex") if row.get("feedback_scores")]
        assert [(each["name"], each["value"]) for each in scored["feedback_scores"]] == [("thumbs", 1.0)]


def test_what_is_parked_outlasts_the_process(bench: Callable[..., Bench]) -> None:
    """After a restart it is counted as before, tried at once, and goes with a key that may; the reason is kept."""
    with Opik() as opik:
        one = bench(opik)
        one.append(("globex", 1), ("acme", 2))
        assert wait_until(lambda: one.counts == (2, 1, 1))
        report = one.courier.shutdown(5.0)
        assert report.waiting == {"opik": 1}
        asked = len(opik.requests)
        two = bench(opik)
        assert two.waits() == {"globex": 1}
        assert two.parked["globex"].failure is not None
        two.courier.notify()
        assert wait_until(lambda: len(opik.requests) > asked)
        two.courier.shutdown(1.0)
        opik.let("another", "main", "globex")
        three = bench(opik, key="another")
        three.courier.notify()
        assert wait_until(lambda: three.counts == (2, 2, 0))
        assert opik.numbers("globex") == [1]


def test_what_is_parked_goes_to_where_the_tenant_is_now(bench: Callable[..., Bench]) -> None:
    """A mistyped workspace that was corrected between two starts: nothing waits for the old name for ever."""
    with Opik("globex", "initech") as opik:
        one = bench(opik, tenants={"globex": "g @globxe", "umbrella": "u @nowhere", "initech": "i @initech"})
        one.append(("globex", 1), ("umbrella", 2), ("initech", 3))
        assert wait_until(lambda: one.counts == (3, 1, 2))
        assert one.waits() == {"globxe": 1, "nowhere": 1}
        one.courier.shutdown(1.0)
        two = bench(opik, tenants={"globex": "g @globex"})
        two.courier.notify()
        assert wait_until(lambda: two.counts == (3, 3, 0))
        assert opik.numbers("globex") == [1]
        assert opik.numbers("main") == [2], "a tenant without a workspace of its own"


def test_what_is_parked_can_be_parked_for_another(bench: Callable[..., Bench]) -> None:
    """It is counted where it waits now, and nothing twice."""
    with Opik("initech") as opik:
        one = bench(opik)
        one.append(("globex", 1), ("globex", 2), ("acme", 3))
        assert wait_until(lambda: one.counts == (3, 1, 2))
        one.courier.shutdown(1.0)
        two = bench(opik, tenants={"globex": "g @elsewhere", "initech": "i @initech"})
        two.courier.notify()
        assert wait_until(lambda: two.waits() == {"elsewhere": 2})
        assert two.counts == (3, 1, 2)
        opik.open("elsewhere")
        two.courier.retry_now()
        assert wait_until(lambda: two.counts == (3, 3, 0))


_PROGRAM = """
import sys, pathlib
from tests.unit.backends.opik.test_workspaces import Bench, Opik
class There:
    url = sys.argv[1]
one = Bench(There(), pathlib.Path(sys.argv[2]))
first = int(sys.argv[3])
for number in range(first, first + 40, 2):
    one.append(("globex", number), ("acme", number + 1))
print("appended", flush=True)
while True:
    one.courier.notify()
    sys.stdin.readline()
"""


def _program(opik: FakeOpik, place: Path, first: int) -> subprocess.Popen[bytes]:
    arguments = [sys.executable, "-c", _PROGRAM, opik.url, str(place), str(first)]
    started = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert started.stdout is not None
    assert started.stdout.readline() == b"appended\n"
    return started


@pytest.mark.parametrize("when", ["parked", "at once"])
def test_kill_nine_costs_nothing_that_was_parked(tmp_path: Path, bench: Callable[..., Bench], when: str) -> None:
    """Whether it is killed with all of it parked or in the middle, the next process has every span once."""
    with Opik() as opik:
        program = _program(opik, tmp_path, 0)
        try:
            if when == "parked":
                assert wait_until(lambda: len(opik.numbers("main")) == 20)
        finally:
            program.kill()
            program.communicate()
        opik.open("globex")
        one = bench(opik)
        one.courier.notify()
        assert wait_until(lambda: one.counts == (40, 40, 0))
        assert opik.numbers("globex") == list(range(0, 40, 2))
        assert opik.numbers("main") == list(range(1, 40, 2))


def test_two_processes_share_what_is_parked(tmp_path: Path, bench: Callable[..., Bench]) -> None:
    """One delivers and parks for both; the other's flush counts its own and does not hang; it takes over in the end."""
    with Opik() as opik:
        program = _program(opik, tmp_path, 0)
        try:
            assert wait_until(lambda: len(opik.numbers("main")) == 20)
            one = bench(opik)
            one.append(("globex", 100), ("acme", 101))
            assert wait_until(lambda: 101 in opik.numbers("main"))
            assert wait_until(lambda: one.waits() == {"globex": 21})
            began = time.monotonic()
            assert one.courier.flush(60.0).waiting == {"opik": 1}
            assert time.monotonic() - began < 30.0, "it waited for a workspace that takes nothing"
            opik.open("globex")
        finally:
            program.kill()
            program.communicate()
        one.append(("globex", 102))
        assert wait_until(lambda: one.counts == (43, 43, 0))
        assert opik.arrived("globex") == [*range(0, 40, 2), 100, 102], "what was parked goes first"


def test_flush_and_shutdown_do_not_wait_for_a_workspace_that_takes_nothing(bench: Callable[..., Bench]) -> None:
    """Each flush asks it once, says what waits, and returns; the end of the program asks no more."""
    with Opik() as opik:
        one = bench(opik)
        one.append(("globex", 1), ("acme", 2))
        assert one.courier.flush(60.0).waiting == {"opik": 1}
        asked = len(opik.arrived("globex")), len(opik.requests)
        assert one.courier.flush(60.0).waiting == {"opik": 1}
        assert len(opik.requests) == asked[1] + 1
        report = one.courier.drain(0.2)
        assert report.waiting == {"opik": 1}
        assert report.stuck
        opik.sick["globex"] = Fault("hang", wire=Wire.HANG)
        assert one.courier.shutdown(30.0).waiting == {"opik": 1}


def test_a_full_spool_loses_the_oldest_and_counts_it(bench: Callable[..., Bench]) -> None:
    """A workspace that stays closed may fill the spool; then its own oldest go, and the others' all arrive."""
    with Opik() as opik:
        one = bench(opik, settings=SpoolSettings(max_bytes=1 << 20, compress_above=1 << 30))
        for number in range(40):
            one.append(("globex", number), ("acme", 1000 + number), size=40_000)
            assert wait_until(
                lambda expected=number + 1: one.spool.report().backends["opik"].ledger.delivered == expected
            )
        ledger = one.spool.report().backends["opik"].ledger
        lost = ledger.dropped["spool_full"]
        assert lost > 0
        assert (ledger.created, ledger.delivered, ledger.rejected) == (80, 40, {})
        assert one.waits() == {"globex": 40 - lost}
        assert ledger.waiting == 40 - lost
        opik.open("globex")
        assert one.courier.flush(30.0).complete
        assert opik.numbers("globex") == list(range(lost, 40)), "the newest are there"
        assert one.spool.report().backends["opik"].ledger.delivered == 80 - lost


@pytest.mark.parametrize("mode", ["off", "overflow"])
def test_modes_in_memory_park_as_well(bench: Callable[..., Bench], quick: None, mode: Any) -> None:
    """In memory (`off`), or on disk once something waits (`overflow`): the others go on, and it comes when it can."""
    with Opik() as opik:
        one = bench(opik, settings=SpoolSettings(mode=mode))
        for number in range(10):
            one.append(("globex", number), ("acme", 100 + number))
        assert wait_until(lambda: one.counts == (20, 10, 10))
        assert one.waits() == {"globex": 10}
        assert one.parked["globex"].failure is not None
        if mode == "overflow":
            assert wait_until(lambda: one.spool.report().memory_bytes == 0)
            assert one.waits() == {"globex": 10}
        opik.open("globex")
        assert wait_until(lambda: one.counts == (20, 20, 0))
        assert opik.arrived("globex") == list(range(10))


def test_what_waits_in_memory_at_the_end_is_counted_as_lost_or_kept(bench: Callable[..., Bench]) -> None:
    """`off` loses what is parked with the process and says so; `overflow` puts it on disk for the next start."""
    with Opik() as opik:
        one = bench(opik, settings=SpoolSettings(mode="off"))
        one.append(("globex", 1), ("acme", 2))
        assert wait_until(lambda: one.counts == (2, 1, 1))
        one.courier.shutdown(5.0)
        ledger = one.spool.report().backends["opik"].ledger
        assert (ledger.delivered, ledger.waiting, ledger.dropped) == (1, 0, {"shutdown": 1})
        two = bench(opik, settings=SpoolSettings(mode="overflow"))
        two.append(("globex", 3), ("acme", 4))
        assert wait_until(lambda: two.counts == (2, 1, 1))
        two.courier.shutdown(5.0)
        assert bench(opik).waits() == {"globex": 1}


def test_replay_and_forget_know_what_is_parked(bench: Callable[..., Bench]) -> None:
    """`replay` queues nothing twice that waits for a closed workspace; `forget` counts it as dropped."""
    with Opik() as opik:
        one = bench(opik, settings=SpoolSettings(keep_delivered=3600.0))
        one.append(("globex", 1), ("acme", 2))
        assert wait_until(lambda: one.counts == (2, 1, 1))
        one.courier.shutdown(1.0)
        spool = Spool(one.spool.directory, SpoolSettings(keep_delivered=3600.0))
        spool.register(["opik"])
        assert spool.replay("opik") == 2, "the kept batch as a whole, but not its parked part again"
        assert spool.replay("opik") == 0
        spool.forget("opik")
        ledger = spool.report().backends["opik"].ledger
        assert (ledger.waiting, ledger.dropped) == (0, {"backend_removed": 3})
        spool.close()


def test_what_a_workspace_rejects_is_the_backends_to_replay(bench: Callable[..., Bench], quick: None) -> None:
    """A dead letter of what was parked lies in quarantine under the backend's name, and goes when it is asked for."""
    with Opik() as opik:
        one = bench(opik)
        one.append(("globex", 1), ("globex", 2), ("acme", 3))
        assert wait_until(lambda: one.counts == (3, 1, 2))
        opik.faults.add(SPANS, faults.status(422), times=3)  # two spans, and then each
        opik.open("globex")
        assert wait_until(lambda: one.spool.report().backends["opik"].ledger.rejected == {"invalid": 2})
        assert [entry.backend for entry in one.spool.quarantined()] == ["opik", "opik"]
        assert one.spool.replay("opik", quarantined=True) == 2
        assert one.courier.drain(20.0).complete
        assert opik.numbers("globex") == [1, 2]


def test_a_trace_in_two_projects_of_one_workspace_is_in_both() -> None:
    """Opik keeps one row of each id in a request, so the second row of a trace goes in a request of its own."""
    request, trace = ExportTraceServiceRequest(), trace_bytes()
    scoped = request.resource_spans.add().scope_spans.add()
    for number, tenant in enumerate(("acme", "umbrella", "acme"), start=1):
        span = scoped.spans.add(trace_id=trace, span_id=number.to_bytes(8, "big"), name=f"work for {tenant}")
        span.start_time_unix_nano = span.end_time_unix_nano = time.time_ns()
        span.parent_span_id = (9).to_bytes(8, "big")
        span.attributes.add(key=semconv.TENANT_ID).value.string_value = tenant
    with Opik() as opik:
        tenants = {"acme": "a", "umbrella": "u"}
        backend = OpikBackend(OpikOptions(url=opik.url, api_key=_KEY, workspace="main", tenants=tenants))
        assert backend.send(Batch(request.SerializeToString(), 3), timeout=10.0) == Delivered(3)
        assert [row["name"] for row in opik.traces("a", workspace="main")] == ["work for acme"]
        assert [row["name"] for row in opik.traces("u", workspace="main")] == ["work for umbrella"]
        assert len(opik.requests) == 3


def test_a_tenant_that_is_no_text_takes_no_place_of_one_that_is() -> None:
    """The number 5 is nobody's name, whether it comes before the tenant "5" or after it."""
    with Opik("five") as opik:
        options = OpikOptions(url=opik.url, api_key=_KEY, workspace="main", project="p", tenants={"5": "p @five"})
        for first in (0, 1):
            request = ExportTraceServiceRequest()
            scoped = request.resource_spans.add().scope_spans.add()
            for number in (0, 1):
                span = scoped.spans.add(trace_id=trace_bytes(), span_id=bytes(7) + bytes([number + 1]), name="m")
                span.start_time_unix_nano = time.time_ns()
                value = span.attributes.add(key=semconv.TENANT_ID).value
                if number == first:
                    value.int_value = 5
                else:
                    value.string_value = "5"
            sent = Batch(request.SerializeToString(), 2)
            assert OpikBackend(options).send(sent, timeout=10.0) == Delivered(2)
            assert (len(opik.spans(workspace="main")), len(opik.spans(workspace="five"))) == (first + 1, first + 1)


def test_who_cannot_park_gets_a_retry_for_the_whole_batch() -> None:
    """The exporter without a spool has no place for a part of a batch, and the batch is as it ever was."""
    with Opik("initech") as opik:
        options = OpikOptions(url=opik.url, api_key=_KEY, workspace="main", project="shop", tenants=_TENANTS)
        backend = OpikBackend(options)
        sent = batch(("acme", 1), ("globex", 2))
        assert isinstance(backend.send(sent, timeout=10.0), Retry)
        backend.hold_back(())
        outcome = backend.send(sent, timeout=10.0)
        assert isinstance(outcome, Delivered)
        assert (outcome.accepted, [(held.workspace, held.spans) for held in outcome.held]) == (1, [("globex", (1,))])
        asked = len(opik.requests)
        backend.hold_back(["globex"])
        assert backend.send(batch(("globex", 3)), timeout=10.0) == Delivered(0, (), (Held("globex", (0,)),))
        assert len(opik.requests) == asked
