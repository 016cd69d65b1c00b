"""An answer, and what all pages have in common: head, navigation, and the page that says what went wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from otel_llm.store.dashboard.html import Html, document, tag

if TYPE_CHECKING:
    from pathlib import Path

    from otel_llm.store.dashboard.question import Question

__all__ = ["Page", "command", "framed", "trouble"]

_HTML: Final = "text/html; charset=utf-8"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
_TITLES: Final = {400: "This cannot be answered", 403: "Not without the key", 404: "There is no such page"}


@dataclass(frozen=True, slots=True)
class Page:
    """An answer to one request."""

    status: int
    body: bytes
    content_type: str = _HTML
    extra: tuple[tuple[str, str], ...] = ()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """Nobody keeps it, frames it, reads it as something else, or is told where a reader came from."""
        return [
            ("Content-Type", self.content_type),
            ("Content-Length", str(len(self.body))),
            ("Content-Security-Policy", _POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
            *self.extra,
        ]


def framed(
    title: str,
    *content: object,
    store: Path | None = None,
    question: Question | None = None,
    here: str | None = None,
    status: int = 200,
    refresh_seconds: int | None = None,
) -> Page:
    """A whole page; `here` is the path of the navigation that it belongs to, and `question` what its links keep."""
    links = [
        tag(
            "a",
            name,
            href=question.elsewhere(path) if question else path,
            aria_current="page" if path == here else None,
        )
        for path, name in (("/", "Overview"), ("/calls", "Calls"))
    ]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{title} - otel_llm"),
        tag("link", rel="icon", href="/icon.svg"),
        tag("link", rel="stylesheet", href="/style.css"),
        tag("script", src="/refresh.js", defer=True),
    )
    live = tag("button", "live", id="live", type="button", hidden=True, title="Stop or go on renewing this page")
    body = tag(
        "body",
        tag("header", tag("strong", "otel_llm"), tag("nav", *links) if store else None, live),
        tag("main", *content, data_refresh=refresh_seconds),
        tag("footer", "Store ", tag("code", store), ". All times are UTC.") if store else None,
    )
    return Page(status, document(tag("html", head, body, lang="en")))


def trouble(
    status: int,
    why: str,
    *advice: object,
    store: Path | None = None,
    title: str | None = None,
    refresh_seconds: int | None = None,
) -> Page:
    """A page that says what failed and why, and what to do about it."""
    heading = title or _TITLES.get(status, "The store cannot be shown")
    return framed(
        heading,
        tag(
            "section",
            tag("h1", heading),
            tag("p", why),
            tag("h2", "What to do") if advice else None,
            tag("ul", *(tag("li", line) for line in advice)) if advice else None,
            class_="trouble",
        ),
        store=store,
        status=status,
        refresh_seconds=refresh_seconds,
    )


def command(words: str) -> Html:
    """A command as one types it."""
    return tag("code", words)
