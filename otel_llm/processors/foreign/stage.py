"""The stage that foreign spans go through, before anything is counted, limited or taken off."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.faults import guarded
from otel_llm.loading import loading
from otel_llm.processors.foreign.repeats import Repeats
from otel_llm.processors.foreign.scopes import is_foreign_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otel_llm.processors.beginning import Beginning
    from otel_llm.processors.draft import SpanDraft

__all__ = ["ForeignSpans"]

_OWN: Final = semconv.OWN_SCOPE


class ForeignSpans:
    """Start stage `on_start` and end stage: names as ours, a cost, and usage on one span of several for one call.

    Spans of ours cost it a comparison, until the program is seen to use a framework around calls. `wants_content` says
    whether any content may stay on a span: without, messages are not even read. `cost` answers what prices one. That,
    and what else foreign spans take, is loaded when the first one begins: ours is a thread that imports nothing (0097).
    """

    name = "foreign spans"

    def __init__(self, cost: Callable[[], Callable[[SpanDraft], None]], *, wants_content: bool = True) -> None:
        self._cost = cost
        self._loaded = False
        self._wants_content = wants_content
        self._repeats = Repeats()

    def on_start(self, beginning: Beginning) -> None:
        """Remember who stands around whom."""
        if not self._loaded and is_foreign_scope(beginning.scope):
            self._loaded = True
            _translation()
            self._cost()
        if self._repeats.watching or beginning.scope != _OWN:
            self._repeats.on_start(beginning)

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Translate a foreign span, see whether it repeats another one, and price it if not."""
        scope = draft.scope_name
        if scope == _OWN or not is_foreign_scope(scope):
            if self._repeats.watching:
                self._repeats.note(draft)
            return draft
        translate, is_model_call = _translation()
        guarded("translating a foreign span", partial(translate, draft, wants_content=self._wants_content))
        for name, value in self._repeats.absorbed(draft).items():
            draft.attributes.setdefault(name, value)
        if not self._repeats.settle(draft) and is_model_call(draft.attributes):
            self._cost()(draft)
        return draft

    def absorb(self, draft: SpanDraft) -> None:
        """Take what is dropped as the second record of one call: some of it the first record lacks."""
        self._repeats.absorb(draft)


@cache
def _translation() -> tuple[Callable[..., None], Callable[[Mapping[str, Any]], bool]]:
    with loading("the translation of foreign spans"):
        from otel_llm.processors.foreign import translation  # noqa: PLC0415
    return translation.translate, translation.is_model_call
