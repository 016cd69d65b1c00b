"""`codec`, loaded when there is a first span: protobuf is a fifth of what a start would load otherwise."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from otel_llm.loading import loading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.contracts import Batch

__all__ = ["encode", "halve", "prepare"]


@cache
def prepare() -> tuple[Callable[..., list[Batch]], Callable[[Batch], tuple[Batch, Batch] | None]]:
    """Load what the others need: `codec.encode` and `codec.halve`."""
    with loading("what encodes spans"):
        from otel_llm.delivery import codec  # noqa: PLC0415
    return codec.encode, codec.halve


def encode(spans: Sequence[ReadableSpan], **options: Any) -> list[Batch]:
    """As `codec.encode`."""
    return prepare()[0](spans, **options)


def halve(batch: Batch) -> tuple[Batch, Batch] | None:
    """As `codec.halve`."""
    return prepare()[1](batch)
