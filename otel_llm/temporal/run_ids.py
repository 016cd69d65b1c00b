"""Ids of spans that begin in a workflow: the same ones whenever the history is run again.

A workflow's code runs once for real and any number of times in replay, on any worker. A span that lasts over several
workflow tasks is begun by each of them and ended by the last; what was sent meanwhile refers to it. So the ids are a
function of the run id and of how many were made before. The workflow's own random numbers are left alone: drawing from
them would change those of workflows that were already running when tracing was introduced.
"""

from __future__ import annotations

import hashlib
from typing import Final

from otel_llm.backends.opik.ids import uuid7_from

__all__ = ["RunIds"]

_SPAN_BYTES: Final = 8


class RunIds:
    """Makes the ids of one workflow run. `millis` are the Unix milliseconds that its trace ids carry."""

    def __init__(self, run_id: str, millis: int) -> None:
        self._run_id = run_id
        self._millis = millis
        self._made = 0

    def trace_id(self) -> int:
        """A UUIDv7 as a 128-bit number."""
        return int(uuid7_from(self._millis, self._digest()).replace("-", ""), 16)

    def span_id(self) -> int:
        """A 64-bit number other than zero."""
        return int.from_bytes(self._digest()[:_SPAN_BYTES], "big") or 1

    def _digest(self) -> bytes:
        self._made += 1
        return hashlib.sha256(f"otel_llm:{self._run_id}:{self._made}".encode()).digest()
