"""Keeps usage that only we asked for out of the stream that the program reads.

Once the provider has been asked there is no way back, so this must work whatever else of ours fails: it stands
on nothing but Python, and a test leaves it out when it makes all the rest raise.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

__all__ = ["WITHHELD", "hide_usage"]

WITHHELD: Final = "_otel_llm_usage"
"""Attribute of a stream object: the list of chunks that were kept from the user."""
_DEEPEST: Final = 4
"""How many generators and stream objects litellm is looked through."""


def hide_usage(stream: Any) -> None:
    """Make litellm's stream object behave as if nobody had asked for usage."""
    source = getattr(stream, "completion_stream", None)
    if inspect.isgenerator(source) or inspect.isasyncgen(source):
        # A text stream reads from a bare generator, in which litellm's own switches are out of reach.
        kept: list[Any] = []
        stream.completion_stream = _without(source, kept) if inspect.isgenerator(source) else _awithout(source, kept)
        setattr(stream, WITHHELD, kept)
    layers: tuple[Any, ...] = (stream, source)
    for layer in layers:
        if hasattr(layer, "send_stream_usage"):
            layer.send_stream_usage = False
            # Older versions read the usage off the wire only while the option stands; newer ones always do.
            if hasattr(layer, "_record_usage_only_chunk"):
                layer.stream_options = None
        elif hasattr(layer, "stream_options"):
            layer.stream_options = None


def _without(source: Iterable[Any], kept: list[Any]) -> Iterator[Any]:
    for chunk in source:
        if not guarded("hiding the usage chunk", _says_usage_only, chunk):
            yield chunk
        elif guarded("looking who counted", _reported, source):
            kept.append(chunk)


async def _awithout(source: AsyncIterable[Any], kept: list[Any]) -> AsyncIterator[Any]:
    async for chunk in source:
        if not guarded("hiding the usage chunk", _says_usage_only, chunk):
            yield chunk
        elif guarded("looking who counted", _reported, source):
            kept.append(chunk)


def _reported(source: Any) -> bool:
    """Whether the provider counted: where it did not, litellm puts a count of its own into the same chunk."""
    chunks = _received(source, _DEEPEST)
    return chunks is None or any(getattr(chunk, "usage", None) is not None for chunk in chunks)


def _received(stream: Any, depth: int) -> list[Any] | None:
    """What litellm received from the provider: kept by a stream object that is a local of its generators."""
    chunks = getattr(stream, "chunks", None)
    if isinstance(chunks, list):
        return chunks
    frame = getattr(stream, "gi_frame", None) or getattr(stream, "ag_frame", None)
    within = [getattr(stream, "completion_stream", None), *(frame.f_locals.values() if frame is not None else ())]
    for inner in within if depth else ():
        found = _received(inner, depth - 1) if inner is not None else None
        if found is not None:
            return found
    return None


def _says_usage_only(chunk: Any) -> bool:
    if getattr(chunk, "usage", None) is None:
        return False
    choices = getattr(chunk, "choices", None) or ()
    return not any(choice.finish_reason or getattr(choice.delta, "content", None) for choice in choices)
