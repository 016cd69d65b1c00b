"""Our own faults: kept away from the program we watch, counted, and said once each.

Whatever goes wrong inside otel_llm while somebody's LLM call runs ends here. The call goes on as if we
were not there; the fault is counted by place and shows in `otel_llm.status()`.
"""

from __future__ import annotations

import logging
import signal
import threading
import traceback
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType

__all__ = ["fault_counts", "guarded", "let_through", "note_fault", "reset_faults"]

_logger = logging.getLogger(__name__)
_lock = threading.RLock()
_counts: Counter[str] = Counter()

Result = TypeVar("Result")
Default = TypeVar("Default")


def guarded(
    place: str, work: Callable[..., Result], *args: object, default: Default | None = None
) -> Result | Default | None:
    """Run `work(*args)`; if it raises, count the fault under `place` and return `default`.

    Lets `KeyboardInterrupt`, `SystemExit` and cancellation through: they are the program's, not ours. So is whatever a
    signal handler of the program raises.
    """
    try:
        return work(*args)
    except Exception as error:  # noqa: BLE001  (the one place where everything of ours is caught)
        note_fault(place, error)
        return default


def note_fault(place: str, error: BaseException) -> None:
    """Count a fault of ours under `place`; the first of each place is logged, without values or traceback.

    The message of `error` is left out on purpose: it may quote a prompt or a key. An `error` that a signal handler of
    the program has raised is no fault of ours, wherever it struck: it is raised again.
    """
    let_through(error)
    with _lock:
        _counts[place] += 1
        first = _counts[place] == 1
    if first:
        _logger.warning(
            "otel_llm could not finish its own work in %s (%s). The program's call is not affected; what this "
            "would have recorded is missing or partial. Counted in otel_llm.status().",
            place,
            type(error).__name__,
        )
        _logger.debug("first fault in %s:\n%s", place, "".join(traceback.format_tb(error.__traceback__)))


def let_through(error: BaseException) -> None:
    """Raise `error` again if a signal handler of the program has raised it; for whoever takes errors for an answer.

    A time limit (`SIGALRM`, Celery's soft one) strikes anywhere.
    """
    if threading.get_ident() != threading.main_thread().ident:  # handlers run in the main thread alone
        return
    handlers = set(_handlers())
    if any(frame.f_code in handlers for frame, _ in traceback.walk_tb(error.__traceback__)):
        raise error


def _handlers() -> Iterator[CodeType]:
    """The code of every signal handler that is set now and written in Python."""
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        while isinstance(handler, partial):
            handler = handler.func
        if callable(handler):
            handler = getattr(handler, "__func__", handler)
            code = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
            if code is not None:
                yield code


def fault_counts() -> dict[str, int]:
    """Number of our own faults since the process began, by place."""
    with _lock:
        return dict(_counts)


def reset_faults() -> None:
    """Forget all counts; for tests and for a process that was just forked."""
    global _lock  # noqa: PLW0603  (a lock held by another thread of the parent would stay locked for ever)
    _lock = threading.RLock()
    _counts.clear()
