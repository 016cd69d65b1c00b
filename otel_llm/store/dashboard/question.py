"""What a page is asked for, out of the query of its address, and addresses that ask for something else."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlencode

from otel_llm.store.call_pages import CallKey
from otel_llm.store.filters import FACTS, Filter
from otel_llm.store.moments import parse_moment

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = [
    "ALL",
    "SHARED",
    "TABLES",
    "BadQuestionError",
    "Question",
    "address",
    "read_question",
    "trace_address",
]

ALL: Final = "all"
"""The period without a beginning."""
TABLES: Final = ("provider", "user", "session", "operation", "service")
"""What the third table of the overview can be grouped by."""
SHARED: Final = ("since", "until", *FACTS)
"""Fields that the overview and the list of calls have in common."""
STATUSES: Final = {"error": True, "ok": False}
_LONGEST: Final = 1024
_MOST_FIELDS: Final = 32
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}")


class BadQuestionError(ValueError):
    """An address whose query cannot be answered; the message says why, and what could be asked instead."""


@dataclass(frozen=True, slots=True)
class Question:
    """One question to the store."""

    given: dict[str, str]
    """Name -> text, as it stands in the address; `since` is always there."""
    chosen: Filter
    failed: bool | None = None
    by: str = TABLES[0]
    before: CallKey | None = None
    span: str | None = None

    def address(self, path: str, **changes: str | None) -> str:
        """The address of this page, `path`, that asks the same, but for `changes`; None leaves a field out."""
        return address(path, {**self.given, **changes})

    def elsewhere(self, path: str, **changes: str | None) -> str:
        """The address of another page, about the same period and the same facts, but for `changes`."""
        shared = {name: value for name, value in self.given.items() if name in SHARED}
        return address(path, {**shared, **changes})


def address(path: str, fields: Mapping[str, str | None]) -> str:
    """`path` and the fields that are not None as an address on this server."""
    query = urlencode([(name, value) for name, value in fields.items() if value is not None], errors="backslashreplace")
    return f"{path}?{query}" if query else path


def trace_address(trace_id: str, span_id: str | None = None) -> str:
    """The address of a trace, and of one span in it."""
    return address(f"/trace/{quote(trace_id, safe='')}", {"span": span_id}) + ("#span" if span_id else "")


def read_question(query: str, allowed: Collection[str], *, since: str = ALL, now: datetime | None = None) -> Question:
    """The question in `query`, of the fields that a page has; `since` is the period when none is named.

    Raises `BadQuestionError`.
    """
    given = {"since": since, **_fields(query, {*allowed, "since"} if "since" in allowed else allowed)}
    if "trace" in given:
        given["trace"] = _hex(given, "trace", 32)
    moments = {name: _moment(given, name, now or datetime.now(timezone.utc)) for name in ("since", "until")}
    if moments["since"] and moments["until"] and moments["since"] >= moments["until"]:
        raise BadQuestionError(f"since {given['since']!r} is not before until {given['until']!r}. Swap them.")
    return Question(
        given,
        Filter(
            moments["since"],
            moments["until"],
            trace_id=given.get("trace"),
            **{name: given[name] for name in FACTS if name in given},
        ),
        failed=STATUSES[_one_of(given, "status", tuple(STATUSES))] if "status" in given else None,
        by=_one_of(given, "by", TABLES) if "by" in given else TABLES[0],
        before=_key(given["before"]) if "before" in given else None,
        span=_hex(given, "span", 16) if "span" in given else None,
    )


def _fields(query: str, allowed: Collection[str]) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError:
        raise BadQuestionError("The query of the address cannot be read. Follow a link instead.") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in allowed:
            near = difflib.get_close_matches(name[:64], allowed, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"This page knows {', '.join(sorted(allowed)) or 'none'}."
            raise BadQuestionError(f"There is no field {name[:64]!r}. {hint}")
        if name in found:
            raise BadQuestionError(f"The field {name!r} is given twice. Give it once.")
        if len(value) > _LONGEST:
            raise BadQuestionError(f"The field {name!r} is longer than {_LONGEST} characters, and no stored value is.")
        found[name] = value
    return found


def _moment(given: Mapping[str, str], name: str, now: datetime) -> datetime | None:
    value = given.get(name, ALL)
    if value == ALL:
        return None
    try:
        return parse_moment(value, now=now)
    except ValueError as error:
        raise BadQuestionError(f"{name}: {error}, or {ALL}.") from None


def _one_of(given: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    if given[name] not in choices:
        raise BadQuestionError(f"{name}: {given[name]!r} is none of {', '.join(choices)}.")
    return given[name]


def _hex(given: Mapping[str, str], name: str, digits: int) -> str:
    """An id as the store has it; as a UUID, which is how Opik shows ids of traces, it is the same one."""
    value = given[name].strip().lower().replace("-", "")
    if not re.fullmatch(f"[0-9a-f]{{{digits}}}", value):
        raise BadQuestionError(f"{name}: {given[name]!r} is no id of {digits} hex digits.")
    return value


def _key(value: str) -> CallKey:
    found = re.fullmatch(r"(\d{1,19})-(\d{1,19})", value, re.ASCII)
    if not found or max(map(int, found.groups())) >= 2**63:
        raise BadQuestionError(f"before: {value!r} is no place in the list of calls. Follow a link instead.")
    return CallKey(int(found[1]), int(found[2]))
