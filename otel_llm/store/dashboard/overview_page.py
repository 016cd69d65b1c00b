"""The first page: what was called in a period, what it cost, how it went, and by whom."""

from __future__ import annotations

import shlex
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final

from otel_llm.store.dashboard.chart import charts
from otel_llm.store.dashboard.filters import chips, in_words, periods
from otel_llm.store.dashboard.html import Html, tag
from otel_llm.store.dashboard.page import Page, command, framed
from otel_llm.store.dashboard.question import ALL, SHARED, TABLES
from otel_llm.store.dashboard.shown import count, duration, moment, money, share
from otel_llm.store.filters import FACTS
from otel_llm.store.human import NOTHING
from otel_llm.store.overview import overview

if TYPE_CHECKING:
    from pathlib import Path

    from otel_llm.store.dashboard.question import Question
    from otel_llm.store.overview import Overview
    from otel_llm.store.usage import UsageRow

__all__ = ["empty", "overview_page"]

_MOST_ROWS: Final = 25
_ALWAYS: Final = ("tenant", "model")
_NUMBERS: Final = (
    "calls",
    "errors",
    "tokens in",
    "tokens out",
    "cost",
    "no price",
    "hits",
    "p50",
    "p95",
    "first chunk",
)


def overview_page(store: Path, question: Question, *, seconds: float, refresh_seconds: int) -> Page:
    """The overview that `question` asks for; raises StoreError if it cannot be had."""
    found = overview(store, question.chosen, (*_ALWAYS, question.by), seconds=seconds)
    choice = (periods("/", question), chips("/", question))
    content = _numbers(found, question, store) if found.totals.calls else (_nothing_there(found, question),)
    return framed(
        "Overview",
        tag("h1", "Overview", class_="unseen"),
        *choice,
        *content,
        store=store,
        question=question,
        here="/",
        refresh_seconds=refresh_seconds,
    )


def _numbers(found: Overview, question: Question, store: Path) -> tuple[Html | None, ...]:
    return (
        _cards(found.totals, question),
        charts(found.timeline, question),
        *(_table(name, found.tables[name], found.totals, question, store) for name in (*_ALWAYS, question.by)),
        tag("p", "The same numbers in a terminal: ", command(_same_in_a_terminal(question, store)), class_="hint"),
    )


