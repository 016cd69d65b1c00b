"""The demo checks itself: is what was recorded what was called?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otel_llm.cli.demo.workload import Played
    from otel_llm.store.queries import CallRow

__all__ = ["differences"]


def differences(played: Sequence[Played], rows: Sequence[CallRow]) -> list[str]:
    """One sentence for each fact in which the recorded `rows` differ from what was `played`; empty if none."""
    found = []
    for one in played:
        recorded = [row for row in rows if row.session == one.session]
        found += [
            f"{one.scene.title}: {expected} {what} expected, {seen} recorded"
            for what, expected, seen in _facts(one, recorded)
            if expected != seen
        ]
    return found


def _facts(one: Played, recorded: Sequence[CallRow]) -> list[tuple[str, object, object]]:
    """What to compare of one scene: its name, what was called, what was recorded."""
    scene = one.scene
    facts: list[tuple[str, object, object]] = [("calls", scene.calls, len(recorded))]
    if not recorded:
        return facts  # the rest would only say the same in other words
    facts += [
        ("errors", scene.errors, sum(row.is_error for row in recorded)),
        ("cache hits", scene.cache_hits, sum(row.cache_hit is True for row in recorded)),
        ("as tenant", scene.tenant, _all_of(row.tenant for row in recorded)),
        ("as user", scene.user, _all_of(row.user for row in recorded)),
    ]
    usage = one.usage
    if usage is not None and not scene.broken_off:
        # An answer from the response cache may repeat the usage of the first one; the provider charged it once.
        asked = [row for row in recorded if not row.cache_hit]
        facts += [
            ("input tokens", usage.input_tokens, sum(row.input_tokens or 0 for row in asked)),
            ("output tokens", usage.output_tokens, sum(row.output_tokens or 0 for row in asked)),
            ("cached tokens", usage.cache_read_tokens, sum(row.cache_read_tokens or 0 for row in asked)),
        ]
    return facts


def _all_of(names: Iterable[str | None]) -> str:
    """The one name that all agree on, or every name that occurs."""
    return ", ".join(sorted({name or "none" for name in names}))
