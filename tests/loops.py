"""The end of event loops under litellm 1.79, which otherwise can hang for ever, without us too.

On Python before 3.12 `asyncio.wait_for` loses a cancellation that comes while what it waits for is finishing. The task
that runs litellm's callbacks lives in a loop around it, and litellm before 1.80 then waits for its next task, while
whoever closes the loop waits for the worker. A second cancellation ends it.
"""

from __future__ import annotations

import asyncio
import asyncio.runners
import importlib
import sys
from importlib.metadata import version

__all__ = ["end_loops_of_old_litellm"]


def end_loops_of_old_litellm() -> None:
    """Have event loops cancel their tasks until they end, where litellm may lose the first cancellation."""
    if sys.version_info >= (3, 12) or tuple(map(int, version("litellm").split(".")[:2])) >= (1, 80):
        return
    asyncio.runners._cancel_all_tasks = _cancel_until_done  # type: ignore[attr-defined]
    if sys.version_info < (3, 11):
        importlib.import_module("backports.asyncio.runner.runner")._cancel_all_tasks = _cancel_until_done


def _cancel_until_done(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(20):
        tasks = asyncio.all_tasks(loop)
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=0.5))
