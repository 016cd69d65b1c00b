"""Calls, newest first, page after page: a page begins where the last one ended, whatever was recorded meanwhile.

Pages are told by a key, not by a number of rows to skip: the ten-thousandth page takes no longer than the first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.store.calls import CALL_COLUMNS, CallRow, call_row
from otel_llm.store.db import snapshot
from otel_llm.store.filters import Filter

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from typing_extensions import Unpack

    from otel_llm.store.filters import Facts

__all__ = ["CallKey", "CallPage", "call_page", "call_page_sql", "calls", "errors"]


class CallKey(NamedTuple):
    """The place of a call in the order of calls."""

    start_ns: int
    id: int


@dataclass(frozen=True, slots=True)
class CallPage:
    """Some calls, newest first."""

    rows: tuple[CallRow, ...]
    next: CallKey | None
    """The key of the last of them, if older ones follow."""


_INDEXED: Final = "spans INDEXED BY spans_usage"
"""All that one can filter by stands in the usage index, but for the trace, which has one of its own. SQLite would take
the index of time alone, and fetch each row to look at it: a filter that nothing matches would read the whole file."""


def calls(
    store_path: Path,
    *,
    limit: int = 50,
    since: datetime | None = None,
    until: datetime | None = None,
    **facts: Unpack[Facts],
) -> list[CallRow]:
    """The newest `limit` logical calls, newest first, chosen as `usage` does; StoreError if they cannot be read."""
    return list(call_page(store_path, Filter(since, until, **facts), limit=limit).rows)


def errors(
    store_path: Path,
    *,
    limit: int = 50,
    since: datetime | None = None,
    until: datetime | None = None,
    **facts: Unpack[Facts],
) -> list[CallRow]:
    """The newest `limit` of them that failed, newest first; raises StoreError if the store cannot be read."""
    return list(call_page(store_path, Filter(since, until, **facts), failed=True, limit=limit).rows)


def call_page(
    path: Path,
    chosen: Filter,
    *,
    failed: bool | None = None,
    before: CallKey | None = None,
    limit: int = 50,
    seconds: float | None = None,
) -> CallPage:
    """The newest `limit` calls that `chosen` chooses, of those older than `before`; `failed` keeps one kind.

    Raises StoreError if the store cannot be read, or not within `seconds`.
    """
    sql = call_page_sql(chosen, failed=failed, before=before)
    values = {**chosen.values, "failed": failed, "limit": limit + 1}
    if before is not None:
        values |= {"at": before.start_ns, "id": before.id}
    with snapshot(path, seconds=seconds) as connection:
        found = connection.execute(sql, values).fetchall()
    keys = [CallKey(line["start_ns"], line["id"]) for line in found]
    rows = [call_row({name: line[name] for name in line.keys() if name != "id"}) for line in found[:limit]]  # noqa: SIM118
    return CallPage(tuple(rows), keys[limit - 1] if len(found) > limit else None)


def call_page_sql(chosen: Filter, *, failed: bool | None, before: CallKey | None) -> str:
    """The statement of `call_page`, whose plan the tests look at."""
    # With the plus the usage index does not fit, and the index of ids is left.
    spans, is_llm = (_INDEXED, "is_llm = 1") if chosen.trace_id is None else ("spans", "+is_llm = 1")
    conditions = [is_llm, "is_call = 1", chosen.sql]
    if failed is not None:
        conditions.append("is_error = :failed")
    if before is not None:
        conditions.append("start_ns <= :at AND (start_ns < :at OR id < :id)")
    # Built from our own names only. The join is in this order: first the keys of the page, then their rows.
    return (
        f"SELECT call.id, {CALL_COLUMNS} FROM"  # noqa: S608
        f" (SELECT id FROM {spans} WHERE {' AND '.join(conditions)} ORDER BY start_ns DESC, id DESC LIMIT :limit)"
        " AS chosen CROSS JOIN spans AS call ON call.id = chosen.id ORDER BY call.start_ns DESC, call.id DESC"
    )
