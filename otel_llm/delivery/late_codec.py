"""`codec`, loaded where something is to be delivered, and not by whoever only imports what delivers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from otel_llm.faults import guarded
from otel_llm.loading import loading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.contracts import Backend, Batch

__all__ = ["NotLoadedError", "encode", "halve", "prepare", "prepare_for"]


class NotLoadedError(Exception):
    """What encodes spans is not to be had in this program; stays inside the package."""


@cache
def prepare() -> tuple[Callable[..., list[Batch]], Callable[[Batch], tuple[Batch, Batch] | None]]:
    """Load what the others need: `codec.encode` and `codec.halve`."""
    with loading("what encodes spans"):
        from otel_llm.delivery import codec  # noqa: PLC0415
    return codec.encode, codec.halve


def prepare_for(backend: Backend) -> None:
    """Load what encodes for `backend` and what sends to it, in the thread of the program that sets it up.

    Not in a thread of ours: the program imports modules of its own meanwhile, and Python (3.11.7, for one) can have two
    threads wait for each other for ever in imports of one package. A failure is said, counted and left to the first
    batch, which stays where it is.
    """
    for step in (prepare, getattr(backend, "prepare", None)):
        if step is not None:
            guarded(f"delivery to {backend.name}", step)


def encode(spans: Sequence[ReadableSpan], **options: Any) -> list[Batch]:
    """As `codec.encode`. Raises `NotLoadedError` where that cannot be loaded, which has been said and counted."""
    try:
        encode_now, _ = prepare()
    except Exception as error:
        raise NotLoadedError from error
    return encode_now(spans, **options)


def halve(batch: Batch) -> tuple[Batch, Batch] | None:
    """As `codec.halve`."""
    return prepare()[1](batch)
