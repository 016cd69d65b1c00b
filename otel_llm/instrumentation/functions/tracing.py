"""Where the program's own work is recorded to: one tracer for the process, or nowhere before `configure`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["Tracing", "active", "use_tracing"]


class Tracing(NamedTuple):
    """A tracer, and whether what goes in and comes out of functions is worth reading at all."""

    tracer: Tracer
    wants_content: bool = False


_active: Tracing | None = None


def use_tracing(tracing: Tracing | None) -> None:
    """Record the program's own work to `tracing` from now on; None: not at all."""
    global _active  # noqa: PLW0603  (decorators are made long before there is anything to record to)
    _active = tracing


def active() -> Tracing | None:
    """What is recorded to now; None where nothing runs, and then a decorated function costs one call more."""
    return _active
