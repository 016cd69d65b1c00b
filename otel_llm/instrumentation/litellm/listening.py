"""The program's end of a realtime session, at which somebody listens.

A session must pass through it, so it does nothing but hand everything on, and guard what is told of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import wrapt

from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ListeningWebsocket"]


_CLOSES: Final = ("code", "reason")


class Listener(Protocol):
    """Whoever is told what a session sends."""

    def told(self, event: object) -> None:
        """The program is being sent `event`."""

    def closed(self, said: Mapping[str, Any]) -> None:
        """The program's websocket is being closed."""


class ListeningWebsocket(wrapt.ObjectProxy):  # type: ignore[type-arg]  # older versions cannot be subscripted
    """The program's websocket in all but this: somebody is told what is sent."""

    def __init__(self, websocket: Any, listener: Listener) -> None:
        super().__init__(websocket)
        self._self_listener = listener

    async def send_text(self, *args: Any, **kwargs: Any) -> Any:
        """As the program's; the listener hears it first."""
        guarded("listening to a session", self._self_listener.told, *args[:1], *kwargs.values())
        return await self.__wrapped__.send_text(*args, **kwargs)

    async def close(self, *args: Any, **kwargs: Any) -> Any:
        """As the program's; the listener hears why first."""
        guarded(
            "listening to a session", self._self_listener.closed, {**dict(zip(_CLOSES, args, strict=False)), **kwargs}
        )
        return await self.__wrapped__.close(*args, **kwargs)
