"""Long work in a thread of ours, in turns with the threads of the program.

Python takes the interpreter from a thread that computes after 5 ms at the earliest, and a call of the program's asks
for it again and again: each lock, file and request gives it away. So a batch of spans that is worked on in one go holds
such a call up several times. A thread of ours for which nobody waits rests after each moment of work instead, for long
enough that whoever waits for the interpreter wakes up and has it.

    with unhurried(lambda: True):  # or as long as nobody waits
        for span in in_turns(spans):
            ...
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from otel_llm.clock import monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["MANY", "MOMENT_SECONDS", "REST_SECONDS", "in_turns", "unhurried"]

Item = TypeVar("Item")

MANY: Final = 64
"""Where so many items wait, or are a batch, there is no time for rests."""
REST_SECONDS: Final = 0.0005
"""A sleep of nothing lets nobody in: who slept is back before who waited is awake."""
MOMENT_SECONDS: Final = 0.0003


class _Turn:
    """The work of one thread, as long as it is `calm`."""

    def __init__(self, calm: Callable[[], bool]) -> None:
        self._calm = calm
        self._since = monotonic()

    def through(self, items: Iterable[Item]) -> Iterator[Item]:
        for item in items:
            if monotonic() - self._since >= MOMENT_SECONDS and self._calm():
                time.sleep(REST_SECONDS)
                self._since = monotonic()
            yield item


class _Here(threading.local):
    turn: _Turn | None = None


_here: Final = _Here()


@contextmanager
def unhurried(calm: Callable[[], bool]) -> Iterator[None]:
    """Within it, this thread rests between items of its work as long as `calm()`, which is asked before each rest."""
    before = _here.turn
    _here.turn = _Turn(calm)
    try:
        yield
    finally:
        _here.turn = before


def in_turns(items: Iterable[Item]) -> Iterable[Item]:
    """`items`, with rests between them where this thread is unhurried."""
    turn = _here.turn
    return items if turn is None else turn.through(items)
