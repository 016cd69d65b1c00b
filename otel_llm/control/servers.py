"""Servers that end by the default action of SIGTERM, which runs nobody's code: uvicorn.

uvicorn sets its own handler, imports the application after that, and once its server is shut down puts back the
handler that it found (as a rule the default one) and sends itself the signal. Whoever is configured by the
application can have no handler of theirs called then. So the server itself tells us when it has shut down.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["watch_uvicorn"]

_MARK: Final = "_otel_llm_watches"


def watch_uvicorn(hand_over: Callable[[], None]) -> bool:
    """Call `hand_over` when uvicorn's server, where one handles SIGTERM in this process, has shut down because of it.

    Says whether there is such a server. What it does and returns stays the same; a server that its program stops by
    other means (`should_exit`) leaves the process alive, and us recording.
    """
    module = sys.modules.get("uvicorn.server")
    server: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if module is None or server is None or not issubclass(type(server), getattr(module, "Server", ())):
        return False
    if not hasattr(server, "shutdown") or not hasattr(server, "_captured_signals"):
        return False  # before 0.29 it did not send the signal again, so that `atexit` does
    if getattr(server, _MARK, False):
        return True
    shutdown = server.shutdown

    async def shutdown_and_tell(*args: Any, **kwargs: Any) -> None:
        try:
            await shutdown(*args, **kwargs)
        finally:
            if signal.SIGTERM in server._captured_signals:  # noqa: SLF001  (what it is about to send itself)
                hand_over()

    setattr(server, _MARK, True)
    server.shutdown = shutdown_and_tell
    return True
