"""What the response cache did for the call that is running, noted on its request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otel_llm.context import active_call
from otel_llm.instrumentation.litellm.forms import FORMS
from otel_llm.instrumentation.litellm.reading import get
from otel_llm.instrumentation.litellm.request import Request

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["note_found", "note_part_bought"]

_EMBEDDING = "embedding"


def note_found(args: tuple[Any, ...], found: object) -> None:
    """Litellm's handler (the first of `args`) has asked the cache, for the call that is running."""
    request = _running(get(args[0], "original_function"))
    if request is not None:
        whole = get(found, "cached_result") is not None or get(found, "embedding_all_elements_cache_hit") is True
        request.from_cache = whole


def note_part_bought(combined: object, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Of a list of embeddings a part came from the cache, and the provider was asked for the rest."""
    asked = kwargs.get("embedding_response", args[2] if len(args) > 2 else None)
    request = _running(None)
    if request is not None and combined is not asked:  # the same: nothing was cached
        request.bought = asked


def _running(function: object) -> Request | None:
    """The request of the recorded call that is running; not where a cache that compares by meaning embeds for it."""
    active = active_call()
    request = getattr(active, "request", None)
    if not isinstance(request, Request) or getattr(active, "closed", True):
        return None
    form = FORMS.get(getattr(function, "__name__", ""))
    if form is not None and form.family == _EMBEDDING != request.form.family:
        return None
    return request
