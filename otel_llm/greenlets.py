"""Under gevent, what runs in place of a thread is a greenlet, and a fork copies greenlets, unlike threads."""

from __future__ import annotations

import os
import time

__all__ = ["rest_in_copy"]

_LONG = 3600.0


def rest_in_copy(process: int) -> None:
    """Return in `process`, where the caller began; in a fork of it, wait for ever: the work is the parent's.

    Nothing but the end of the process ends the wait. To return would do no good: what Python knows of the thread
    went with the fork, and it would print a traceback.
    """
    while os.getpid() != process:
        time.sleep(_LONG)
