"""The end of a process: however it comes, what is queued is handed over first.

how the process ends                             what tells us
the program ends, `sys.exit`, an exception       `atexit`
SIGTERM, where the program left it alone         a handler of ours, which then lets the signal do what it does
SIGTERM as process 1                             the same handler, which delivers; as without us, the process lives on
SIGTERM under uvicorn, gunicorn's UvicornWorker  its server, when it has shut down (`otel_llm.control.servers`)
a child of `multiprocessing` or billiard         their `Finalize`: such children end by `os._exit`, without `atexit`
a child of Celery's prefork pool                 Celery's signal `worker_process_shutdown`: those skip `Finalize` too
`os._exit` in a forked child                     a function of ours in its place, which only puts spans onto the disk
`os._exit` elsewhere, SIGKILL                    nothing can: what is in the spool stays there for the next start

docs/decisions/0052-sigterm.md and 0054-os-exit.md say why. Other packages are looked up where the program has loaded
them.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

from otel_llm.clock import monotonic
from otel_llm.control.servers import watch_uvicorn, watch_uvicorn_to_come
from otel_llm.processors.chain import LAST_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

__all__ = ["EndOfProcess", "beside"]

_GRACE_SECONDS: Final = 0.5
"""On top of the time that handing over may take: for closing files."""
_LOOK_SECONDS: Final = 0.01
_LONGEST_LOOK_SECONDS: Final = 0.05
"""Where a look takes longer, this process was stopped, or others have the processors: nothing of ours could go on."""
_INIT: Final = 1
"""The process id that the first process of a container has."""
_WITH_FINALIZERS: Final = ("multiprocessing.util", "billiard.util")


class EndOfProcess:
    """Calls `hand_over` once the process is about to end, by any of the ways that leave a chance to.

    `hand_over` takes as long as it takes, except on SIGTERM, where the process does not wait for it longer than
    the `patience` of `watch_sigterm`. It may be called more than once and in any thread. `keep(seconds)` is the short
    form before `os._exit`: it delivers nothing, and only puts spans where they outlive the process. `deliver(seconds)`
    delivers what has ended, and recording goes on. `in_memory()` says whether spans would be lost now: so long patience
    does not end, up to ten seconds.
    """

    def __init__(
        self,
        hand_over: Callable[[], None],
        keep: Callable[[float], None],
        deliver: Callable[[float], None],
        in_memory: Callable[[], bool],
    ) -> None:
        self._hand_over = hand_over
        self._keep = keep
        self._deliver = deliver
        self._in_memory = in_memory
        self._watching = False
        self._patience = 0.0
        self._minds_sigterm = False
        self._os_exit_patience: float | None = None
        self._os_exit = os._exit
        self._begin()

    def _begin(self) -> None:
        self._terminating = False
        self._closing_in: set[int] = set()

    def watch(self, *, os_exit_patience: float | None = None) -> None:
        """Be called at the end of this process and of every child forked from it. A second call changes no more than:

        `os_exit_patience`, the seconds that `os._exit` waits in a child; None leaves it alone.
        """
        self._os_exit_patience = os_exit_patience
        if self._watching:
            return
        self._watching = True
        atexit.register(self._hand_over)
        self._watch_finalizers()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._in_child)

    def watch_sigterm(self, patience: float) -> bool:
        """Handle SIGTERM as well, if the program has left it at its default; say whether it is handled.

        On the signal `hand_over` gets at most `patience` seconds, then the signal takes its default action, so that
        the exit status is the same as without us. A second signal ends the process at once. Under uvicorn its own
        handler stays, and its server calls us.
        """
        self._patience = patience
        self._minds_sigterm = True
        if watch_uvicorn(self._hand_over):
            return True
        if threading.current_thread() is not threading.main_thread():
            return False  # only the main thread may set handlers
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            with suppress(ValueError):  # a sub-interpreter (mod_wsgi): it has a main thread, but gets no signals
                signal.signal(signal.SIGTERM, self._on_sigterm)
        return self._handles_sigterm()

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Around the end of the recording, from the first step on: a SIGTERM meanwhile takes effect after the block."""
        me = threading.get_ident()
        if me in self._closing_in:
            yield
            return
        self._closing_in.add(me)
        try:
            yield
        finally:
            self._closing_in.discard(me)
            if self._terminating and self._handles_sigterm():
                self._wait_for_others()
                self._die()

    def leave_sigterm(self) -> None:
        """Give SIGTERM back its default action, unless the program has a handler of its own by now."""
        self._minds_sigterm = False
        if self._handles_sigterm() and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _handles_sigterm(self) -> bool:
        return signal.getsignal(signal.SIGTERM) == self._on_sigterm

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        if not self._handles_sigterm():  # a later handler of the program calls the one it found: that one decides
            self._hand_over_in_time()
            return
        if self._terminating:  # somebody insists
            self._die()
            return
        if os.getpid() == _INIT:
            self._save()
            return
        self._terminating = True
        if threading.get_ident() in self._closing_in:  # the signal has interrupted the handing over: let it finish
            return
        self._hand_over_in_time()
        self._die()

    def _die(self) -> None:
        """As SIGTERM would have it without us. Where this is not the main thread, that one's handler sees to it."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)

    def _save(self) -> None:
        """Deliver what there is, beside, and go on recording: nothing else will end this process before SIGKILL.

        The kernel keeps a signal from the first process of a container unless that handles it, so without us SIGTERM
        would do nothing there, and the program goes on for as long as the platform lets it.
        """
        _beside(lambda: self._deliver(self._patience))

    def _hand_over_in_time(self) -> None:
        """In a thread of the lowest level, and waiting for it without any lock that the main thread may hold.

        The signal may have interrupted it anywhere, in `threading` too.
        """
        if threading.get_ident() in self._closing_in:  # this thread is at it, and goes on when the handler returns
            return
        handed_over = _beside(self._hand_over)
        # another thread may have begun to close before us
        self._wait(lambda: handed_over() and not self._closing_in, self._patience, _LOOK_SECONDS)

    def _wait_for_others(self) -> None:
        """Another thread may be handing over, where this one has nothing more to."""
        if threading.current_thread() is threading.main_thread():
            self._wait(lambda: not self._closing_in, self._patience, _LOOK_SECONDS)

    def _on_os_exit(self, status: int) -> NoReturn:
        """In place of `os._exit`, which may be called anywhere, under any lock: so beside, and for a while only."""
        try:
            patience = self._os_exit_patience or 0.0
            kept = _beside(lambda: self._keep(patience))
            self._wait(kept, patience, _LOOK_SECONDS / 10)
        finally:
            self._os_exit(status)

    def _wait(self, done: Callable[[], bool], patience: float, look: float) -> None:
        """Wait for `done()`, without any lock: `patience` seconds, and more as long as spans are in memory only.

        Only time that this process was given counts: on a busy machine, or after a SIGSTOP, what hands over had none.
        """
        waited = 0.0
        while not done() and waited < patience + (LAST_SECONDS if self._in_memory() else _GRACE_SECONDS):
            began = monotonic()
            time.sleep(look)
            waited += min(monotonic() - began, _LONGEST_LOOK_SECONDS)

    # --- children ------------------------------------------------------------------------------------------

    def _in_child(self) -> None:
        self._begin()
        self._watch_finalizers()
        self._watch_celery()
        self._watch_os_exit()
        if self._minds_sigterm:
            watch_uvicorn_to_come(self._hand_over)

    def _watch_os_exit(self) -> None:
        """Only in children: there it is what programs end by that must not run the parent's `atexit`."""
        if self._os_exit_patience is not None and os._exit != self._on_os_exit:
            self._os_exit = os._exit
            setattr(os, "_exit", self._on_os_exit)  # noqa: B010  (for mypy, a function cannot be assigned)

    def _watch_finalizers(self) -> None:
        """Children begin with an empty list of finalizers, so each is to put us on its own when it begins."""
        for name in _WITH_FINALIZERS:
            util = sys.modules.get(name)
            if util is not None:
                util.register_after_fork(self, _add_finalizer_of(util))
                _add_finalizer_of(util)(self)

    def _watch_celery(self) -> None:
        signals = sys.modules.get("celery.signals")
        if signals is not None:
            signals.worker_process_shutdown.connect(self._on_celery, weak=False, dispatch_uid="otel_llm")

    def _on_celery(self, **_: object) -> None:
        self._hand_over()

    def finish(self) -> None:
        """Hand over what is queued now."""
        self._hand_over()


def beside(work: Callable[[], object], timeout: float) -> bool:
    """Run `work` in another thread, for one that may have been interrupted under a lock; False if it takes longer."""
    end = monotonic() + timeout
    done = _beside(work)
    while not done():
        if monotonic() >= end:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _beside(work: Callable[[], object]) -> Callable[[], bool]:
    """Run `work` in a thread of the lowest level; what comes back says whether it is done."""
    done: list[bool] = []

    def run() -> None:
        try:
            work()
        finally:
            done.append(True)

    try:
        _thread.start_new_thread(run, ())
    except RuntimeError:  # no more threads, or the interpreter is ending and `atexit` is at it already
        done.append(True)
    return lambda: bool(done)


def _add_finalizer_of(util: Any) -> Callable[[EndOfProcess], None]:
    """What a child of `multiprocessing` (whose `util` this is) does when it begins; the last thing it does is ours."""

    def add(end: EndOfProcess) -> None:
        util.Finalize(None, end.finish, exitpriority=-100)

    return add
