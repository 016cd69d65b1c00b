"""The state of a backend: concluded from counts, remembered from look to look, said once per change."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from otel_llm.control.channels import ChannelReport
from otel_llm.control.health import LAG_SECONDS, LOSS_SECONDS, HealthMonitor, judge
from otel_llm.delivery.spool_types import Failure, Parked
from otel_llm.ledger import LedgerReport

BEGUN = 1_000_000.0
NOW = BEGUN + 500.0


def report(*, created: int = 10, delivered: int = 10, last: float | None = NOW - 1, **rest: Any) -> ChannelReport:
    """A channel's report; healthy unless told otherwise."""
    ledger = LedgerReport(
        "opik", created, delivered, rest.pop("rejected", {}), rest.pop("dropped", {}), last_delivery=last
    )
    return ChannelReport(ledger=ledger, durable=True, **rest)


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = BEGUN

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("facts", "state", "words"),
    [
        ({}, "ok", None),
        ({"created": 0, "delivered": 0, "last": None}, "starting", None),
        ({"delivered": 0, "last": None, "oldest_waiting": NOW - 2}, "starting", None),
        ({"last": BEGUN - 60}, "starting", None),
        ({"failure": "The key is wrong. Set OPIK_API_KEY.", "failed_at": NOW - 3}, "failing", "Set OPIK_API_KEY"),
        ({"failure": "It is full."}, "failing", "It is full."),
        ({"failure": "Refused.", "failed_at": BEGUN - 60, "last": None}, "starting", "Refused."),
        ({"memory_only": "The disk is full."}, "degraded", "The disk is full."),
        ({"delivered": 5, "oldest_waiting": NOW - LAG_SECONDS - 1}, "degraded", "5 spans wait"),
        ({"delivered": 5, "oldest_waiting": NOW - LAG_SECONDS + 1}, "ok", None),
        ({"delivered": 5, "oldest_waiting": BEGUN - 86_400}, "degraded", "5 spans wait"),
    ],
)
def test_each_state_has_its_facts(facts: dict[str, Any], state: str, words: str | None) -> None:
    """The rule names the right state for each situation, and a cause wherever one is needed."""
    verdict = judge(report(**facts), now=NOW, begun=BEGUN)
    assert verdict.state == state
    assert (words in (verdict.cause or "")) if words else verdict.cause is None


def test_what_waits_from_an_earlier_run_lags_only_after_a_while() -> None:
    """A program that has just begun is not blamed for what an earlier one left."""
    old = report(delivered=5, oldest_waiting=BEGUN - 86_400, last=None)
    assert judge(old, now=BEGUN + 1, begun=BEGUN).state == "starting"


def test_all_causes_of_a_degraded_backend_are_named() -> None:
    """Troubles that hold together are told together."""
    verdict = judge(
        report(memory_only="The disk is full.", oldest_waiting=NOW - 999), now=NOW, begun=BEGUN, losses="3 lost."
    )
    assert "The disk is full." in (verdict.cause or "")
    assert "wait" in (verdict.cause or "")
    assert "3 lost." in (verdict.cause or "")


def test_a_clock_that_is_set_back_hides_no_failure() -> None:
    """What fails after the clock was set back counts as this program's, and a loss is forgiven in time."""
    clock = Clock()
    monitor = HealthMonitor(clock)
    monitor.observe([report(last=None)])
    [status] = monitor.observe([report(last=None, dropped={"queue_full": 1})])
    assert status.state == "degraded"
    clock.now -= 3600
    [status] = monitor.observe([report(last=None, failure="Refused.", failed_at=clock.now, dropped={"queue_full": 1})])
    assert status.state == "failing"
    clock.now += LOSS_SECONDS + 1
    [status] = monitor.observe([report(last=clock.now, dropped={"queue_full": 1})])
    assert status.state == "ok"


def test_a_loss_degrades_for_a_while_and_then_is_forgiven() -> None:
    """New losses make a backend degraded, with count, reason and remedy; without further ones it is ok again."""
    clock = Clock()
    monitor = HealthMonitor(clock)
    clock.now += 1
    monitor.observe([report(last=clock.now)])
    lost = report(created=14, last=clock.now, dropped={"queue_full": 3}, rejected={"too_large": 1})
    (status,) = monitor.observe([lost])
    assert status.state == "degraded"
    assert "3 dropped (queue_full)" in (status.cause or "")
    assert "1 rejected (too_large)" in (status.cause or "")
    assert "batch_queue_size" in (status.cause or "")
    clock.now += LOSS_SECONDS - 1
    assert monitor.observe([lost])[0].state == "degraded"
    clock.now += 2
    assert monitor.observe([lost])[0].state == "ok"


def test_losses_of_earlier_runs_are_no_news() -> None:
    """What the spool had counted before the program began does not degrade it."""
    clock = Clock()
    monitor = HealthMonitor(clock)
    old = report(created=20, last=BEGUN - 60, dropped={"expired": 10})
    assert monitor.observe([old])[0].state == "starting"
    assert monitor.observe([report(created=20, last=BEGUN, dropped={"expired": 10})])[0].state == "ok"


