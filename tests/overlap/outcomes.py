"""What a case of the matrix is made of; shared by the tests and the program that they run elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MODELS", "MODES", "PER_MODE", "SHARED", "Case"]

MODES = ("plain", "streamed", "failed")
MODELS = {"plain": "openai/gpt-4o-mini", "streamed": "openai/gpt-4.1", "failed": "openai/o3-mini"}
"""One model per mode, so that a record of whatever shape says which call it is about."""
PER_MODE = 2
"""Calls per mode: one sync, one async."""
SHARED = "shared"


@dataclass(frozen=True)
class Case:
    """Which tools are active beside us, and how."""

    tools: tuple[str, ...]
    base: str = ""
    """Address of the provider on loopback."""
    layout: str = SHARED
    """`shared`: all on the program's global tracer provider; `separate`: the tools have one of their own."""
    ours_first: bool = True
    """Whether otel_llm begins before the tools do."""

    patience: float = 60.0
    """Seconds to wait for the tools' records."""
    ours: bool = True
    """Whether otel_llm is active at all; without it a case shows what the tools do on their own."""

    @property
    def shared(self) -> bool:
        """Whether tools and otel_llm are on one tracer provider."""
        return self.layout == SHARED
