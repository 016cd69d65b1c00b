"""Which page answers which address; every answer is a page, whatever was asked and however the store is."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Final

from otel_llm.clock import monotonic
from otel_llm.errors import StoreError
from otel_llm.store.dashboard.calls_page import calls_page
from otel_llm.store.dashboard.html import tag
from otel_llm.store.dashboard.overview_page import overview_page
from otel_llm.store.dashboard.page import Page, command, trouble
from otel_llm.store.dashboard.question import ALL, SHARED, BadQuestionError, read_question
from otel_llm.store.dashboard.trace_page import trace_page

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Pages"]

_TRACE: Final = re.compile(r"/trace/([0-9a-f-]{32,36})", re.ASCII)
"""As hex digits or as the UUID that Opik shows, in small letters or not."""
_FILES: Final = {
    "/style.css": "text/css; charset=utf-8",
    "/refresh.js": "text/javascript; charset=utf-8",
    "/icon.svg": "image/svg+xml",
}
_REFRESH_SECONDS: Final = 5
_SHARE: Final = 10
"""A page that takes long is renewed more rarely: asking takes at most one tenth of the time."""
_DEFAULT_PERIOD: Final = "24h"


class Pages:
    """The pages about the store at `store`. Safe to use from several threads."""

    def __init__(self, store: Path, *, seconds: float) -> None:
        """A question that takes longer than `seconds` is given up."""
        self._store = store
        self._seconds = seconds
        self._took = 0.0

    def answer(self, path: str, query: str) -> Page:
        """The answer to a GET of `path` with `query`; raises nothing that has to do with what was asked."""
        if path in _FILES:
            return _file(path)
        try:
            return self._page(path, query)
        except BadQuestionError as error:
            return trouble(400, str(error), tag("a", "Go to the overview", href="/"), store=self._store)
        except StoreError as error:
            return trouble(503, str(error), *_advice(), store=self._store, refresh_seconds=_REFRESH_SECONDS)

    def _page(self, path: str, query: str) -> Page:
        began = monotonic()
        refresh = max(_REFRESH_SECONDS, int(_SHARE * self._took))
        if path == "/":
            question = read_question(query, (*SHARED, "by"), since=_DEFAULT_PERIOD)
            page = overview_page(self._store, question, seconds=self._seconds, refresh_seconds=refresh)
            self._took = monotonic() - began
            return page
        if path == "/calls":
            question = read_question(query, (*SHARED, "status", "trace", "before"), since=ALL)
            return calls_page(self._store, question, seconds=self._seconds, refresh_seconds=refresh)
        trace = _TRACE.fullmatch(path.lower())
        if trace is not None:
            return trace_page(
                self._store, trace[1].replace("-", ""), read_question(query, ("span",)), seconds=self._seconds
            )
        why = "This dashboard has an overview, a list of calls, and a page for each trace."
        return trouble(404, why, tag("a", "Go to the overview", href="/"), store=self._store)


def _file(path: str) -> Page:
    found = resources.files("otel_llm.store.dashboard").joinpath(path.removeprefix("/"))
    return Page(200, found.read_bytes(), _FILES[path])


def _advice() -> tuple[object, ...]:
    return (
        tag("span", "For something to look at: ", command("otel-llm demo"), ", then load this page again."),
        tag("span", command("otel-llm config show"), " says which store a program writes to, and why."),
        tag("span", command("otel-llm doctor --backend local"), " examines that store."),
    )
