"""The few types that rooms share: what a batch is, what a backend answers, what a check found.

Permanent and retryable are types here, not status codes at the call site: a backend's `send` answers
`Delivered`, `Retry` or `Rejected`, and whoever called it needs to know nothing about HTTP.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from opentelemetry.sdk.trace import ReadableSpan

__all__ = [
    "Backend",
    "Batch",
    "CheckStatus",
    "Delivered",
    "Finding",
    "Held",
    "Outcome",
    "Rejected",
    "Rejection",
    "Retry",
]


@dataclass(frozen=True, slots=True)
class Batch:
    """Spans on their way, already redacted and already bytes.

    `payload` is a serialised OTLP `ExportTraceServiceRequest` (protobuf, uncompressed), the one form that the
    spool, the Collector and every backend share. It is written once and never changed.
    """

    payload: bytes
    span_count: int
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    created_at: float = field(default_factory=time.time)
    """Unix seconds at which the batch was closed."""
    spans: tuple[ReadableSpan, ...] = field(default=(), compare=False, repr=False)
    """The same spans as objects, in order, where this process still has them and they are ordinary; else nothing.
    They spare a backend that wants another form than OTLP the reading of `payload`."""


class Rejection(NamedTuple):
    """One span that a backend will never take, and the backend's own words on it."""

    span_id: str
    """16 hex digits, or an empty string where the backend did not say which."""
    reason: str
    """Short and low in cardinality, fit for a counter's label: `invalid`, `too_large`, `too_old`."""
    detail: str = ""
    """What the server said; may be long, never holds a secret."""


class Retry(NamedTuple):
    """Not now: keep the batch and try again."""

    why: str
    """A full sentence: what failed, why most likely, what to do."""
    reason: str = "unavailable"
    """Short cause for counters and status: `refused`, `timeout`, `throttled`, `unauthorized`, `tls` ..."""
    after: float | None = None
    """Seconds the backend asked us to wait; None leaves it to the sender's back-off."""
    needs_action: bool = False
    """True when waiting alone will not help (wrong key, workspace, address): keep the data, retry slowly."""


class Held(NamedTuple):
    """Spans of a batch that one workspace of the backend does not take now, while others may take theirs."""

    workspace: str
    spans: tuple[int, ...]
    """Their positions, counted through the payload."""
    retry: Retry | None = None
    """What was answered for the workspace; None where it was not asked (see `Backend`)."""


class Delivered(NamedTuple):
    """The backend has answered for these spans: `accepted` are kept, `rejected` never will be, `held` come again."""

    accepted: int
    rejected: tuple[Rejection, ...] = ()
    held: tuple[Held, ...] = ()


class Rejected(NamedTuple):
    """Never: the batch as a whole is unacceptable (it can still be halved to find the bad span)."""

    why: str
    reason: str = "invalid"


Outcome: TypeAlias = "Delivered | Retry | Rejected"


class CheckStatus(str, Enum):
    """What a check found."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """One checked fact: what was looked at, what was seen, what to do about it."""

    check: str
    status: CheckStatus
    evidence: str
    remedy: str = ""


@runtime_checkable
class Backend(Protocol):
    """Somewhere that spans can go.

    Implementations are used by one thread at a time, never by the thread that made the LLM call. They never
    raise from `send`: whatever happens is an `Outcome`. One that has a method `prepare()` has it called by the thread
    that sets delivery up, to load there what sending takes; no thread of ours should have to import anything.

    One that has workspaces, some of which may be closed while others take spans, has a method
    `hold_back(workspaces)`. Whoever calls it before `send` has a place for what a closed workspace does not take, and
    gets such spans back in `Delivered.held`; those for the named workspaces without their being asked, for spans that
    came before are still waiting for them. Else the batch as a whole is a `Retry`.
    """

    name: str

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        """Hand `batch` over within `timeout` seconds, everything included."""
        ...

    def check(self) -> Sequence[Finding]:
        """Look whether the backend can be reached and would take spans, without sending any."""
        ...

    def close(self) -> None:
        """Release connections and files; afterwards `send` is not called again."""
        ...
