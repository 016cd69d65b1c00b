"""Runs checks one after the other and gives each its time; a check that hangs is left behind, not waited for."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from otel_llm.clock import monotonic
from otel_llm.contracts import CheckStatus, Finding
from otel_llm.errors import OtelLlmError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = ["Examination", "failed", "ok", "skipped", "warning"]


_SWALLOWED: Final = "Something swallows requests without an answer: a firewall, a proxy or an overloaded server."
_SLOW: Final = "This machine is overloaded, or its disk hangs; on a slow machine give it longer with --timeout."


class Examination:
    """What was found so far, and the end (`seconds` from now) that no check may outlast."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = monotonic() + seconds
        self._reserved = 0.0
        self.findings: list[Finding] = []

    @property
    def left(self) -> float:
        """Seconds that are left for now."""
        return max(0.0, self._end - self._reserved - monotonic())

    @contextmanager
    def reserving(self, share: float) -> Iterator[None]:
        """In the block, leave this share of the whole time to what comes after it."""
        self._reserved = self._seconds * share
        try:
            yield
        finally:
            self._reserved = 0.0

    def time_for(self, share: float) -> float:
        """Seconds that a step may take which has this share of the whole time."""
        return min(self._seconds * share, self.left)

    def look(
        self, name: str, check: Callable[[], Iterable[Finding]], *, share: float = 1.0, local: bool = False
    ) -> bool:
        """Run `check` for its share of the time; whether none of its findings is a failure.

        A check that takes longer goes on in a daemon thread, and what it would have found is not waited for. One
        that is `local` asks no network.
        """
        found = self._run(name, check, self.time_for(share), _SLOW if local else _SWALLOWED)
        self.findings += found
        return all(finding.status is not CheckStatus.FAILED for finding in found)

    def skip(self, name: str, because: str) -> None:
        """Note a check that was not made."""
        self.findings.append(skipped(name, because))

    def _run(self, name: str, check: Callable[[], Iterable[Finding]], seconds: float, why_late: str) -> list[Finding]:
        found: list[Finding] = []
        worker = threading.Thread(
            target=lambda: found.extend(_results(name, check)), name=f"doctor {name}", daemon=True
        )
        worker.start()
        worker.join(seconds)
        if worker.is_alive():
            return [failed(name, f"No result after {seconds:.0f} s.", why_late)]
        return found


def _results(name: str, check: Callable[[], Iterable[Finding]]) -> list[Finding]:
    try:
        return list(check())
    except OtelLlmError as error:
        return [failed(name, str(error), "Do what the message says; docs/troubleshooting.md says more.")]
    except Exception as error:  # noqa: BLE001  (a doctor that falls over helps nobody)
        remedy = "This is a fault of otel_llm: please report it with this line."
        return [failed(name, f"The check itself failed ({type(error).__name__}: {error}).", remedy)]


def ok(check: str, evidence: str) -> Finding:
    """All is well."""
    return Finding(check, CheckStatus.OK, evidence)


def warning(check: str, evidence: str, remedy: str) -> Finding:
    """It works, and something about it is not as it should be."""
    return Finding(check, CheckStatus.WARNING, evidence, remedy)


def failed(check: str, evidence: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(check, CheckStatus.FAILED, evidence, remedy)


def skipped(check: str, because: str) -> Finding:
    """It was not looked at."""
    return Finding(check, CheckStatus.SKIPPED, f"Not looked at: {because}.")
