"""Signals that end a command which goes on until somebody ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["sigterm_like_ctrl_c"]


@contextlib.contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """End in order when told to by the system: SIGTERM raises KeyboardInterrupt; only a main thread may say so."""

    def stop(_: int, __: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
