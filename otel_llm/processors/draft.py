"""A finished span on its way to our backends: one copy that the stages may change, the program's own left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.trace import ReadableSpan

from otel_llm.processors.texts import texts_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.sdk.trace import Event
    from opentelemetry.trace import Link, SpanContext, Status

    from otel_llm.processors.texts import Texts

__all__ = ["SpanDraft"]


class SpanDraft:
    """What a stage may read and change of a finished span; everything else stays as in the original.

    `attributes` is a plain dict of the draft's own. `events` are immutable objects in a tuple: replace the tuple to
    change one. Other processors of the program never see a draft.
    """

    __slots__ = (
        "_original",
        "_texts",
        "_texts_among",
        "attributes",
        "context",
        "events",
        "kind",
        "left_out",
        "name",
        "parent",
        "scope_name",
        "status",
        "texts_bytes",
    )

    def __init__(self, span: ReadableSpan) -> None:
        context = span.context
        assert context is not None, "only spans with a context are exported"
        scope = span.instrumentation_scope
        self._original = span
        # `copy` of the SDK's own mapping is one C call; `dict()` would call Python once per key.
        self.attributes: dict[str, Any] = span.attributes.copy()  # type: ignore[union-attr]
        self.context: SpanContext = context
        self.events: Sequence[Event] = _events_of(span)
        self.kind = span.kind
        self.left_out = ""
        """Why no backend is meant to get the span; empty for one that is kept. Its facts count all the same."""
        self.name = span.name
        self.parent: SpanContext | None = span.parent
        self.scope_name: str = scope.name if scope is not None else ""
        self.status: Status = span.status
        self.texts_bytes: int | None = None
        """About the characters of all attributes together, where they were counted and nothing was cut."""
        self._texts_among: tuple[Any, ...] | None = None
        self._texts: Texts | None = None

    def copy(self) -> SpanDraft:
        """Another draft of the same span, as it was when it ended but for its name, context, parent and status."""
        made = SpanDraft(self._original)
        made.context, made.name, made.parent, made.status = self.context, self.name, self.parent, self.status
        return made

    @property
    def texts(self) -> Texts | None:
        """All texts among the attributes as they are now; None where each value must be looked at (`texts.texts_of`).

        Several stages ask, and few have changed something in between.
        """
        values = tuple(self.attributes.values())
        if values != self._texts_among:  # nearly always the same objects, which takes no comparing of texts
            self._texts_among, self._texts = values, texts_of(self.attributes)
        return self._texts

    @property
    def seconds(self) -> float:
        """How long the span took."""
        start, end = self._original.start_time, self._original.end_time
        return max(0, end - start) / 1e9 if start is not None and end is not None else 0.0

    @property
    def start_ns(self) -> int | None:
        """When the span began, in Unix nanoseconds."""
        return self._original.start_time

    @property
    def end_ns(self) -> int | None:
        """When it ended."""
        return self._original.end_time

    @property
    def original_name(self) -> str:
        """The name that its instrumentation gave it."""
        return self._original.name

    def to_span(self) -> ReadableSpan:
        """The draft as a span for the SDK; shares `attributes` with the draft, which is done with."""
        return _FinishedSpan(self)


_EVENTS: Final[Any] = ReadableSpan.events
_LINKS: Final[Any] = ReadableSpan.links


def _events_of(span: ReadableSpan) -> Sequence[Event]:
    """A span's events; few have any, and the SDK copies its list of none under a lock, in Python."""
    if type(span).events is _EVENTS and not span._events:  # noqa: SLF001  (the SDK's own way to keep them)
        return ()
    return span.events


def _links_of(span: ReadableSpan) -> Sequence[Link]:
    """The same of its links."""
    if type(span).links is _LINKS and not span._links:  # noqa: SLF001  (the SDK's own way to keep them)
        return ()
    return span.links


class _FinishedSpan(ReadableSpan):
    """A span made of a draft. The SDK derives the dropped counts from its private containers; here they are kept."""

    def __init__(self, draft: SpanDraft) -> None:
        original = draft._original  # noqa: SLF001  (the draft is of this module)
        super().__init__(
            name=draft.name,
            context=draft.context,
            parent=draft.parent,
            resource=original.resource,
            attributes=draft.attributes,
            events=draft.events,
            links=_links_of(original),
            kind=draft.kind,
            status=draft.status,
            start_time=original.start_time,
            end_time=original.end_time,
            instrumentation_scope=original.instrumentation_scope,
        )
        self.texts_bytes = draft.texts_bytes
        self._dropped = (original.dropped_attributes, original.dropped_events, original.dropped_links)

    # The SDK wraps and copies these each time they are read, for spans that may still change; this one does not.

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes, in a dict that nobody changes any more."""
        return self._attributes  # type: ignore[return-value]  # a draft has some

    @property
    def events(self) -> Sequence[Event]:
        """Events, in order."""
        return self._events

    @property
    def links(self) -> Sequence[Link]:
        """Links, in order."""
        return self._links

    @property
    def dropped_attributes(self) -> int:
        """Attributes that the SDK's limits left out of the original."""
        return self._dropped[0]

    @property
    def dropped_events(self) -> int:
        """Events that the SDK's limits left out of the original."""
        return self._dropped[1]

    @property
    def dropped_links(self) -> int:
        """Links that the SDK's limits left out of the original."""
        return self._dropped[2]
