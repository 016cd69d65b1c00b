"""Threads of ours that nobody waits for leave the interpreter to the program's after each moment of work."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from otel_llm import turns
from otel_llm.turns import MOMENT_SECONDS, REST_SECONDS, in_turns, unhurried

if TYPE_CHECKING:
    from collections.abc import Iterable


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The rests that are taken from now on, in seconds."""
    taken: list[float] = []
    monkeypatch.setattr(turns, "time", SimpleNamespace(sleep=taken.append))
    return taken


def work_on(items: Iterable[int], seconds: float = 2 * MOMENT_SECONDS) -> list[int]:
    """Compute for so long on each item."""
    done = []
    for item in items:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        done.append(item)
    return done


def test_who_is_unhurried_rests_after_each_moment_of_work(rests: list[float]) -> None:
    """Three items that take longer than a moment each: two rests between them, and all items, in order."""
    with unhurried(lambda: True):
        assert work_on(in_turns([1, 2, 3])) == [1, 2, 3]
    assert rests in ([REST_SECONDS] * 2, [REST_SECONDS] * 3)  # a third before the first, where the machine is busy


def test_short_work_is_done_in_one_go(rests: list[float]) -> None:
    """A rest costs something too: items that take no time are not torn apart."""
    with unhurried(lambda: True):
        assert work_on(in_turns(range(5)), 0.0) == list(range(5))
    assert len(rests) < 5  # a busy machine may make a moment of some


def test_nobody_rests_who_is_waited_for(rests: list[float]) -> None:
    """From the moment on in which it is no longer calm there are no rests, in the middle of the work too."""
    calm = True
    with unhurried(lambda: calm):
        for item in in_turns([1, 2, 3, 4]):
            work_on([item])
            if item == 2:
                assert rests
                calm = False
                rests.clear()
    assert not rests


def test_other_threads_and_other_times_have_no_turns(rests: list[float]) -> None:
    """What a thread says of itself holds for it alone, and only within the block; inner blocks give back the outer."""
    items = [1, 2, 3]
    seen: list[object] = []
    with unhurried(lambda: False):
        with unhurried(lambda: True):
            other = threading.Thread(target=lambda: seen.append(in_turns(items)))
            other.start()
            other.join()
        work_on(in_turns(items))
    assert seen == [items]
    assert in_turns(items) is items
    assert rests == []
