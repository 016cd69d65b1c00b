"""Counts, money and times in few characters, for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

__all__ = ["NOTHING", "TURNS_TEXT_AROUND", "human_count", "human_duration", "human_usd"]

NOTHING = "-"
"""What stands for a number that is not known."""
TURNS_TEXT_AROUND = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of writing: with one of them a name could be shown as another's."""


def human_count(count: int) -> str:
    """`950`, `12.3k`, `4.56M`: three digits of a count."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            decimals = max(0, 3 - len(str(count // size)))
            return f"{count / size:,.{decimals}f}{unit}"
    return str(count)


def human_usd(amount: Decimal | None) -> str:
    """`$12.34`, `$0.0123`: cents for dollars, three significant digits below one; `-` for unknown."""
    if amount is None:
        return NOTHING
    if amount >= 1 or amount == 0:
        return f"${amount:,.2f}"
    digits = max(2, 2 - amount.adjusted())
    return f"${amount:.{digits}f}"


def human_duration(milliseconds: float | None) -> str:
    """`850 ms`, `1.25 s`, `2 min 5 s`; `-` for none."""
    if milliseconds is None:
        return NOTHING
    if milliseconds < 10:
        return f"{milliseconds:.2g} ms"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.3g} s"
    return f"{milliseconds // 60_000:.0f} min {milliseconds % 60_000 / 1000:.0f} s"
