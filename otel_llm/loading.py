"""What is loaded when it is first needed: no fork comes in between, and a failure is said.

    with loading("what encodes spans"):
        from otel_llm.delivery import codec

Python locks each module while it is loaded. A child forked in that moment has the lock and no thread that would ever
release it, and would wait for ever where it needs the same module. So a fork waits for what is being loaded, for a
second at most, and what would be loaded waits for a fork under way. Nothing is held while a module is loaded: an import
of ours and one of the program's cannot wait for each other here.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from otel_llm.faults import note_fault

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["loading", "unforked"]

_logger = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 1.0
"""A fork waits no longer than this."""


class _Gate:
    """Knows which threads are loading something."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """In a child: what the parent's threads were loading is nobody's here."""
        self._changed = threading.Condition()
        self._busy: Counter[int] = Counter()
        self._shut = False

    def enter(self) -> None:
        with self._changed:
            self._busy[threading.get_ident()] += 1

    def leave(self) -> None:
        with self._changed:
            me = threading.get_ident()
            self._busy[me] -= 1
            if self._busy[me] <= 0:
                del self._busy[me]
                self._changed.notify_all()

    def shut(self) -> None:
        """Before a fork."""
        self._shut = self._changed.acquire(timeout=_PATIENCE_SECONDS)
        if self._shut:
            self._changed.wait_for(self._quiet, _PATIENCE_SECONDS)

    def open(self) -> None:
        """After it, in the parent."""
        if self._shut:
            self._shut = False
            self._changed.release()

    def _quiet(self) -> bool:
        return not self._busy.keys() - {threading.get_ident()}


_gate: Final = _Gate()
_said: Final[set[str]] = set()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_gate.shut, after_in_parent=_gate.open, after_in_child=_gate.renew)


@contextmanager
def unforked() -> Iterator[None]:
    """Around an import whose failure is the caller's to hear."""
    _gate.enter()
    try:
        yield
    finally:
        _gate.leave()


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Around an import. One that fails is counted as a fault and said once, and raised."""
    with unforked():
        try:
            yield
        except Exception as error:
            note_fault(f"loading {what}", error)
            if what not in _said:
                _said.add(what)
                _say(what, error)
            raise


def _say(what: str, error: Exception) -> None:
    _logger.error(
        "otel_llm cannot load %s (%s: %.300s). Most likely a package that it needs is missing, or its version does not "
        "fit those of the others: `python -m pip check` names it. Until that is mended and the program started again, "
        "nothing that takes it is recorded or delivered.",
        what,
        type(error).__name__,
        error,
    )
