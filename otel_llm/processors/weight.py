"""How much memory a span that waits takes: near enough to bound it, and quick enough for the thread that ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["weight_of", "weight_of_finished"]

_SPAN_BYTES: Final = 1024
"""About what a span takes beside its texts."""


def weight_of(span: ReadableSpan) -> int:
    """About the bytes of memory that a span holds on to: what it always takes, and the texts of its attributes."""
    size = _SPAN_BYTES
    attributes = span.attributes
    if attributes is None:
        return size
    # `copy` of the SDK's own mapping is one C call; iterating it would be a Python call per key.
    for value in attributes.copy().values():  # type: ignore[attr-defined]
        if type(value) is str:
            size += len(value)
        elif type(value) is tuple:
            size += _bytes_of(value)
    return size


def weight_of_finished(span: ReadableSpan) -> int:
    """The same of a span that has been through the stages, where its texts have been counted."""
    counted: int | None = getattr(span, "texts_bytes", None)
    return weight_of(span) if counted is None else _SPAN_BYTES + counted


def _bytes_of(values: tuple[object, ...]) -> int:
    return sum([len(value) for value in values if isinstance(value, str)])
