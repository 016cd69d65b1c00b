"""Money as whole nano-USD, so that a million additions do not drift.

A span says its cost as a double, because that is what others read. The store keeps the nearest whole
nano-USD (1e-9 USD) of the decimal number that the double prints as: 0.1 is 100,000,000, and 0.1 + 0.2 is 0.3.
"""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal

__all__ = ["decimal_text", "nano_usd", "usd"]

_NANO_PER_USD = Decimal(1_000_000_000)
_LARGEST_USD = 1_000_000.0
"""No single call costs more; beyond it the number is damage, and SQLite's 64-bit sums could overflow."""


def nano_usd(amount: object) -> int | None:
    """`amount` USD (int or float) in whole nano-USD, rounded half to even.

    None for what is not an amount of money: another type, NaN, infinity, a negative or an absurd number.
    """
    if isinstance(amount, bool) or not isinstance(amount, (int, float)):
        return None
    if not math.isfinite(amount) or not 0 <= amount <= _LARGEST_USD:
        return None
    return int((Decimal(repr(float(amount))) * _NANO_PER_USD).to_integral_value(ROUND_HALF_EVEN))


def usd(nano: int) -> Decimal:
    """Whole nano-USD as exact USD."""
    return Decimal(nano).scaleb(-9)


def decimal_text(amount: Decimal) -> str:
    """All digits of `amount`, none invented, no exponent: `0.3`, `12`, `0.000000015`."""
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
