"""Faults of the recorder that are known and not yet mended: a case shows the fault, and fails once it is gone.

Empty is how this table should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.recordings.recordings import Exchange

__all__ = ["FAULTS", "Fault", "fault_in"]


@dataclass(frozen=True)
class Fault:
    """Something that the recorder could say right and does not."""

    feature: str
    """As `compare` names it."""
    why: str
    applies: Callable[[Exchange], bool]


FAULTS: tuple[Fault, ...] = ()


def fault_in(exchange: Exchange, feature: str) -> str | None:
    """The known fault of this feature in this case, if there is one."""
    return next((fault.why for fault in FAULTS if fault.feature == feature and fault.applies(exchange)), None)
