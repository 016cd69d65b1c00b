"""Moments as people write them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

__all__ = ["MOMENT_EXAMPLES", "parse_moment"]

MOMENT_EXAMPLES = "24h, 7d, 2026-11-01 or 2026-11-01T08:30:00+01:00"
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_moment(text: str, *, now: datetime | None = None) -> datetime:
    """The UTC moment that a person means: `24h`, `7d` (back from `now`), a date (its midnight), an ISO moment.

    What names no zone is UTC, as the days of the usage table are. Raises ValueError with examples.
    """
    back = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    try:
        if back:
            return (now or datetime.now(timezone.utc)) - timedelta(**{_UNITS[back[2]]: int(back[1])})
        # Python 3.10's fromisoformat does not know the Z.
        moment = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text.strip()))
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a moment; write for example {MOMENT_EXAMPLES}") from None
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment.astimezone(timezone.utc)
