"""How much memory a span that waits takes: near enough to bound it, and quick enough for the thread that ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["weight_of"]

_SPAN_BYTES: Final = 1024
"""About what a span takes beside its texts."""


def weight_of(span: ReadableSpan) -> int:
    """About the bytes of memory that a span holds on to: what it always takes, and the texts of its attributes."""
    size = _SPAN_BYTES
    counted: int | None = getattr(span, "texts_bytes", None)
    if counted is not None:
        return size + counted
    if span.attributes:
        texts: dict[str, object] = span.attributes.copy()  # type: ignore[attr-defined]  # the SDK's own, in one C call
        for value in texts.values():
            if type(value) is str:
                size += len(value)
            elif type(value) is tuple:
                size += _bytes_of(value)
    return size


def _bytes_of(values: tuple[object, ...]) -> int:
    return sum(len(value) for value in values if isinstance(value, str))