def _nothing_there(found: Overview, question: Question) -> Html:
    if found.newest_ns is None:
        return empty()
    newest = datetime.fromtimestamp(found.newest_ns // 10**9, timezone.utc)
    return tag(
        "section",
        tag("h2", f"No calls {in_words(question)}"),
        tag("p", "The newest call in the store began at ", moment(found.newest_ns), "."),
        tag(
            "p",
            tag("a", "Show that day", href=question.address("/", since=f"{newest:%Y-%m-%d}", until=None)),
            " or ",
            tag("a", "everything", href=f"/?since={ALL}"),
            ".",
        ),
        class_="empty",
    )


def empty() -> Html:
    """Where the data comes from, for whoever looks before there is any."""
    lines = (
        ("otel-llm demo", "makes some calls against a provider on this machine and records them: no key, no network"),
        ("otel-llm run python app.py", "records your own program, unchanged"),
        ("otel-llm config show", "says which store a program writes to: it must be the one named below"),
    )
    return tag(
        "section",
        tag("h2", "No calls are recorded here yet"),
        tag("p", "This page shows calls as soon as a program records some into the local store. In another terminal:"),
        tag("dl", *(tag("div", tag("dt", command(words)), tag("dd", what)) for words, what in lines)),
        class_="empty",
    )


# --- totals -------------------------------------------------------------------------------------------------------


def _cards(totals: UsageRow, question: Question) -> Html:
    errors = tag("a", count(totals.errors), href=question.elsewhere("/calls", status="error"))
    no_price = f"{totals.unknown_cost_calls:,} without a price, not in it" if totals.unknown_cost_calls else None
    saved = (tag("span", "saved "), money(totals.saved_usd)) if totals.saved_nano_usd else ()
    return tag(
        "section",
        _card("calls", tag("a", count(totals.calls), href=question.elsewhere("/calls"))),
        _card("errors", errors, tag("span", f"{totals.error_rate or 0:.1%} of calls"), bad=bool(totals.errors)),
        _card("tokens in", count(totals.input_tokens), *_of_which(totals.cache_read_tokens, "read from cache")),
        _card("tokens out", count(totals.output_tokens), *_of_which(totals.reasoning_tokens, "for reasoning")),
        _card("cost", money(totals.cost_usd), no_price),
        _card(
            "cache hits", count(totals.cache_hits), tag("span", f"{totals.cache_hit_rate or 0:.1%} of calls "), *saved
        ),
        _card("latency p50", duration(totals.latency_p50_ms), "p95 ", duration(totals.latency_p95_ms)),
        _card("first chunk p50", duration(totals.ttft_p50_ms), "of streams"),
        class_="cards",
        aria_label="Totals",
    )


def _of_which(part: int, what: str) -> tuple[object, ...]:
    return (count(part), f" {what}") if part else ()


def _card(name: str, value: Html, *note: object, bad: bool = False) -> Html:
    return tag(
        "div",
        tag("h2", name),
        tag("p", value, class_="value"),
        tag("p", *note, class_="note"),
        class_="card bad" if bad else "card",
        data_name=name,
    )


# --- tables -------------------------------------------------------------------------------------------------------


def _table(name: str, rows: tuple[UsageRow, ...], totals: UsageRow, question: Question, store: Path) -> Html:
    shown = [
        heading
        for heading in _NUMBERS
        if (heading != "no price" or totals.unknown_cost_calls)
        and (heading != "first chunk" or totals.ttft_p50_ms is not None)
    ]
    head = tag("tr", tag("th", name, scope="col"), *(tag("th", it, scope="col", class_="n") for it in shown))
    lines = [_line(name, row, shown, question) for row in rows[:_MOST_ROWS]]
    return tag(
        "section",
        tag(
            "h2",
            f"By {name}",
            *(() if name in _ALWAYS else (_choices(question),)),
            id="by" if name not in _ALWAYS else None,
        ),
        tag("div", tag("table", tag("thead", head), tag("tbody", *lines), data_by=name), class_="wide"),
        _more(name, len(rows) - _MOST_ROWS, question, store),
    )


def _choices(question: Question) -> Html:
    links = [
        tag(
            "a", name, href=question.address("/", by=name) + "#by", aria_current="true" if name == question.by else None
        )
        for name in TABLES
    ]
    return tag("span", *links, class_="choices")


def _line(name: str, row: UsageRow, shown: list[str], question: Question) -> Html:
    label = row.labels[name]
    cells: dict[str, tuple[object, ...]] = {
        "calls": (count(row.calls),),
        "errors": (count(row.errors), share(row.error_rate)),
        "tokens in": (count(row.input_tokens),),
        "tokens out": (count(row.output_tokens),),
        "cost": (money(row.cost_usd),),
        "no price": (count(row.unknown_cost_calls),),
        "hits": (count(row.cache_hits), share(row.cache_hit_rate)),
        "p50": (duration(row.latency_p50_ms),),
        "p95": (duration(row.latency_p95_ms),),
        "first chunk": (duration(row.ttft_p50_ms),),
    }
    named = NOTHING if label is None else tag("a", label, href=question.elsewhere("/calls", **{name: label}))
    numbers = (tag("td", *cells[heading], class_="n") for heading in shown)
    return tag("tr", tag("th", named, scope="row"), *numbers)


def _more(name: str, left: int, question: Question, store: Path) -> Html | None:
    if left <= 0:
        return None
    return tag("p", f"{left:,} more; all of them: ", command(_same_in_a_terminal(question, store, name)), class_="hint")


def _same_in_a_terminal(question: Question, store: Path, by: str | None = None) -> str:
    """The command that prints these numbers."""
    words = ["otel-llm", "usage", *(("--by", by) if by else ())]
    for name in SHARED:
        value = question.given.get(name)
        if value is None or (value == ALL and name not in FACTS):
            continue
        # What begins with a dash would be taken for an option of its own.
        words += [f"--{name}={value}"] if value.startswith("-") else [f"--{name}", value]
    return shlex.join([*words, "--store", str(store.absolute())])
