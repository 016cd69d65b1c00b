"""Rows packed into requests: at most 1000 items and about 5 MB of JSON each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.backends.opik.feedback import SPAN_SCORES, TRACE_SCORES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from otel_llm.backends.opik.rows import Row

__all__ = ["MAX_BYTES", "MAX_ITEMS", "Parcel", "pack", "parted"]

MAX_ITEMS: Final = 1000
"""Opik's own limit."""
MAX_BYTES: Final = 5_000_000
"""Uncompressed. Opik takes more, proxies in between often do not; a single larger row goes alone."""


_LIST_NAMES: Final = {TRACE_SCORES: "scores", SPAN_SCORES: "scores"}
"""What the list in a request's body is called, where it is not called like its kind."""


class Parcel(NamedTuple):
    """Rows that go in one request, and its body."""

    rows: Sequence[Row]
    body: bytes


def pack(kind: str, rows: Sequence[Row], *, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> Iterator[Parcel]:
    """The rows in order, in requests within the limits; `kind` is `traces`, `spans` or one of scores.

    A request is written whole, and divided in the middle where it has become too large: writing each row by
    itself to know its size would cost twice as much, for the sake of the few that are.
    """
    for apart in (rows,) if kind == "spans" else _each_once(kind, rows):
        for begin in range(0, len(apart), max_items):
            yield from _fit(kind, apart[begin : begin + max_items], max_bytes)


def _each_once(kind: str, rows: Sequence[Row]) -> list[Sequence[Row]]:
    """The rows in lists, in none of which two would be one to Opik.

    It keeps one row of each id in a request, and a trace can have rows in several projects of a workspace. Of several
    scores of one name the last is to count: which one does is certain only where they come one after the other.
    """
    if len({row.id for row in rows}) == len(rows):
        return [rows]
    once: dict[tuple[str, str], Row] = {}
    again = [row for row in rows if once.setdefault(_identity(kind, row), row) is not row]
    return [list(once.values()), *(_each_once(kind, again) if again else ())]


def _identity(kind: str, row: Row) -> tuple[str, str]:
    return row.id, "" if kind == "traces" else str(row.body["name"])


def parted(kind: str, parcel: Parcel, bad_index: int | None) -> list[Parcel]:
    """Smaller requests with the same rows: the named one apart from the others, or two halves."""
    rows = parcel.rows
    if bad_index is not None and 0 <= bad_index < len(rows):
        parts = [rows[bad_index : bad_index + 1], [*rows[:bad_index], *rows[bad_index + 1 :]]]
    else:
        parts = _halves(rows)
    return [Parcel(part, _body(kind, part)) for part in parts]


def _fit(kind: str, rows: Sequence[Row], max_bytes: int) -> Iterator[Parcel]:
    body = _body(kind, rows)
    if len(body) <= max_bytes or len(rows) == 1:
        yield Parcel(rows, body)
        return
    for half in _halves(rows):
        yield from _fit(kind, half, max_bytes)


def _halves(rows: Sequence[Row]) -> list[Sequence[Row]]:
    middle = len(rows) // 2
    return [rows[:middle], rows[middle:]]


def _body(kind: str, rows: Sequence[Row]) -> bytes:
    """The request's JSON."""
    pieces = [b'{"%b":[' % _LIST_NAMES.get(kind, kind).encode()]
    for row in rows:
        pieces += (row.own, row.shared, b",")
    pieces[-1] = b"]}"
    return b"".join(pieces)
