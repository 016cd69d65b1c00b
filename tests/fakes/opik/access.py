"""Who may in, and how often: API keys, workspaces and rate limits (opik.md sections 1.3 and 3.7)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.fakes.opik.answers import Refusal, coded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from email.message import Message

__all__ = ["DEFAULT_WORKSPACE", "Caller", "Limit", "RateLimits", "admit"]

DEFAULT_WORKSPACE = "default"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request and where it works."""

    workspace: str
    user: str = "admin"
    api_key: str = ""
    is_stranger: bool = False
    """No valid key: may only look at what is public, which here is nothing."""


def admit(headers: Message[str, str], keys: Mapping[str, tuple[str, ...]] | None, *, public: bool) -> Caller:
    """The caller of a private route, or a `Refusal` with Opik's own words.

    `keys` maps an API key to its workspaces, the user's default one first; None stands for an installation without
    authentication, which knows the workspace `default` and no other. `public` marks routes that Opik answers to
    strangers too.
    """
    workspace = headers.get("Comet-Workspace", "")
    if keys is None:
        if workspace not in {"", DEFAULT_WORKSPACE}:
            raise Refusal(coded(404, "Workspace not found"))
        return Caller(DEFAULT_WORKSPACE)
    try:
        return _admit_by_key(headers.get("Authorization", ""), workspace, keys)
    except Refusal:
        if not public:
            raise
        return Caller(workspace or DEFAULT_WORKSPACE, is_stranger=True)


def _admit_by_key(key: str, workspace: str, keys: Mapping[str, tuple[str, ...]]) -> Caller:
    if not workspace:
        raise Refusal(coded(403, "Workspace name should be provided"))
    if not key:
        raise Refusal(coded(401, "API key should be provided"))
    if key not in keys:  # also a key behind `Bearer `: the header is the bare key
        raise Refusal(coded(401, "User not found"))
    if workspace == DEFAULT_WORKSPACE:
        workspace = keys[key][0]
    if workspace not in keys[key]:
        raise Refusal(coded(403, "User not allowed to access workspace"))
    return Caller(workspace, user="user", api_key=key)


@dataclass(frozen=True, slots=True)
class Limit:
    """So many events per so many seconds."""

    events: int
    seconds: float = 60.0


class RateLimits:
    """Opik's two general buckets: per API key and per workspace. A batch counts as its items."""

    def __init__(self, *, user: Limit | None = None, workspace: Limit | None = None) -> None:
        self._limits = {"User": user, "Workspace": workspace}
        self._spent: dict[tuple[str, str], tuple[float, int]] = {}
        """(bucket, owner) -> (monotonic end of the period, events left)."""

    def spend(self, caller: Caller, events: int) -> dict[str, str]:
        """Take `events` from every bucket, or refuse with 429 and take none; returns the headers that tell."""
        buckets = {(name, _owner(name, caller)): limit for name, limit in self._limits.items() if limit is not None}
        states = {key: self._state(key, limit) for key, limit in buckets.items()}
        short = [end for end, left in states.values() if left < events]
        if not short:
            states = {key: (end, left - events) for key, (end, left) in states.items()}
        self._spent |= states
        headers: dict[str, str] = {}
        for (name, _), (end, left) in states.items():
            headers |= _limit_headers(name, end, left)
        if short:
            wait = max(int(max(short) - time.monotonic()), 1)
            refused = coded(429, "Too Many Requests: You have exceeded the rate limit")
            raise Refusal(refused.with_headers({**headers, "RateLimit-Reset": str(wait)}))
        return headers

    def _state(self, key: tuple[str, str], limit: Limit) -> tuple[float, int]:
        end, left = self._spent.get(key, (0.0, 0))
        if end <= time.monotonic():
            return time.monotonic() + limit.seconds, limit.events
        return end, left


def _owner(bucket: str, caller: Caller) -> str:
    return caller.api_key if bucket == "User" else caller.workspace


def _limit_headers(name: str, end: float, left: int) -> dict[str, str]:
    return {
        f"Opik-{name}-Limit": "general_events" if name == "User" else "workspace_events",
        f"Opik-{name}-Remaining-Limit": str(left),
        f"Opik-{name}-Remaining-Limit-TTL-Millis": str(max(int((end - time.monotonic()) * 1000), 0)),
    }
