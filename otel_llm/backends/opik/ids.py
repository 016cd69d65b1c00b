"""Opik ids from OpenTelemetry ids: pure functions, so every process and every route agrees on them.

Opik takes UUIDv7 only (RFC 9562 section 5.7: 48 bits of Unix milliseconds, version, variant, 74 more bits).
Three cases:

* Our own traces: the OTel trace id already is a UUIDv7 and is used as it stands.
* Foreign traces (an ordinary random trace id): the 74 bits come from SHA-256 of the trace id, the milliseconds from
  the `tracestate` entry `otelllm=t:<hex>`, or without one from the span's start, rounded down to `FOREIGN_STEP_MS`.
* Spans: the milliseconds of the trace's Opik id, and SHA-256 of trace id and span id.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import time
from typing import Final, NamedTuple

from opentelemetry.sdk.trace.id_generator import IdGenerator

from otel_llm.context import id_source

__all__ = [
    "FOREIGN_STEP_MS",
    "TRACESTATE_KEY",
    "Stamp",
    "Uuid7IdGenerator",
    "foreign_millis",
    "is_own",
    "opik_span_id",
    "opik_trace_id",
    "own_millis",
    "own_trace_id",
    "read_stamp",
    "uuid7_from",
    "uuid7_or_none",
    "uuid_millis",
    "uuid_text",
    "write_stamp",
]

TRACESTATE_KEY: Final = "otelllm"
"""Key of our entry in the W3C `tracestate`."""

FOREIGN_STEP_MS: Final = 1 << 16
"""65.536 s. Processes that each see a foreign trace for the first time agree on its time if they do so in one step."""

PLAUSIBLE_MS: Final = 45 * 24 * 3600 * 1000
"""A trace id counts as our UUIDv7 only if its time lies this near to the span's start (Opik's widest id window)."""

_UUID7: Final = re.compile("[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")
_MILLIS_BITS: Final = 48
_TAIL_BYTES: Final = 10
_VARIANT: Final = {f"{digit:x}": f"{digit & 0b11 | 0b1000:x}" for digit in range(16)}
"""Hexadecimal digit -> the same with its upper bits replaced by the variant's 10."""


class Stamp(NamedTuple):
    """What our `tracestate` entry says about a foreign trace."""

    millis: int
    """Unix milliseconds that the trace's Opik id carries."""
    foreign_parent: str = ""
    """16 hex digits: the last span before ours, which Opik will never see; empty if there is none."""


class _Entropy:
    """Random numbers from the operating system, fetched for many ids at once.

    `os.urandom` lets go of the interpreter's lock. Called for each span on the program's thread, it hands that lock to
    a courier that is busy, and the program waits its turn: milliseconds, for ten bytes.
    """

    _AT_ONCE: Final = 256

    def __init__(self) -> None:
        self._owner = 0
        self._numbers: list[int] = []

    def take(self) -> int:
        """64 bits that nobody else gets; safe to call from any thread."""
        owner = os.getpid()
        if owner != self._owner:  # the parent's are the parent's
            self._numbers, self._owner = [], owner
        numbers = self._numbers
        try:
            return numbers.pop()
        except IndexError:
            first, *others = struct.unpack(f"{self._AT_ONCE}Q", os.urandom(8 * self._AT_ONCE))
        numbers += others
        return int(first)


_entropy: Final = _Entropy()
_VERSION_7: Final = 0x7 << 76
_VARIANT_10: Final = 0b10 << 62
_VERSION_AND_VARIANT: Final = 0xF << 76 | 0b11 << 62
_UPPER_RANDOM: Final = (1 << 12) - 1
_LOWER_RANDOM: Final = (1 << 62) - 1


class Uuid7IdGenerator(IdGenerator):
    """Makes trace ids that are UUIDv7, and random span ids; every bit comes from the operating system.

    A forked child never repeats its parent's ids. The 62 bits after the variant are random, so what samples by the
    last 56 does so as it should. The SDK's `TraceIdRatioBased` reads the last 64, the variant's fixed two among them,
    and is helped by `TraceTimeSampler`. Where the context names a source of ids (in a workflow, which is replayed and
    must then make the same ones), they come from there.
    """

    def generate_trace_id(self) -> int:
        """A 128-bit UUIDv7 of this millisecond."""
        source = id_source()
        if source is not None:
            return source.trace_id()
        upper, lower = _entropy.take() & _UPPER_RANDOM, _entropy.take() & _LOWER_RANDOM
        return time.time_ns() // 1_000_000 << 80 | _VERSION_7 | upper << 64 | _VARIANT_10 | lower

    def generate_span_id(self) -> int:
        """A random 64-bit number other than zero."""
        source = id_source()
        if source is not None:
            return source.span_id()
        return _entropy.take() or self.generate_span_id()

    def is_trace_id_random(self) -> bool:
        """True: the rightmost 7 bytes are random, which is what W3C's random flag promises."""
        return True


