"""What every backend promises, whatever it sends to: one suite, each test run for each of them."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from otel_llm.contracts import Backend, Batch, CheckStatus, Delivered, Rejected, Retry
from tests.contract.targets import TARGETS, Target
from tests.fakes.spans import make_batch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMEOUT = 20.0


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Target]:
    """Each backend in turn, closed at the end."""
    with TARGETS[request.param](tmp_path) as opened:
        yield opened
        opened.backend.close()


def _arrived(target: Target, *names: str) -> bool:
    return target.names is None or set(names) <= target.names()


def test_is_a_backend_with_a_name(target: Target) -> None:
    """Each implements the protocol and names itself."""
    assert isinstance(target.backend, Backend)
    assert target.backend.name


def test_batch_is_delivered_and_counted(target: Target) -> None:
    """Every span of a batch is accepted, and arrives."""
    outcome = target.backend.send(make_batch(3, name="hello"), timeout=TIMEOUT)
    assert outcome == Delivered(3)
    assert _arrived(target, "hello")


def test_same_batch_again_is_harmless(target: Target) -> None:
    """A resend after a lost answer is delivered like the first time."""
    batch = make_batch(2)
    assert target.backend.send(batch, timeout=TIMEOUT) == Delivered(2)
    assert target.backend.send(batch, timeout=TIMEOUT) == Delivered(2)


def test_ill_formed_payload_is_rejected_for_good(target: Target) -> None:
    """Bytes that are not OTLP are not retried for ever, and what comes after them is taken."""
    outcome = target.backend.send(Batch(b"\xff\xff\xffnot otlp", 1), timeout=TIMEOUT)
    if target.judges:
        assert isinstance(outcome, Rejected)
        assert outcome.why
    assert target.backend.send(make_batch(name="after", first=2), timeout=TIMEOUT) == Delivered(1)
    assert _arrived(target, "after")


def test_huge_batch_is_delivered(target: Target) -> None:
    """Ten megabytes in three hundred spans go through, within the same rules."""
    batch = make_batch(300, attributes={"text": "word " * 7_000})
    assert len(batch.payload) > 10_000_000
    assert target.backend.send(batch, timeout=60.0) == Delivered(300)


@pytest.mark.parametrize("name", ["日本語 🎉 ünï", 'tab\tquote"back\\slash', "nul\x00esc\x1b[31m", "x" * 10_000])
def test_any_text_arrives_as_it_is(target: Target, name: str) -> None:
    """Unicode, quotes and control characters survive the way."""
    batch = make_batch(name=name, attributes={"key " + name[:50]: name})
    assert target.backend.send(batch, timeout=TIMEOUT) == Delivered(1)
    if target.backend.name not in {"opik", "local"}:  # what these make of NUL and of long names is their own tests'
        assert _arrived(target, name)


def test_batch_without_spans_is_delivered(target: Target) -> None:
    """Nothing to send is not an error."""
    assert target.backend.send(Batch(b"", 0), timeout=TIMEOUT) == Delivered(0)


def test_failing_place_is_retried_with_a_sentence(target: Target) -> None:
    """When the place is gone the batch is kept, and the reason says what to do; nothing is raised."""
    if target.break_down is None:
        pytest.skip("cannot fail")
    target.break_down()
    outcome = target.backend.send(make_batch(), timeout=TIMEOUT)
    assert isinstance(outcome, Retry)
    assert outcome.reason
    assert len(outcome.why.split()) > 8
    assert "Traceback" not in outcome.why


def test_timeout_is_kept(target: Target) -> None:
    """A server that takes the request and never answers holds us no longer than asked."""
    if target.hang is None:
        pytest.skip("no server")
    target.hang()
    begun = time.monotonic()
    outcome = target.backend.send(make_batch(), timeout=0.5)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "timeout"
    assert time.monotonic() - begun < 10, "far from the 0.5 s asked for, even on a busy machine"


def test_no_time_at_all_is_no_crash(target: Target) -> None:
    """A timeout of zero gives an outcome like any other."""
    outcome = target.backend.send(make_batch(), timeout=0.0)
    assert isinstance(outcome, (Delivered, Retry))


def test_check_finds_all_well_and_sends_nothing(target: Target) -> None:
    """A reachable place gives findings without a failure, and no span appears in it."""
    findings = target.backend.check()
    assert findings
    assert all(finding.evidence for finding in findings)
    assert not [finding for finding in findings if finding.status is CheckStatus.FAILED]
    assert target.backend.send(make_batch(name="only"), timeout=TIMEOUT) == Delivered(1)
    assert target.names is None or target.names() == {"only"}


def test_check_of_a_failing_place_says_what_to_do(target: Target) -> None:
    """A place that is gone gives a failed finding with a remedy; nothing is raised."""
    if target.break_down is None:
        pytest.skip("cannot fail")
    target.break_down()
    failed = [finding for finding in target.backend.check() if finding.status is CheckStatus.FAILED]
    assert failed
    assert all(finding.evidence and finding.remedy for finding in failed)


def test_close_may_be_repeated(target: Target) -> None:
    """Closing before, after and again is harmless."""
    target.backend.close()
    target.backend.send(make_batch(), timeout=TIMEOUT)
    target.backend.close()
    target.backend.close()


@contextmanager
def _child() -> Iterator[bool]:
    """Fork; True in the child, which ends with the block; the parent waits and sees it succeed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            yield True
            code = 0
        finally:
            os._exit(code)
    yield False
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_usable_after_fork_on_both_sides(target: Target) -> None:
    """A child that inherited an open backend delivers by itself, and the parent goes on as if nothing were."""
    assert target.backend.send(make_batch(name="before"), timeout=TIMEOUT) == Delivered(1)
    with _child() as in_child:
        mine = make_batch(name="child", first=2) if in_child else make_batch(name="parent", first=3)
        assert target.backend.send(mine, timeout=TIMEOUT) == Delivered(1)
        if in_child:
            target.backend.close()
    assert target.backend.send(make_batch(name="after", first=4), timeout=TIMEOUT) == Delivered(1)
    expected = {"before", "parent", "after"}
    if target.backend.name != "console":  # the child has a stream of its own
        expected.add("child")
    assert _arrived(target, *expected)
