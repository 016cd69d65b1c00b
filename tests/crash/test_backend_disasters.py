"""Disasters between a program and its backend: refusals, floods of 429, lies, silence, and what they cost (nothing)."""

from __future__ import annotations

import threading
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest

import otel_llm
from otel_llm.control.running import current_pipeline
from tests.crash.kit import wait_until
from tests.crash.pipeline_kit import Faulty, Rig, arrivals, rounds
from tests.fakes.http_server import Reply, Request
from tests.fakes.opik import EVERYTHING, FakeOpik, Fault, faults, needs_openapi
from tests.fakes.otlp_receiver import GrpcReceiver, OtlpReceiver
from tests.fakes.spans import values_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.crash.disaster_table import Verdict

HTML = {"Content-Type": "text/html"}
PAGE = b"<!doctype html><title>Sign in</title>"


def prose(size: int) -> str:
    """So many bytes of words: a run of one letter would be taken for base64, and replaced by its size and hash."""
    return ("so many words " * (size // 14 + 1))[:size]


def retry_in() -> float | None:
    """Seconds until the courier of what runs tries again."""
    pipeline = current_pipeline()
    assert pipeline is not None
    (lane,) = pipeline.channels[0]._courier.report().values()
    return lane.retry_in


# --- row 10, 11: what the backend will never take, as a whole or in this size ------------------------------------


def test_one_bad_span_of_a_hundred_costs_itself(tmp_path: Path, verdict: Verdict) -> None:
    """The receiver answers 400 to every request with the bad span in it: it is found, counted and kept, 99 arrive."""

    class Picky(OtlpReceiver):
        def _receive(self, request: Request) -> Reply:
            if b"poison" in request.content:
                return Reply(400, {"Content-Type": "text/plain"}, b"bad span")
            return super()._receive(request)

    with Picky() as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url, batch_size=100, batch_delay=60_000)
        rig.spans(41)
        rig.spans(1, "poison")
        rig.spans(58)
        assert rig.settled()
        assert rig.backend().rejected == {"invalid": 1}
        assert len(receiver.requests) < 20
        rig.tell(verdict, 10, "400 for one span of a hundred", arrivals(receiver))


@pytest.mark.parametrize(
    ("limit", "injected"), [(300_000, "413 above 300 kB"), (150_000, "413 above 150 kB, with a span of 200 kB")]
)
def test_requests_are_cut_until_they_fit(limit: int, injected: str, tmp_path: Path, verdict: Verdict) -> None:
    """What is too large as a whole is sent in parts; a span that alone is too large is counted."""

    class Small(OtlpReceiver):
        def _receive(self, request: Request) -> Reply:
            return Reply(413) if len(request.content) > limit else super()._receive(request)

    with Small() as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url)
        rig.spans(32, text=prose(100_000))
        rig.spans(1, text=prose(200_000))
        assert rig.settled()
        rig.tell(verdict, 11, injected, arrivals(receiver))


def test_ten_megabytes_go_through_grpc(tmp_path: Path, verdict: Verdict) -> None:
    """A burst of 64 spans of 200 kB passes a gRPC server with its default limit of 4 MiB."""
    with GrpcReceiver(max_bytes=4 * 1024 * 1024) as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url, otlp_protocol="grpc")
        rig.spans(64, text=prose(200_000))
        assert rig.settled()
        rig.tell(verdict, 11, "gRPC server with a limit of 4 MiB, 12.8 MB", arrivals(receiver))


@pytest.mark.parametrize("megabytes", [5, 10, 50])
def test_a_giant_attribute_is_cut_and_says_so(megabytes: int, tmp_path: Path, verdict: Verdict) -> None:
    """The span arrives with the attribute shortened, its name and its former length in bytes beside it."""
    with OtlpReceiver() as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url)
        rig.spans(1, **{"gen_ai.input.messages": prose(megabytes << 20), "gen_ai.request.model": "m"})
        rig.spans(1, text=prose(megabytes << 20))
        assert rig.settled()
        found = values_of(receiver.spans[1])
        assert len(found["text"]) < 300_000
        assert found["otel_llm.truncated"] == ["text"]
        assert found["otel_llm.truncated.original_bytes"] == [megabytes << 20]
        rig.tell(verdict, 12, f"an attribute of {megabytes} MB", arrivals(receiver))


