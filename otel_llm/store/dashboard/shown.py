"""How moments, counts, money and rates are shown: short, every digit for who points at them or parses."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from otel_llm.store.dashboard.html import Html, tag
from otel_llm.store.human import NOTHING, human_count, human_duration, human_usd
from otel_llm.store.money import decimal_text, usd

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["count", "duration", "moment", "moment_iso", "moment_text", "money", "nano_money", "share", "short"]

_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  (all of it is UTC)


def count(number: int | None) -> Html:
    """`12.3k`; every digit in `value`."""
    if number is None:
        return _nothing()
    return tag("data", human_count(number), value=number, title=f"{number:,}")


def money(amount: Decimal | None) -> Html:
    """`$0.0123`; the exact decimal number in `value`, `-` where the cost is not known."""
    if amount is None:
        return _nothing()
    return tag("data", human_usd(amount), value=decimal_text(amount), title=f"{decimal_text(amount)} USD")


def nano_money(nano: int | None) -> Html:
    """The same of whole nano-USD."""
    return money(None if nano is None else usd(nano))


def duration(milliseconds: float | None) -> Html:
    """`1.25 s`; milliseconds in `value`."""
    if milliseconds is None:
        return _nothing()
    return tag("data", human_duration(milliseconds), value=repr(milliseconds), title=f"{milliseconds:,.3f} ms")


def short(text: str, most: int = 200) -> str:
    """The beginning of a text that may be of any length."""
    return text if len(text) <= most else f"{text[:most]}..."


def share(part: float | None) -> Html | None:
    """`12.5 %` in small letters behind a number; nothing where there is none."""
    return tag("small", f" {part:.1%}") if part else None


def moment(nanoseconds: int, *, precise: bool = False) -> Html:
    """Unix nanoseconds as a UTC moment, to the second or the millisecond."""
    return tag("time", moment_text(nanoseconds, precise=precise), datetime=moment_iso(nanoseconds, precise=precise))


def moment_text(nanoseconds: int, *, precise: bool = False) -> str:
    """The same as text."""
    iso = moment_iso(nanoseconds, precise=precise)
    return f"{nanoseconds} ns" if iso is None else iso.replace("T", " ").removesuffix("Z")


def moment_iso(nanoseconds: int, *, precise: bool = False) -> str | None:
    """The same as `2026-11-01T08:30:00Z`; None beyond the years that Python knows."""
    try:
        found = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
    return found.isoformat(timespec="milliseconds" if precise else "seconds") + "Z"


def _nothing() -> Html:
    return tag("span", NOTHING, class_="none")
