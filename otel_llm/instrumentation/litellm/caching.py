"""Where litellm asks its response cache: whether a call is answered from there, as a whole or in part.

The answer itself does not always say: text completions are not marked, and a list of embeddings of which some were
cached and the others bought is marked as if none had been bought.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

from otel_llm.faults import guarded
from otel_llm.instrumentation.litellm.cache_hits import note_found, note_part_bought

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

__all__ = ["MODULE", "diversions"]

MODULE: Final = "litellm.caching.caching_handler"
_ASKS: Final = ("sync_get_cache", "async_get_cache", "_sync_get_cache", "_async_get_cache")
_COMBINES: Final = (
    "combine_cached_embedding_response_with_api_result",
    "_combine_cached_embedding_response_with_api_result",
)
"""Newer versions have their own names without the underscore."""


def diversions(module: ModuleType) -> Iterator[tuple[object, Callable[..., Any]]]:
    """Functions that this version has, each with what it is to be diverted to."""
    handler = getattr(module, "LLMCachingHandler", None)
    for name in _ASKS:
        function = getattr(handler, name, None)
        if function is not None:
            yield function, _ask_async if inspect.iscoroutinefunction(function) else _ask
    for name in _COMBINES:
        function = getattr(handler, name, None)
        if function is not None:
            yield function, _combine
            return


def _ask(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    found = original(*args, **kwargs)
    guarded("noting a cache hit", note_found, args, found)
    return found


async def _ask_async(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    found = await original(*args, **kwargs)
    guarded("noting a cache hit", note_found, args, found)
    return found


def _combine(original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    combined = original(*args, **kwargs)
    guarded("noting what was bought", note_part_bought, combined, args, kwargs)
    return combined
