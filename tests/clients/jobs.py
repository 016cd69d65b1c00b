"""What the tests ask of the program that runs where the client libraries are; shared by both."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["FAMILIES", "TENANT", "Job"]

FAMILIES = ("OpenTelemetry", "OpenInference", "OpenLLMetry")
TENANT = "acme"


@dataclass(frozen=True)
class Job:
    """One process: what is instrumented by whom, and which recorded requests are made."""

    instrument: tuple[str, ...]
    exchanges: tuple[tuple[str, int], ...]
    """(name of the recording, number of the exchange in it)."""
    families: tuple[str, ...] = ()
    """The only ones that may record; all where empty. `FAMILY LIBRARY` means that one library."""
    through: str | None = None
    content: str = "on"
    tenant: str = TENANT
    prices: dict[str, Any] = field(default_factory=dict, hash=False)
    """What stands in `prices_file`; none where empty."""

    @classmethod
    def of(cls, raw: dict[str, Any]) -> Job:
        """A job as JSON has it."""
        lists = {name: tuple(raw[name]) for name in ("instrument", "families")}
        return cls(**{**raw, **lists, "exchanges": tuple((name, number) for name, number in raw["exchanges"])})
