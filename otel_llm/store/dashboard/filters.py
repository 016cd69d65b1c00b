"""The part of a page where one chooses what it is about: the period, and facts that calls have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_llm.store.dashboard.html import Html, tag
from otel_llm.store.dashboard.question import ALL, STATUSES, address
from otel_llm.store.filters import FACTS

if TYPE_CHECKING:
    from otel_llm.store.dashboard.question import Question

__all__ = ["call_form", "chips", "in_words", "periods"]

_PERIODS: Final = (
    ("1h", "last hour"),
    ("24h", "24 hours"),
    ("7d", "7 days"),
    ("30d", "30 days"),
    (ALL, "all"),
)
_NAMES: Final = dict(_PERIODS)
_INPUTS: Final = ("tenant", "model", "user")
"""Facts that have a field of their own in the form; the others are kept by it when a link has set them."""


def periods(path: str, question: Question) -> Html:
    """One link for each period."""
    now = question.given["since"] if "until" not in question.given else None
    return tag(
        "nav",
        *(
            tag(
                "a",
                words,
                href=question.address(path, since=since, until=None, before=None),
                aria_current="true" if since == now else None,
            )
            for since, words in _PERIODS
        ),
        class_="periods",
        aria_label="Period",
    )


def chips(path: str, question: Question) -> Html | None:
    """What is filtered by, each with a link that takes it away."""
    shown: list[str] = [name for name in (*FACTS, "status", "trace", "until") if name in question.given]
    if question.given["since"] not in _NAMES:
        shown.append("since")
    if not shown:
        return None
    made = [
        tag(
            "a",
            f"{name}: ",
            tag("b", question.given[name]),
            " \u00d7",
            href=question.address(path, before=None, **{name: ALL if name == "since" else None}),
            title="Take this filter away",
        )
        for name in shown
    ]
    return tag("p", *made, class_="chips")


def call_form(question: Question) -> Html:
    """The form of the list of calls; works without any script."""
    given = question.given
    kept = [
        tag("input", type="hidden", name=name, value=value)
        for name, value in given.items()
        if name not in {*_INPUTS, "status", "trace", "before"}
    ]
    fields = [_input(name, given.get(name), 512) for name in _INPUTS]
    status = given.get("status", "")
    options = [
        tag("option", words, value=value, selected=value == status)
        for value, words in (("", "any"), *((name, name) for name in STATUSES))
    ]
    return tag(
        "form",
        *kept,
        *fields,
        tag("label", "status ", tag("select", *options, name="status")),
        _input("trace", given.get("trace"), 36),
        tag("button", "Show", type="submit"),
        tag("a", "reset", href=address("/calls", {})),
        method="get",
        action="/calls",
    )


def _input(name: str, value: str | None, longest: int) -> Html:
    field = tag("input", name=name, value=value, maxlength=longest, autocomplete="off", spellcheck="false")
    return tag("label", f"{name} ", field)


def in_words(question: Question) -> str:
    """The period asked for, in the middle of a sentence."""
    given = question.given
    if "until" in given:
        return f"from {given['since']} until {given['until']}"
    if given["since"] == ALL:
        return "so far"
    name = _NAMES.get(given["since"], "")
    return f"in the {name if name.startswith('last') else 'last ' + name}" if name else f"since {given['since']}"
