"""Words of others made fit for a log, a page and SQLite, none of which hold half a character."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_llm.contracts import Delivered

if TYPE_CHECKING:
    from otel_llm.contracts import Held, Outcome, Rejection

__all__ = ["legible", "whole"]


def whole(words: str) -> str:
    """`words` without the halves of characters that JSON can carry and UTF-8 cannot: a server cut an emoji in two."""
    return words if words.isascii() else words.encode("utf-8", "replace").decode()


def legible(outcome: Outcome) -> Outcome:
    """`outcome` with whole characters only."""
    if isinstance(outcome, Delivered):
        if outcome.held:
            outcome = outcome._replace(held=tuple(map(_legible_held, outcome.held)))
        return outcome._replace(rejected=tuple(map(_legible, outcome.rejected))) if outcome.rejected else outcome
    return outcome._replace(why=whole(outcome.why), reason=whole(outcome.reason))


def _legible_held(held: Held) -> Held:
    retry = held.retry
    return held if retry is None else held._replace(retry=retry._replace(why=whole(retry.why)))


def _legible(rejection: Rejection) -> Rejection:
    return rejection._replace(reason=whole(rejection.reason), detail=whole(rejection.detail))
