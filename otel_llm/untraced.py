"""Our own requests and files are no spans of the program: what instrumentations look at before they record.

As `opentelemetry.instrumentation.utils` has it, whose import brings wrapt and with it sixty modules.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from opentelemetry import context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.context import Context

__all__ = ["is_untraced", "untraced"]

_PLAIN: Final = "suppress_instrumentation"
"""What older instrumentations look for in the context."""

_ON: Final = True


def _keys() -> tuple[str, ...]:
    names = ("_SUPPRESS_INSTRUMENTATION_KEY", "_SUPPRESS_HTTP_INSTRUMENTATION_KEY")
    return (*(key for name in names if (key := getattr(context, name, None)) is not None), _PLAIN)


_KEYS: Final = _keys()
_ALL: Final = getattr(context, "_SUPPRESS_INSTRUMENTATION_KEY", _PLAIN)
_HTTP: Final = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", _PLAIN)


def is_untraced(around: Context, *, http: bool = False) -> bool:
    """Whether instrumentations (of HTTP clients) are to record nothing in this context.

    That is what `suppress_instrumentation` and `suppress_http_instrumentation` of upstream's are for.
    """
    return bool(around.get(_ALL) or around.get(_PLAIN) or (http and around.get(_HTTP)))


@contextmanager
def untraced() -> Iterator[None]:
    """Within it, instrumentations record nothing of this thread or task."""
    around = context.get_current()
    for key in _KEYS:
        around = context.set_value(key, _ON, around)
    token = context.attach(around)
    try:
        yield
    finally:
        context.detach(token)