# --- row 13, 14, 15: later, please -------------------------------------------------------------------------------

PATIENCE_ASKED: dict[str, tuple[dict[str, str], float, float]] = {
    "429 with Retry-After: 2": ({"Retry-After": "2"}, 0.5, 2.2),
    "429 with a date": ({"Retry-After": "DATE"}, 5.0, 22.0),
    "429 with a date of the past": ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0.1, 60.0),
    "429 with Retry-After: -5": ({"Retry-After": "-5"}, 0.1, 60.0),
    "429 with Retry-After: 1000000000": ({"Retry-After": "1000000000"}, 800.0, 990.0),
    "429 with Retry-After: NaN": ({"Retry-After": "NaN"}, 0.1, 60.0),
    "429 with Retry-After: soon": ({"Retry-After": "soon"}, 0.1, 60.0),
    "429 without a word": ({}, 0.1, 60.0),
}
"""Headers, and when the next try must be planned (seconds): as asked, at most 15 minutes, else by the back-off."""


@pytest.mark.parametrize("injected", PATIENCE_ASKED)
def test_throttling_only_delays(injected: str, tmp_path: Path, verdict: Verdict) -> None:
    """However the receiver asks for patience, it gets what is sensible, and then every span once."""
    headers, least, most = PATIENCE_ASKED[injected]
    headers = {
        name: formatdate(usegmt=True, timeval=_in_20_seconds()) if value == "DATE" else value
        for name, value in headers.items()
    }
    with Faulty(*rounds(Reply(429, headers), Reply(429, headers))) as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url)
        rig.spans(5)
        assert "429" in (rig.attempted().cause or "")
        assert least <= (retry_in() or 0) <= most
        rig.spans(5)
        assert rig.settled()
        rig.tell(verdict, 13, injected, arrivals(receiver))


def _in_20_seconds() -> float:
    import time

    return time.time() + 20


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504])
def test_what_passes_is_waited_for(status: int, tmp_path: Path, verdict: Verdict) -> None:
    """An answer that says nothing against the spans, again and again: they wait, and arrive once."""
    with Faulty(*rounds(*[Reply(status)] * 3)) as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url)
        rig.spans(10)
        assert str(status) in (rig.attempted().cause or "")
        assert rig.settled()
        rig.tell(verdict, 14, f"HTTP {status}, three times", arrivals(receiver))


def test_an_outage_at_load(tmp_path: Path, verdict: Verdict) -> None:
    """Two thousand spans end while every request gets 503: all wait, and all arrive once when it is over."""
    with OtlpReceiver() as receiver:
        taken, receiver._answer = receiver._answer, lambda _: Reply(503)
        rig = Rig(tmp_path, otlp_endpoint=receiver.url)
        rig.spans(2000)
        rig.attempted()
        assert wait_until(lambda: rig.backend().waiting == 2000), "a batch between queue and spool stays there"
        receiver._answer = taken
        assert rig.settled()
        rig.tell(verdict, 14, "503 for all of an outage", arrivals(receiver))


@needs_openapi
@pytest.mark.parametrize("status", [401, 403])
def test_a_key_that_is_put_right(status: int, tmp_path: Path, verdict: Verdict) -> None:
    """A key that is refused keeps everything and says so; once it is accepted all arrives, without a restart."""
    with FakeOpik() as opik:
        opik.faults.add(EVERYTHING, faults.status(status), times=None)
        rig = Rig(tmp_path, backend="opik", opik_url=opik.url, opik_project="p")
        rig.spans(10)
        assert "key" in (rig.attempted().cause or "").lower()
        assert (retry_in() or 0) > 100, "a key does not become right by being tried"
        opik.faults.clear()
        assert rig.settled()
        assert opik.duplicates() == []
        rig.tell(verdict, 15, f"Opik: HTTP {status} until the key is right", [*rig.ids] if _all(opik, rig) else [])


def _all(opik: FakeOpik, rig: Rig) -> bool:
    return len(opik.spans()) == len(rig.ids)


# --- row 16: answers that only look like success -----------------------------------------------------------------

