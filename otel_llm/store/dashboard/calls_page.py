"""The list of calls, newest first, a page at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_llm import semconv
from otel_llm.store.call_pages import call_page
from otel_llm.store.dashboard.filters import call_form, chips, in_words, periods
from otel_llm.store.dashboard.html import Html, tag
from otel_llm.store.dashboard.overview_page import empty
from otel_llm.store.dashboard.page import Page, framed
from otel_llm.store.dashboard.question import ALL, trace_address
from otel_llm.store.dashboard.shown import count, duration, money, short
from otel_llm.store.human import NOTHING

if TYPE_CHECKING:
    from pathlib import Path

    from otel_llm.store.calls import CallRow
    from otel_llm.store.dashboard.question import Question

__all__ = ["PAGE_SIZE", "calls_page"]

PAGE_SIZE: Final = 50
_COLUMNS: Final = (
    ("time", ""),
    ("call", ""),
    ("tenant", ""),
    ("user", ""),
    ("in", "n"),
    ("out", "n"),
    ("cost", "n"),
    ("cache", ""),
    ("latency", "n"),
    ("first chunk", "n"),
    ("status", ""),
)


def calls_page(store: Path, question: Question, *, seconds: float, refresh_seconds: int) -> Page:
    """The page of calls that `question` asks for; raises StoreError if it cannot be had."""
    found = call_page(
        store, question.chosen, failed=question.failed, before=question.before, limit=PAGE_SIZE, seconds=seconds
    )
    head = tag("tr", *(tag("th", name, scope="col", class_=kind or None) for name, kind in _COLUMNS))
    table = tag("table", tag("thead", head), tag("tbody", *map(_line, found.rows)), class_="calls")
    newest = tag("a", "\u2190 newest", href=question.address("/calls", before=None)) if question.before else None
    older = None
    if found.next is not None:
        key = f"{found.next.start_ns}-{found.next.id}"
        older = tag("a", "older \u2192", href=question.address("/calls", before=key), rel="next")
    return framed(
        "Calls",
        tag("h1", "Calls", class_="unseen"),
        periods("/calls", question),
        call_form(question),
        chips("/calls", question),
        tag("div", table, class_="wide") if found.rows else _none(question),
        tag("nav", newest, older, class_="pages", aria_label="Pages"),
        store=store,
        question=question,
        here="/calls",
        refresh_seconds=refresh_seconds if question.before is None else None,
    )


def _none(question: Question) -> Html:
    if set(question.given) == {"since"} and question.given["since"] == ALL:
        return empty()
    which = "No older calls" if question.before else "No calls"
    everything = tag("p", tag("a", "Show all calls", href="/calls"))
    return tag("section", tag("h2", f"{which} like this {in_words(question)}"), everything, class_="empty")


def _line(row: CallRow) -> Html:
    shown = f"{row.start:%Y-%m-%d %H:%M:%S}.{row.start.microsecond // 1000:03d}"
    when = tag("time", shown, datetime=f"{row.start:%Y-%m-%dT%H:%M:%S.%fZ}")
    cells = (
        tag("td", tag("a", when, href=trace_address(row.trace_id, row.span_id))),
        tag("td", _what(row)),
        tag("td", row.tenant),
        tag("td", row.user or NOTHING),
        tag("td", count(row.input_tokens), class_="n"),
        tag("td", count(row.output_tokens), class_="n"),
        tag("td", _cost(row), class_="n"),
        tag("td", "hit" if row.cache_hit else ""),
        tag("td", duration(row.duration_ms), class_="n"),
        tag("td", duration(row.ttft_ms), class_="n"),
        tag("td", _status(row)),
    )
    return tag("tr", *cells, class_="failed" if row.is_error else None)


def _cost(row: CallRow) -> Html:
    if row.cost_nano_usd is None and row.cost_status == semconv.COST_UNKNOWN:
        return tag("span", "no price", class_="none")
    return money(row.cost_usd)


def _what(row: CallRow) -> Html:
    asked, answered = row.request_model, row.response_model
    model = asked or answered or NOTHING
    other = tag("small", " answered by ", tag("bdi", answered)) if _is_another(asked, answered) else None
    several = tag("small", f" {row.attempts} attempts") if row.attempts else None
    stream = tag("small", " stream") if row.stream else None
    return tag("span", tag("span", row.operation, class_="operation"), " ", tag("bdi", model), other, stream, several)


def _is_another(asked: str | None, answered: str | None) -> bool:
    """Whether another model answered; `gpt-4o-2024-08-06` is the `openai/gpt-4o` that was asked for."""
    return bool(asked and answered) and not str(answered).startswith(str(asked).rpartition("/")[2])


def _status(row: CallRow) -> Html:
    if not row.is_error:
        return tag("span", "ok", class_="fine")
    status = f" {row.http_status}" if row.http_status else ""
    return tag(
        "span",
        f"{row.error_type or 'error'}{status}",
        class_="error",
        title=short(row.status_message or "", 500) or None,
    )
