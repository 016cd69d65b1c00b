"""What keeps a backend from taking spans, in one sentence for what is wrong and one for what to do."""

from __future__ import annotations

from dataclasses import dataclass

from otel_llm.contracts import CheckStatus, Finding, Rejected, Retry

__all__ = ["Refusal", "Trouble"]


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something in the way of a batch that says nothing against the batch: it is kept and sent again."""

    what: str
    """A full sentence: what failed and why most likely."""
    remedy: str
    """A full sentence: what to do."""
    reason: str = "unavailable"
    after: float | None = None
    needs_action: bool = False

    def outcome(self) -> Retry:
        """The answer of `Backend.send`."""
        return Retry(f"{self.what} {self.remedy}", self.reason, self.after, self.needs_action)

    def finding(self, check: str) -> Finding:
        """The answer of `Backend.check`."""
        return Finding(check, CheckStatus.FAILED, self.what, self.remedy)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The backend has read the batch and will never take it."""

    what: str
    reason: str = "invalid"

    def outcome(self) -> Rejected:
        """The answer of `Backend.send`."""
        return Rejected(self.what, self.reason)

    def finding(self, check: str) -> Finding:
        """The answer of `Backend.check`."""
        remedy = "Look at the server's log: it refuses even an empty request, so this is not about single spans."
        return Finding(check, CheckStatus.FAILED, self.what, remedy)
