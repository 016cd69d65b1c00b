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

__all__ = ["watch_uvicorn", "watch_uvicorn_to_come"]

_MARK: Final = "_otel_llm_watches"


def watch_uvicorn(hand_over: Callable[[], None]) -> bool:
    """Call `hand_over` when uvicorn's server, where one handles SIGTERM in this process, has shut down because of it.

    Says whether there is such a server. What it does and returns stays the same; a server that its program stops by
    other means (`should_exit`) leaves the process alive, and us recording.
    """
    server: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    kind = _server_class()
    if kind is None or server is None or not issubclass(type(server), kind) or not _sends_it_again(server):
        return False
    if _MARK not in vars(server) and _MARK not in vars(kind):
        server.shutdown = _telling(server.shutdown, server, hand_over)
        setattr(server, _MARK, True)
    return True


def watch_uvicorn_to_come(hand_over: Callable[[], None]) -> None:
    """In a forked child: the same for a server that begins later, as in gunicorn's `UvicornWorker` under `--preload`.

    Such a worker puts back the default action of SIGTERM after the fork, so that the server finds no handler of ours.
    """
    kind = _server_class()
    if kind is None or _MARK in vars(kind):
        return
    shutdown = kind.shutdown

    async def shutdown_and_tell(server: Any, *args: Any, **kwargs: Any) -> None:
        told = _telling(shutdown.__get__(server), server, hand_over) if _sends_it_again(server) else None
        await (told or shutdown.__get__(server))(*args, **kwargs)

    kind.shutdown = shutdown_and_tell
    setattr(kind, _MARK, True)


def _server_class() -> Any:
    return getattr(sys.modules.get("uvicorn.server"), "Server", None)


def _sends_it_again(server: object) -> bool:
    """Before 0.29 it did not send itself the signal when it was done, so that `atexit` does."""
    return hasattr(server, "shutdown") and hasattr(server, "_captured_signals")


def _telling(shutdown: Callable[..., Any], server: Any, hand_over: Callable[[], None]) -> Callable[..., Any]:
    """What a server does instead of `shutdown`: the same, and tell us where it is about to send itself SIGTERM."""

    async def shutdown_and_tell(*args: Any, **kwargs: Any) -> None:
        try:
            await shutdown(*args, **kwargs)
        finally:
            if signal.SIGTERM in server._captured_signals:  # noqa: SLF001  (what it is about to send itself)
                hand_over()

    return shutdown_and_tell