def test_since_is_when_the_state_began() -> None:
    """A state keeps the moment of its beginning; a failing one takes it from the first failed attempt."""
    clock = Clock()
    monitor = HealthMonitor(clock)
    assert monitor.observe([report(last=None)])[0].since == BEGUN
    clock.now += 10
    assert monitor.observe([report(last=clock.now)])[0].since == BEGUN + 10
    clock.now += 10
    assert monitor.observe([report(last=BEGUN + 10)])[0].since == BEGUN + 10
    failing = report(last=BEGUN + 10, failure="Down.", failed_at=BEGUN + 25, failing_since=BEGUN + 22)
    clock.now += 10
    assert monitor.observe([failing])[0].since == BEGUN + 22


def test_a_change_of_state_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """However often one looks, a change is said once, in one line: worse as a warning, better as information."""
    caplog.set_level(logging.INFO, "otel_llm")
    monitor = HealthMonitor(Clock())
    down = report(last=None, failure="Refused.\nStart   it.", failed_at=NOW)
    for seen in (report(last=None), down, down, down, report(last=NOW), report(last=NOW)):
        monitor.observe([seen])
    monitor.stopped([report(last=NOW)])
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Backend opik is failing (was starting): Refused. Start it."),
        ("INFO", "Backend opik is ok (was failing)."),
        ("INFO", "Backend opik is stopped (was ok)."),
    ]


def test_a_look_that_comes_late_does_not_wake_the_dead(caplog: pytest.LogCaptureFixture) -> None:
    """A look that began before the end and is done after it says nothing more."""
    caplog.set_level(logging.INFO, "otel_llm")
    monitor = HealthMonitor(Clock())
    monitor.stopped([report(last=NOW)])
    monitor.observe([report(last=NOW)])
    assert [record.getMessage() for record in caplog.records] == [
        "Backend opik is ok (was starting).",
        "Backend opik is stopped (was ok).",
    ]


def test_who_ends_before_the_first_look_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A program that ends within seconds reads at its end what is wrong with a backend, as a warning."""
    caplog.set_level(logging.WARNING, "otel_llm")
    HealthMonitor(Clock()).stopped([report(last=None, failure="Refused. Start it.", failed_at=NOW)])
    assert [record.getMessage() for record in caplog.records] == [
        "Backend opik is failing (was starting): Refused. Start it."
    ]


def test_a_stopped_backend_says_what_stays() -> None:
    """After the end, what was not delivered is named."""
    (status,) = HealthMonitor(Clock()).stopped([report(created=12, delivered=10)])
    assert (status.state, status.waiting) == ("stopped", 2)
    assert "otel-llm ship" in (status.cause or "")


def _closed(workspace: str, since: float, waiting: int = 5) -> Parked:
    why = f"The key may not write to workspace {workspace!r}."
    return Parked(workspace, waiting, since, Failure(why, "forbidden", needs_action=True, at=since + 5, since=since))


def test_a_closed_workspace_is_a_cause_of_its_own() -> None:
    """While others take spans the backend is degraded, names it, and says of no other span that it waits."""
    before = report(created=15, oldest_waiting=None, parked=(_closed("globex", NOW - 500),))
    verdict = judge(before, now=NOW)
    assert verdict.state == "degraded"
    assert "Workspace 'globex' takes nothing since" in str(verdict.cause)
    assert "5 spans wait for it: The key may not write" in str(verdict.cause)
    assert "the backend is slow" not in str(verdict.cause)


def test_a_backend_whose_workspaces_are_all_closed_is_failing() -> None:
    """Nothing was taken since the last one was closed: that is the key, not a tenant."""
    both = (_closed("globex", NOW - 400), _closed("main", NOW - 200))
    facts: dict[str, Any] = {"parked": both, "workspace": "main"}
    assert judge(report(last=NOW - 300, **facts), now=NOW).state == "failing"
    assert judge(report(last=NOW - 100, **facts), now=NOW).state == "degraded", "somebody took something since"


def test_a_closed_workspace_of_a_tenant_does_not_fail_the_program() -> None:
    """Though nobody else had anything to send since: a program that gets no traffic any more would stay so."""
    one = _closed("globex", NOW - 200)
    assert judge(report(last=NOW - 300, parked=(one,), workspace="main"), now=NOW).state == "degraded"
    assert one.failure is not None
    refused = one._replace(failure=one.failure._replace(reason="unauthorized"))
    assert judge(report(last=NOW - 300, parked=(refused,), workspace="main"), now=NOW).state == "failing"


def test_what_was_closed_before_the_program_began_proves_nothing() -> None:
    """A key may have been changed between two starts."""
    found = report(last=NOW - 3, parked=(_closed("globex", NOW - 100, waiting=1),))
    assert judge(found, now=NOW, begun=NOW - 10).state == "ok"


def test_of_many_closed_workspaces_a_few_are_named() -> None:
    """The cause stays short enough to be read."""
    parked = tuple(_closed(f"w{number}", NOW - 500) for number in range(29))
    cause = str(judge(report(parked=parked), now=NOW).cause)
    assert "'w2'" in cause
    assert "'w3'" not in cause
    assert "So it is with 26 more, for which 130 spans wait." in cause