LIES = {
    "302 to a login page": Reply(302, {"Location": "https://login.example.com/?next=%2Fv1%2Ftraces"}),
    "307 to another host": Reply(307, {"Location": "https://login.example.com/"}),
    "200 with a web page": Reply(200, HTML, PAGE),
    "200 with a web page that calls itself protobuf": Reply(200, {"Content-Type": "application/x-protobuf"}, PAGE),
}


@pytest.mark.parametrize("injected", LIES)
def test_a_login_page_is_no_delivery(injected: str, tmp_path: Path, verdict: Verdict) -> None:
    """Whoever answers in the receiver's place with a page or a redirect has taken nothing, and is named."""
    with Faulty(*rounds(*[LIES[injected]] * 2)) as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url)
        rig.spans(10)
        assert "login page" in (rig.attempted().cause or "")
        assert rig.settled()
        rig.tell(verdict, 16, f"OTLP: {injected}", arrivals(receiver))


@needs_openapi
@pytest.mark.parametrize(
    "fault",
    [faults.redirect("https://login.example.com/"), faults.html(), faults.captive_portal()],
    ids=lambda one: one.name,
)
def test_a_login_page_in_place_of_opik_is_no_delivery(fault: Fault, tmp_path: Path, verdict: Verdict) -> None:
    """The same before Opik, whose web server answers 200 with a page on a wrong path."""
    with FakeOpik() as opik:
        opik.faults.add(EVERYTHING, fault, times=2)
        rig = Rig(tmp_path, backend="opik", opik_url=opik.url, opik_project="p")
        rig.spans(10)
        rig.attempted()
        assert rig.settled()
        assert opik.duplicates() == []
        rig.tell(verdict, 16, f"Opik: {fault.name}", [*rig.ids] if _all(opik, rig) else [])


# --- row 17: servers that are slow, silent or cut off ------------------------------------------------------------

SLOWNESS: dict[str, tuple[Reply, bool, str]] = {
    "no answer at all": (Reply(hang=True), False, "timed out"),
    "no answer, though it took them": (Reply(hang=True), True, "timed out"),
    "an answer of one byte a second": (Reply(200, body=b"x" * 60, bytes_per_second=1), True, "time"),
    "reset in the middle of the answer": (Reply(200, body=b"x" * 60, cut_after=9, reset=True), True, "ended"),
    "closed without a word": (Reply(close=True), False, "clos"),
    "reset without a word": (Reply(reset=True), False, "reset"),
}
"""Reply, whether it took the spans all the same, and a word of the cause."""


@pytest.mark.parametrize("injected", SLOWNESS)
def test_a_try_has_an_end(injected: str, tmp_path: Path, verdict: Verdict) -> None:
    """Each try ends by its deadline and leaves no thread behind; what may have been taken comes again, with its ids."""
    reply, takes, _ = SLOWNESS[injected]
    with Faulty(*rounds(reply, reply, takes=takes)) as receiver:
        rig = Rig(tmp_path, otlp_endpoint=receiver.url, export_timeout=0.4, batch_delay=60_000)
        rig.spans(10)
        threads = None
        while receiver.faults:
            otel_llm.flush(0.5)
            threads = threads or ours()
        assert rig.settled()
        assert ours() == threads
        rig.tell(verdict, 17, injected, arrivals(receiver))


@needs_openapi
@pytest.mark.parametrize(
    "fault",
    [
        faults.hang(),
        faults.commit_then_hang(),
        faults.slow_body(0.1),
        faults.cut_body(),
        faults.reset_after_commit(),
        faults.reset_after_reading(),
    ],
    ids=lambda one: one.name,
)
def test_a_try_at_opik_has_an_end(fault: Fault, tmp_path: Path, verdict: Verdict) -> None:
    """The same before Opik: what was stored without an answer comes again under its id, and there is one row of it."""
    with FakeOpik() as opik:
        planned = opik.faults.add(EVERYTHING, fault, times=2)
        rig = Rig(tmp_path, backend="opik", opik_url=opik.url, opik_project="p", export_timeout=0.4)
        rig.spans(10)
        assert rig.settled()
        assert planned.hits == 2
        assert opik.duplicates() == []
        rig.tell(verdict, 17, f"Opik: {fault.name}", [*rig.ids] if _all(opik, rig) else [])


def ours() -> set[str]:
    """Names of the threads of otel_llm."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith(("otel-llm", "otel_llm"))} - {
        "otel_llm flush"
    }
