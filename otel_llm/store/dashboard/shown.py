"""How moments, counts, money and rates are shown: short, every digit for who points at them or parses."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Final

from otel_llm.store.dashboard.html import Html, tag
from otel_llm.store.human import NOTHING, human_count, human_duration, human_usd
from otel_llm.store.money import decimal_text, usd

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["count", "duration", "moment", "moment_text", "money", "nano_money", "share", "short"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)


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
    shown = moment_text(nanoseconds, precise=precise)
    return tag("time", shown, datetime=shown.replace(" ", "T") + "Z" if shown[:1].isdigit() else None)


def moment_text(nanoseconds: int, *, precise: bool = False) -> str:
    """The same as text."""
    try:
        found = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return f"{nanoseconds} ns"
    return found.strftime("%Y-%m-%d %H:%M:%S") + (f".{found.microsecond // 1000:03d}" if precise else "")


def _nothing() -> Html:
    return tag("span", NOTHING, class_="none")
