"""One trace: its spans as a tree with a waterfall, and one of them in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from otel_llm.store.dashboard.html import Html, tag
from otel_llm.store.dashboard.messages import MESSAGE_ATTRIBUTES, Room, conversation, pretty
from otel_llm.store.dashboard.page import Page, command, framed, trouble
from otel_llm.store.dashboard.question import address, trace_address
from otel_llm.store.dashboard.shown import count, duration, moment, nano_money, short
from otel_llm.store.human import NOTHING, human_duration
from otel_llm.store.traces import read_trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from otel_llm.store.dashboard.question import Question
    from otel_llm.store.traces import Feedback, Trace, TraceSpan

__all__ = ["trace_page"]

_DEEPEST: Final = 12
"""Levels of the tree that are indented; what is deeper stands as far in as these."""
_ROOM: Final = 400_000
_LONGEST_VALUE: Final = 4000
_MOST_ENTRIES: Final = 300
_WIDTH: Final = 1000
_LEADING_TO_CALLS: Final = (
    ("tenant", "tenant"),
    ("user", "user"),
    ("session", "session"),
    ("service", "service"),
    ("model", "request_model"),
)
_NARROWEST: Final = 4
"""Of a bar, in thousandths of the waterfall: it can be seen."""


def trace_page(store: Path, trace_id: str, question: Question, *, seconds: float) -> Page:
    """The trace `trace_id`, with the span that `question` names; raises StoreError if it cannot be had."""
    trace = read_trace(store, trace_id, question.span, seconds=seconds)
    if not trace.spans:
        return trouble(
            404,
            f"The store has no span of the trace {trace_id}. Most likely it was recorded into another store or sent to "
            "another backend, or the store's size limit has taken it.",
            tag("a", "Look at all calls", href="/calls"),
            "Look at the path of the store, at the foot of this page.",
            store=store,
            title="There is no such trace",
        )
    return framed(
        f"Trace {trace_id[:8]}",
        tag("h1", "Trace ", tag("code", trace_id)),
        _summary(trace),
        _tree(trace, trace_id),
        _feedback(trace.feedback, trace_id),
        _span(trace.whole) if trace.whole is not None else _absent(question.span),
        store=store,
    )


def _summary(trace: Trace) -> Html:
    start, end = _extent(trace.spans)
    calls, errors = sum(span.is_call for span in trace.spans), sum(span.is_error for span in trace.spans)
    more = " (the first of them; the others are in the store)" if trace.cut else ""
    return tag(
        "p",
        moment(start, precise=True),
        f", {_many(len(trace.spans), 'span')}{more}, {_many(calls, 'call')} to models, {_many(errors, 'error')}, took ",
        duration((end - start) / 1e6),
        class_="summary",
    )


def _many(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _extent(spans: Iterable[TraceSpan]) -> tuple[int, int]:
    listed = list(spans)
    return min(span.start_ns for span in listed), max(span.start_ns + span.duration_ns for span in listed)


# --- the tree -----------------------------------------------------------------------------------------------------


def _tree(trace: Trace, trace_id: str) -> Html:
    start, end = _extent(trace.spans)
    chosen = None if trace.whole is None else trace.whole["span_id"]
    head = tag("tr", *(tag("th", name, scope="col") for name in ("span", "took", "when")))
    lines = [_branch(span, trace_id, start, end, chosen=span.span_id == chosen) for span in trace.spans]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *lines), class_="tree"), class_="wide")


def _branch(span: TraceSpan, trace_id: str, start: int, end: int, *, chosen: bool) -> Html:
    notes = [
        f"attempt {span.attempt}" if span.attempt is not None else None,
        "parent not stored" if span.detached else None,
        span.error_type or "error" if span.is_error else None,
    ]
    named = tag(
        "td",
        tag(
            "a",
            short(span.name) or NOTHING,
            href=trace_address(trace_id, span.span_id),
            aria_current="true" if chosen else None,
        ),
        *(tag("small", f" {note}") for note in notes if note),
        class_=f"d{min(span.depth, _DEEPEST)}",
    )
    kind = "error" if span.is_error else "llm" if span.is_llm else "other"
    whole = max(1, end - start)
    width = max(_NARROWEST, span.duration_ns * _WIDTH / whole)
    left = min((span.start_ns - start) * _WIDTH / whole, _WIDTH - width)
    bar = tag("rect", x=f"{max(0.0, left):.1f}", y=1, width=f"{width:.1f}", height=8, class_=kind)
    after = human_duration((span.start_ns - start) / 1e6)
    picture = tag(
        "svg",
        tag("title", f"began after {after}"),
        bar,
        viewBox=f"0 0 {_WIDTH} 10",
        preserveAspectRatio="none",
        role="img",
        aria_label=f"began after {after}",
    )
    cells = (named, tag("td", duration(span.duration_ns / 1e6), class_="n"), tag("td", picture, class_="fall"))
    return tag("tr", *cells, class_="chosen" if chosen else None)


def _feedback(feedback: tuple[Feedback, ...], trace_id: str) -> Html | None:
    if not feedback:
        return None
    entries = [
        tag(
            "li",
            tag("b", entry.name),
            f": {entry.category or entry.value}",
            f" ({entry.reason})" if entry.reason else None,
            tag("a", " of a span", href=trace_address(trace_id, entry.span_id)) if entry.span_id else None,
        )
        for entry in feedback
    ]
    return tag("section", tag("h2", "Feedback"), tag("ul", *entries))


# --- one span -----------------------------------------------------------------------------------------------------


def _absent(span_id: str | None) -> Html:
    return tag("p", f"The store has no span {span_id} in this trace. Choose one of those above.", class_="empty")


def _span(span: Mapping[str, Any]) -> Html:
    room = Room(_ROOM)
    attributes: Mapping[str, Any] | None = span["attributes"]
    others = {key: value for key, value in (attributes or {}).items() if key not in MESSAGE_ATTRIBUTES}
    return tag(
        "section",
        tag("h2", short(span["name"]) or NOTHING),
        _facts(span),
        None if attributes is not None else _without_body(),
        conversation(attributes or {}, room),
        _no_content_hint(attributes, span),
        _values("Attributes", others, room),
        *(_event(event, span["start_ns"], room) for event in span["events"][:_MOST_ENTRIES]),
        _left_out(len(span["events"]), "events"),
        _links(span["links"]),
        _values("Resource", span["resource"], room, closed=True),
        id="span",
        class_="span",
    )


def _facts(span: Mapping[str, Any]) -> Html:
    failed = " ".join(
        short(str(it), 2000)
        for it in (span["error_type"], span["http_status"], span["status_message"])
        if it is not None
    )
    facts: list[tuple[str, object]] = [
        ("began", moment(span["start_ns"], precise=True)),
        ("took", duration(span["duration_ns"] / 1e6)),
        ("first chunk", duration(span["ttft_ms"])),
        ("status", tag("span", f"error {failed}", class_="error") if span["is_error"] else "no error"),
        *((name, _to_calls(name, span[column])) for name, column in _LEADING_TO_CALLS),
        ("answered by", span["response_model"]),
        ("tokens", _tokens(span)),
        ("cost", _cost(span)),
        ("cache", "hit" if span["cache_hit"] else None),
        ("kind", span["kind"]),
        ("scope", span["scope"]),
        ("span id", tag("code", span["span_id"])),
    ]
    shown = [(name, value) for name, value in facts if value is not None and value != duration(None)]
    return tag("dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in shown), class_="facts")


def _to_calls(name: str, value: str | None) -> Html | None:
    return None if value is None else tag("a", value, href=address("/calls", {name: value}))


def _cost(span: Mapping[str, Any]) -> Html | None:
    if not span["is_llm"]:
        return None
    note = "on its attempts" if span["attempts"] is not None else span["cost_status"] or ""
    return tag("span", nano_money(span["cost_nano_usd"]), f" {note}")


def _tokens(span: Mapping[str, Any]) -> Html | None:
    if span["input_tokens"] is None and span["output_tokens"] is None:
        return None
    return tag("span", count(span["input_tokens"]), " in, ", count(span["output_tokens"]), " out")


def _without_body() -> Html:
    return tag(
        "p",
        "Only the numbers of this span are stored: sampling left it out, or the store's size limit has taken the rest.",
        class_="hint",
    )


def _no_content_hint(attributes: Mapping[str, Any] | None, span: Mapping[str, Any]) -> Html | None:
    if not span["is_call"] or attributes is None or not MESSAGE_ATTRIBUTES.isdisjoint(attributes):
        return None
    turn_on = command("OTEL_LLM_CONTENT=on")
    return tag(
        "p", "No messages: content is not recorded unless a program asks for it, with ", turn_on, ".", class_="hint"
    )


def _values(title: str, values: Mapping[str, Any], room: Room, *, closed: bool = False) -> Html | None:
    if not values:
        return None
    lines = [_value(key, value, room) for key, value in list(values.items())[:_MOST_ENTRIES]]
    return tag(
        "details",
        tag("summary", f"{title} ({len(values):,})"),
        tag("dl", *lines),
        _left_out(len(values), "entries"),
        class_="values",
        open=not closed,
    )


def _left_out(number: int, what: str) -> Html | None:
    left = number - _MOST_ENTRIES
    return tag("p", f"{left:,} more {what} are in the store.", class_="cut") if left > 0 else None


def _value(key: str, value: Any, room: Room) -> Html:
    kept, note = room.shown(pretty(value), _LONGEST_VALUE)
    return tag("div", tag("dt", room.shown(key, 200)[0]), tag("dd", tag("pre", kept, note)))


def _event(event: Mapping[str, Any], start_ns: int, room: Room) -> Html:
    after = human_duration(max(0, event["time_ns"] - start_ns) / 1e6)
    title = f"Event {room.shown(str(event['name']), 200)[0]}, after {after}"
    return _values(title, event["attributes"], room) or tag("p", title)


def _links(links: list[dict[str, Any]]) -> Html | None:
    if not links:
        return None
    entries = [
        tag("li", tag("a", tag("code", link["trace_id"]), href=trace_address(link["trace_id"], link["span_id"])))
        for link in links[:_MOST_ENTRIES]
    ]
    return tag("section", tag("h3", "Links"), tag("ul", *entries))
