"""What a call leaves behind is worked on later, in order, by one thread, and never lost or piled up."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from otel_llm.processors import hand_over as hand_over_module
from otel_llm.processors.hand_over import HandOver
from otel_llm.turns import MANY, MOMENT_SECONDS, REST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable


def eventually(true: Callable[[], bool], timeout: float = 10.0) -> bool:
    """Whether it becomes true in time."""
    end = time.monotonic() + timeout
    while not true() and time.monotonic() < end:
        time.sleep(0.002)
    return true()


class Work:
    """Notes what was worked on, and where; waits at a gate where there is one."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, item: Any) -> None:
        self.gate.wait(10)
        self.done.append(item)
        self.threads.add(threading.get_ident())


def put_at_once(hand_over: HandOver, items: list[Any]) -> None:
    """Put them so that the worker sees all of them together, however slow this thread is."""
    hand_over._items.extend((item, 0) for item in items[:-1])
    hand_over.put(items[-1])


@pytest.mark.parametrize(("count", "rests"), [(4, True), (3 * MANY, False)])
def test_the_worker_leaves_the_interpreter_to_the_program_where_few_wait(
    count: int, rests: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between few items it rests for long enough that somebody else wakes up; where many wait it only says a word."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)

    def work(_: int) -> None:
        end = time.perf_counter() + MOMENT_SECONDS
        while time.perf_counter() < end:
            pass

    monkeypatch.setattr(hand_over_module, "time", SimpleNamespace(sleep=sleep))
    hand_over = HandOver(work, delay=0.001)
    put_at_once(hand_over, list(range(count)))
    assert eventually(lambda: not hand_over.waiting)
    assert eventually(lambda: bool(slept))
    assert slept[0] == (REST_SECONDS if rests else 0.0)


def test_the_worker_takes_everything_in_order() -> None:
    """What four threads put is worked on by a thread of its own, each one's in the order in which it was put."""
    work = Work()
    hand_over = HandOver(work, delay=0.001)

    def put(name: int) -> None:
        for number in range(200):
            hand_over.put((name, number))

    threads = [threading.Thread(target=put, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert eventually(lambda: len(work.done) == 800)
    assert threading.get_ident() not in work.threads
    assert len(work.threads) == 1
    for name in range(4):
        assert [number for its, number in work.done if its == name] == list(range(200))


def test_a_single_item_does_not_wait_for_others() -> None:
    """One call after a long silence is worked on within the delay, and so is the next one."""
    work = Work()
    hand_over = HandOver(work, delay=0.01)
    for number in range(3):
        hand_over.put(number)
        assert eventually(lambda: len(work.done) == number + 1)  # noqa: B023  (asked at once)


def test_settling_works_in_the_thread_that_asks() -> None:
    """Whoever needs to know does the work itself, at once, whatever the delay."""
    work = Work()
    hand_over = HandOver(work, delay=60)
    put_at_once(hand_over, list(range(20)))  # few would be worked on at once
    assert hand_over.settle(5)
    assert work.done == list(range(20))
    assert work.threads == {threading.get_ident()}
    assert hand_over.waiting == 0


def test_settling_has_an_end() -> None:
    """While another thread is at an item that takes long, settling gives up in time and says so."""
    work = Work()
    work.gate.clear()
    hand_over = HandOver(work, delay=0)
    hand_over.put(1)
    assert eventually(lambda: hand_over.waiting == 0)
    began = time.monotonic()
    assert not hand_over.settle(0.05)
    assert time.monotonic() - began < 5
    work.gate.set()
    assert hand_over.settle(5)


@pytest.mark.parametrize(("count", "size"), [(2_000, 0), (200, 1_000)])
def test_memory_is_bounded_and_nothing_is_lost(count: int, size: int) -> None:
    """Faster than the worker, whoever puts something helps: what waits stays within items and bytes, all is done."""
    work = Work()
    hand_over = HandOver(work, delay=60, most_items=50, most_bytes=10_000)
    most = 0
    for number in range(count):
        hand_over.put(number, size)
        most = max(most, hand_over.waiting)
    assert most <= (11 if size else 51)
    assert hand_over.settle(5)
    assert work.done == list(range(count))


class Room:
    """A place for what was worked on, or none; and what was lost for want of one."""

    def __init__(self) -> None:
        self.free = True
        self.asked = threading.Semaphore(0)
        self.lost: list[tuple[Any, str]] = []

    def __call__(self) -> bool:
        self.asked.release()
        return self.free

    def lose(self, item: Any, reason: str) -> None:
        self.lost.append((item, reason))


def test_the_worker_waits_for_a_place() -> None:
    """While there is none, what is put waits, in order, and whoever puts it goes on; then all of it is worked on."""
    work, room = Work(), Room()
    room.free = False
    hand_over = HandOver(work, has_room=room, lost=room.lose, delay=0, most_items=100)
    for number in range(90):  # beyond the quarter from which on one helps, where there is a place
        hand_over.put(number)
    for _ in range(45):
        assert room.asked.acquire(timeout=10), "the worker has given up"
    assert work.done == []
    room.free = True
    assert eventually(lambda: len(work.done) == 90)
    assert work.done == list(range(90))
    assert work.threads == {hand_over._thread.ident if hand_over._thread else None}
    assert room.lost == []


@pytest.mark.parametrize(("size", "kept"), [(0, 50), (1_000, 10), (60_000, 1)])
def test_what_more_than_fills_it_is_given_up_and_counted(size: int, kept: int) -> None:
    """Beyond its bounds, in items or bytes, the newest are lost with their reason; one alone is always taken."""
    work, room = Work(), Room()
    room.free = False
    hand_over = HandOver(work, has_room=room, lost=room.lose, delay=60, most_items=50, most_bytes=10_000)
    for number in range(200):
        hand_over.put(number, size)
    assert hand_over.waiting == kept
    assert room.lost == [(number, "queue_full") for number in range(kept, 200)]
    room.free = True
    assert hand_over.settle(5)
    assert work.done == list(range(kept))
    hand_over.put("later", size)
    assert hand_over.settle(5)
    assert work.done[-1] == "later"


def test_many_who_put_at_once_keep_the_books_right() -> None:
    """After eight threads have put sizes of all kinds, nothing is thought to wait: as much is taken as at first."""
    work, room = Work(), Room()
    hand_over = HandOver(work, has_room=room, lost=room.lose, delay=0, most_items=10_000, most_bytes=1_000_000)

    def put() -> None:
        for number in range(1_000):
            hand_over.put(number, number % 7)

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hand_over.settle(10)
    assert len(work.done) + len(room.lost) == 8_000
    assert hand_over._bytes == 0


def test_who_settles_waits_for_a_place_if_told_to() -> None:
    """Without being told to it leaves that to the worker at once; else it waits, for its time and no longer."""
    work, room = Work(), Room()
    room.free = False
    hand_over = HandOver(work, has_room=room, delay=60)
    hand_over.put(1)
    assert not hand_over.settle(3600)
    assert not hand_over.settle(0.01, for_room=True)
    assert work.done == []
    threading.Timer(0.05, lambda: setattr(room, "free", True)).start()
    assert hand_over.settle(30, for_room=True)
    assert work.done == [1]


def test_who_settles_does_not_wait_for_the_worker_to_be_through() -> None:
    """The worker, in the middle of a lot, lets whoever asks have the work."""

    def work(_: int) -> None:
        time.sleep(0.001)
        threads.add(threading.get_ident())

    threads: set[int] = set()
    hand_over = HandOver(work, delay=0)
    for number in range(3_000):
        hand_over.put(number)
    assert eventually(lambda: bool(threads))
    assert hand_over.settle(60)
    assert threading.get_ident() in threads


def test_what_the_end_leaves_no_time_for_is_counted() -> None:
    """Where no place is to be had, stopping gives up in time, and says what was lost."""
    work, room = Work(), Room()
    room.free = False
    hand_over = HandOver(work, has_room=room, lost=room.lose, delay=60)
    for number in range(3):
        hand_over.put(number)
    assert not hand_over.stop(0.05)
    assert room.lost == [(number, "shutdown") for number in range(3)]
    assert hand_over.waiting == 0
    assert work.done == []


def test_without_a_thread_whoever_puts_does_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system gives no more threads nothing is left lying."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    work = Work()
    hand_over = HandOver(work)
    for number in range(3):
        hand_over.put(number)
    assert work.done == [0, 1, 2]


def test_few_do_not_wait_for_others() -> None:
    """What comes alone is worked on and passed on at once; where many come, they wait for each other."""
    work = Work()
    passed: list[tuple[int, bool]] = []
    hand_over = HandOver(work, pass_on=lambda now: passed.append((len(work.done), now)), delay=60)
    hand_over.put("alone")
    assert eventually(lambda: passed == [(1, True)])
    put_at_once(hand_over, list(range(30)))
    assert not eventually(lambda: len(work.done) > 1, 0.3)
    for number in range(30, 64):
        hand_over.put(number)
    assert eventually(lambda: work.done == ["alone", *range(64)])
    assert eventually(lambda: passed == [(1, True), (65, False)]), "of many, the queue's own clock is enough"


def test_one_after_a_rest_does_not_wait_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that had nothing to do for a while takes the next one at once; what follows on that is gathered."""
    monkeypatch.setattr("otel_llm.processors.hand_over._QUICK_SECONDS", 1.0)
    work = Work()
    hand_over = HandOver(work, delay=60)
    for number in range(2):
        hand_over.put(f"first {number}")
        assert eventually(lambda: len(work.done) == 2 * number + 1, 0.9)  # noqa: B023  (read here and now)
        hand_over.put(f"second {number}")
        assert not eventually(lambda: len(work.done) > 2 * number + 1, 0.3)  # noqa: B023
        assert eventually(lambda: len(work.done) == 2 * number + 2)  # noqa: B023
        time.sleep(1.1)


def test_after_the_stop_work_goes_on_at_once() -> None:
    """What ends after the end is worked on by who ends it, and the worker is gone."""
    work = Work()
    hand_over = HandOver(work, delay=60)
    hand_over.put(1)
    assert hand_over.stop(5)
    assert work.done == [1]
    hand_over.put(2)
    assert work.done == [1, 2]
    assert hand_over._thread is not None
    hand_over._thread.join(10)
    assert not hand_over._thread.is_alive()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_begins_with_nothing() -> None:
    """A forked child has its own worker, and leaves what the parent has waiting to the parent."""
    work = Work()
    hand_over = HandOver(work, delay=60)
    put_at_once(hand_over, ["parent's"] * 20)  # few would be worked on before the fork
    child = os.fork()
    if child == 0:
        code = 1
        try:
            assert hand_over.waiting == 0
            hand_over.put("child's")
            assert hand_over.settle(5)
            code = 0 if work.done == ["child's"] else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert hand_over.settle(5)
    assert work.done == ["parent's"] * 20
