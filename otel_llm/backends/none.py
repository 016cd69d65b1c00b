"""The backend `none`: spans are recorded, counted and let go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_llm.contracts import CheckStatus, Delivered, Finding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from otel_llm.config import Config
    from otel_llm.contracts import Backend, Batch, Outcome

__all__ = ["NoneBackend", "create"]


def create(_config: Config) -> Backend:
    """The backend; there is nothing to configure."""
    return NoneBackend()


class NoneBackend:
    """Takes every batch and keeps none, without looking inside."""

    name = "none"

    def send(self, batch: Batch, *, timeout: float) -> Outcome:  # noqa: ARG002  (nothing takes time here)
        """Let the batch go."""
        return Delivered(batch.span_count)

    def check(self) -> Sequence[Finding]:
        """Say that nothing is kept, which may surprise."""
        return [Finding("none", CheckStatus.OK, "Spans are let go: the backend is `none`.")]

    def close(self) -> None:
        """Nothing to release."""
