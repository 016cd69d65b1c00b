"""What of the content may stay on a span: nothing, roles and lengths, or all of it, by tenant, operation and part.

Runs over every span that comes by, so that content of other instrumentations is held back by the same words as ours.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import Event

from otel_llm import semconv
from otel_llm.processors.content_names import ContentKind, content_kind, is_content_event
from otel_llm.processors.message_parts import (
    Detail,
    PartLimits,
    in_words,
    reduced_documents,
    reduced_messages,
    reduced_parts,
    reduced_tools,
    reduced_value,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from otel_llm.config import Config
    from otel_llm.processors.draft import SpanDraft

__all__ = ["ContentPolicy"]

_WHOLE: Final = PartLimits()
_ROLE_ENDINGS: Final = (".role", ".finish_reason")
_LISTS: Final[dict[str, Callable[[Any], Any]]] = {
    semconv.TOOL_DEFINITIONS: reduced_tools,
    semconv.RETRIEVAL_DOCUMENTS: reduced_documents,
}
_OBJECTS: Final = frozenset({semconv.TOOL_CALL_ARGUMENTS, semconv.TOOL_CALL_RESULT})
"""With the lists, what the conventions have a schema for: lengths take its shape."""
_dump: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class ContentPolicy:
    """End stage: takes content off a span, or reduces it, as the settings `content*` say.

    `tenants` and `operations` override `default`; where both name a span, the stricter counts. `parts` are the most
    that is recorded of system prompts, tools and images. If it fails, the span loses all content.
    """

    name = "content policy"
    fails_closed = True

    def __init__(
        self,
        default: Detail,
        *,
        tenants: Mapping[str, Detail] | None = None,
        operations: Mapping[str, Detail] | None = None,
        parts: PartLimits = _WHOLE,
    ) -> None:
        self._default = default
        self._tenants = dict(tenants or {})
        self._operations = dict(operations or {})
        self._parts = parts
        self._allows_all = not self._tenants and not self._operations and parts.within(default) == _WHOLE

    @classmethod
    def of(cls, config: Config) -> ContentPolicy:
        """The policy that the settings describe."""
        return cls(
            _detail(config.content),
            tenants={tenant: _detail(mode) for tenant, mode in config.content_tenants.items()},
            operations={operation: _detail(mode) for operation, mode in config.content_operations.items()},
            parts=PartLimits(
                system=_detail(config.content_system),
                tools=_detail(config.content_tools),
                images=_detail(config.content_images),
            ),
        )

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Hold back what may not stay; the common case, everything allowed, costs a look."""
        if self._allows_all:
            return draft
        limits = self._parts.within(self._detail_for(draft))
        if limits == _WHOLE:
            return draft
        _reduce(draft.attributes, limits)
        if draft.events:
            draft.events = _reduced_events(draft.events, limits)
        return draft

    def _detail_for(self, draft: SpanDraft) -> Detail:
        if not self._tenants and not self._operations:
            return self._default
        tenant = self._tenants.get(draft.attributes.get(semconv.TENANT_ID, ""))
        operation = self._operations.get(draft.attributes.get(semconv.OPERATION_NAME, ""))
        named = [detail for detail in (tenant, operation) if detail is not None]
        return min(named, default=self._default)


def _detail(mode: str) -> Detail:
    return Detail[mode.upper()]


def _reduce(attributes: dict[str, Any], limits: PartLimits) -> None:
    """Reduce the content among `attributes`, in place."""
    for key in [key for key in attributes if content_kind(key) is not None]:
        value = _reduced(key, attributes[key], limits)
        if value is None:
            del attributes[key]
        else:
            attributes[key] = value


def _reduced(key: str, value: Any, limits: PartLimits) -> Any:
    """What may stay of one content attribute; None for nothing."""
    kind = content_kind(key)
    if kind is ContentKind.MESSAGES:
        return _reduced_tree(value, lambda tree: reduced_messages(tree, limits))
    if kind is ContentKind.SYSTEM:
        within = PartLimits(text=limits.system).within(limits.system)
        return _reduced_tree(value, lambda tree: reduced_parts(tree, within))
    allowed = {ContentKind.TOOLS: limits.tools, ContentKind.TEXT: limits.text}.get(
        kind or ContentKind.MIXED, limits.strictest
    )
    if allowed is Detail.ON:
        return value
    if allowed is Detail.OFF:
        return None
    if key in _LISTS:
        return _reduced_tree(value, _LISTS[key])
    if key in _OBJECTS:
        return _dump(reduced_value(value))
    if key.endswith(_ROLE_ENDINGS):
        return value
    return in_words(value) if isinstance(value, str) else None


def _reduced_tree(value: Any, reduce: Any) -> str | None:
    """JSON text (or a structure) after `reduce`; None where nothing is left, or it cannot be read."""
    try:
        tree = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return None
    kept = reduce(tree)
    return _dump(kept) if kept else None


def _reduced_events(events: Sequence[Event], limits: PartLimits) -> tuple[Event, ...]:
    return tuple(_reduced_event(event, limits) if event.attributes else event for event in events)


def _reduced_event(event: Event, limits: PartLimits) -> Event:
    kept = dict(event.attributes or {})
    if is_content_event(event.name) and limits.strictest is not Detail.ON:
        kept = {key: value for key, value in kept.items() if key in semconv.CONTENT_EVENT_FACTS}
    _reduce(kept, limits)
    return Event(event.name, kept, event.timestamp)
