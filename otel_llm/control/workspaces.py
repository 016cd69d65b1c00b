"""Workspaces of a backend that take nothing now while others do: what the state says of them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from otel_llm.delivery.spool_types import Parked

__all__ = ["WorkspaceStatus", "all_are_closed", "closed", "closed_in_words", "workspace_statuses"]

_MOST_NAMED: Final = 3


class WorkspaceStatus(NamedTuple):
    """What waits for one workspace apart from what waits for the others. Moments are Unix seconds."""

    workspace: str
    waiting: int
    """Spans; they are among the backend's."""
    oldest_waiting: float | None
    cause: str | None
    """Why it takes nothing, and what to do; None while it takes what waited."""
    since: float | None
    """When it was closed; None while it takes what waited."""


def workspace_statuses(parked: Iterable[Parked]) -> tuple[WorkspaceStatus, ...]:
    """The same for everybody to read."""
    return tuple(
        WorkspaceStatus(
            each.workspace,
            each.waiting,
            each.oldest_waiting,
            each.failure.why if each.failure is not None else None,
            each.failure.since if each.failure is not None else None,
        )
        for each in parked
    )


def closed(parked: Iterable[Parked], begun: float) -> list[Parked]:
    """Those that did not take what they were sent since the program began: what was before it proves nothing."""
    return [each for each in parked if each.failure is not None and each.failure.at >= begun]


def all_are_closed(shut: Sequence[Parked], last_delivery: float | None, configured: str) -> bool:
    """Whether nothing arrives, as far as can be told.

    So it is if nothing was taken since the latest one was closed, and one of them is the `configured` workspace, or
    the key itself is refused. A tenant's alone proves nothing: the others may just have nothing to take.
    """
    failures = {each.workspace: each.failure for each in shut if each.failure is not None}
    if not failures or (last_delivery or 0.0) >= max(failure.since for failure in failures.values()):
        return False
    return configured in failures or any(failure.reason == "unauthorized" for failure in failures.values())


def closed_in_words(shut: Sequence[Parked]) -> str:
    """Which ones, since when, what waits, and why; empty for none."""
    said = [_in_words(each) for each in shut[:_MOST_NAMED]]
    if len(shut) > _MOST_NAMED:
        others = sum(each.waiting for each in shut[_MOST_NAMED:])
        said.append(f"So it is with {len(shut) - _MOST_NAMED} more, for which {others} spans wait.")
    return " ".join(said)


def _in_words(parked: Parked) -> str:
    assert parked.failure is not None, "only closed ones are spoken of"
    moment = datetime.fromtimestamp(parked.failure.since, timezone.utc).isoformat(timespec="seconds")
    waits = f"{parked.waiting} spans wait for it"
    return f"Workspace {parked.workspace!r} takes nothing since {moment}, {waits}: {parked.failure.why}"