def uuid7_from(millis: int, tail: bytes) -> str:
    """The UUIDv7 text of Unix milliseconds (48 bits) and the first ten bytes of `tail`."""
    return uuid_text(_uuid7_bytes(millis, tail))


def uuid_millis(uuid: str) -> int:
    """The Unix milliseconds that a UUIDv7 text carries."""
    return int(uuid[0:8] + uuid[9:13], 16)


def uuid7_or_none(value: object) -> str | None:
    """`value` in lower case if it is the text of a UUIDv7, else None."""
    if isinstance(value, str) and _UUID7.fullmatch(value):
        return value.lower()
    return None


def own_millis(trace_id: bytes, start_ns: int) -> int | None:
    """Milliseconds in a trace id that is itself a UUIDv7 with a plausible time; None for a foreign trace id.

    Plausible means within 45 days of the span's start, so a random id passes with a chance of 3 in ten million.
    """
    if len(trace_id) != 16:
        return None
    number = int.from_bytes(trace_id, "big")
    return number >> 80 if is_own(number, start_ns) else None


def is_own(trace_id: int, start_ns: int) -> bool:
    """Whether a trace id, given as a number, is itself a UUIDv7 with a plausible time (`own_millis`)."""
    if trace_id & _VERSION_AND_VARIANT != _VERSION_7 | _VARIANT_10:
        return False
    return abs((trace_id >> 80) - start_ns // 1_000_000) <= PLAUSIBLE_MS


def own_trace_id(trace_id: bytes, start_ns: int) -> str | None:
    """The trace id itself as UUID text, if it is our UUIDv7; None for a foreign one."""
    return None if own_millis(trace_id, start_ns) is None else uuid_text(trace_id)


def foreign_millis(trace_state: str, start_ns: int) -> int:
    """Milliseconds for a foreign trace: from our `tracestate` entry, else the step in which the span started."""
    stamp = read_stamp(trace_state)
    if stamp is not None:
        return stamp.millis
    millis = start_ns // 1_000_000
    return (millis - millis % FOREIGN_STEP_MS) & ((1 << _MILLIS_BITS) - 1)


def opik_trace_id(trace_id: bytes, trace_state: str = "", start_ns: int = 0, known_millis: int | None = None) -> str:
    """The Opik trace id (UUIDv7 text) of an OTel trace.

    `trace_id` are the 16 raw bytes, `trace_state` the W3C header's value, `start_ns` the start of any span of the
    trace in Unix nanoseconds. `known_millis` is the time that was settled on for this foreign trace earlier.
    """
    own = own_trace_id(trace_id, start_ns)
    if own is not None:
        return own
    millis = foreign_millis(trace_state, start_ns) if known_millis is None else known_millis
    return uuid7_from(millis, hashlib.sha256(trace_id).digest())


def opik_span_id(opik_trace: str, trace_id: bytes, span_id: bytes) -> str:
    """The Opik span id (UUIDv7 text) of an OTel span: the trace's millisecond, and a hash of both OTel ids."""
    digits = hashlib.sha256(trace_id + span_id).hexdigest()
    return f"{opik_trace[:13]}-7{digits[1:4]}-{_VARIANT[digits[4]]}{digits[5:8]}-{digits[8:20]}"


def read_stamp(trace_state: str) -> Stamp | None:
    """Our entry in a `tracestate` value; None where there is none or it is malformed."""
    if TRACESTATE_KEY not in trace_state:
        return None
    for entry in trace_state.split(","):
        key, _, value = entry.strip().partition("=")
        if key == TRACESTATE_KEY:
            return _parse_stamp(value)
    return None


def write_stamp(stamp: Stamp) -> str:
    """The value of our `tracestate` entry."""
    time_part = f"t:{stamp.millis:x}"
    return f"{time_part};p:{stamp.foreign_parent}" if stamp.foreign_parent else time_part


def _parse_stamp(value: str) -> Stamp | None:
    fields = dict(part.partition(":")[::2] for part in value.split(";"))
    try:
        millis = int(fields.get("t", ""), 16)
    except ValueError:
        return None
    return Stamp(millis, fields.get("p", "")) if 0 < millis < 1 << _MILLIS_BITS else None


def _uuid7_bytes(millis: int, tail: bytes) -> bytes:
    return millis.to_bytes(6, "big") + _with_version(tail)


def _with_version(tail: bytes) -> bytes:
    """Ten bytes of `tail` with version 7 and variant 10 put in their places."""
    return bytes((0x70 | tail[0] & 0x0F, tail[1], 0x80 | tail[2] & 0x3F)) + tail[3:_TAIL_BYTES]


def uuid_text(raw: bytes) -> str:
    """16 bytes as the text of a UUID."""
    digits = raw.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
