"""Calls, errors, tokens, money and time to first chunk, added up in memory for `/metrics`.

The counting rules are those of the local store: calls, errors, cache hits and time to first chunk over logical calls;
tokens and money over every span of a model operation that carries them, attempts included. Tokens are those that were
billed: an answer out of the response cache has none.

Tenants and models come from outside, so both are bounded (`LabelBounds`); the rest is counted under `other`.
"""

from __future__ import annotations

import os
import threading
import weakref
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.trace import StatusCode

from otel_llm import semconv
from otel_llm.processors.label_bounds import OTHER, LabelBounds
from otel_llm.processors.measures import is_unpriced

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otel_llm.processors.draft import SpanDraft

__all__ = ["FIRST_CHUNK_BOUNDS", "OTHER", "Tally", "TallyReport", "Usage"]

MOST_ERROR_TYPES: Final = 50
NO_MODEL: Final = "unknown"
_LONGEST_LABEL: Final = 200
_SAID: Final = (semconv.TENANT_ID, semconv.REQUEST_MODEL, semconv.RESPONSE_MODEL)
_MOST_REMEMBERED: Final = 4096
_INFINITE: Final = float("inf")

FIRST_CHUNK_BOUNDS: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2)
"""Upper bounds in seconds."""


@dataclass(slots=True)
class Usage:
    """What one tenant did with one model."""

    calls: int = 0
    errors: int = 0
    cache_hits: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    saved_usd: float = 0.0
    unknown_cost_calls: int = 0
    """Calls that used tokens whose price is not known."""
    first_chunk_seconds: float = 0.0
    """Sum over all streams."""
    first_chunks: list[int] = field(default_factory=lambda: [0] * (len(FIRST_CHUNK_BOUNDS) + 1))
    """Streams by time to first chunk: one number for each of `FIRST_CHUNK_BOUNDS` and one for what took longer."""


class TallyReport(NamedTuple):
    """All sums since the process began."""

    usage: Mapping[tuple[str, str], Usage]
    """(tenant, model asked for) -> sums."""
    errors: Mapping[str, int]
    """`error.type` -> failed calls."""


class Tally:
    """End stage that changes nothing: adds up what the span says. Belongs after every stage that may change it.

    `on_span` is called with no argument for each span that passes, LLM call or not. `bounds` are those of the labels.
    """

    name = "tally"

    def __init__(self, on_span: Callable[[], object] | None = None, *, bounds: LabelBounds | None = None) -> None:
        self.on_span = on_span
        self._bounds = bounds or LabelBounds()
        self.reset_after_fork()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Count the span."""
        if self.on_span is not None:
            self.on_span()
        attributes = draft.attributes
        if _is_model_call(attributes):
            failed = draft.status.status_code is StatusCode.ERROR or semconv.ERROR_TYPE in attributes
            with self._lock:
                self._count(attributes, failed=failed)
        return draft

    def report(self) -> TallyReport:
        """A consistent copy of all sums."""
        with self._lock:
            usage = {key: replace(sums, first_chunks=list(sums.first_chunks)) for key, sums in self._usage.items()}
            return TallyReport(usage, dict(self._errors))

    def reset_after_fork(self) -> None:
        """Start from zero in a child process: what the parent counted stays the parent's."""
        self._lock = threading.RLock()
        self._usage: dict[tuple[str, str], Usage] = {}
        self._by_said: dict[tuple[Any, ...], Usage] = {}
        """The same by what spans say, before it is cut and bounded."""
        self._errors: Counter[str] = Counter()

    def _count(self, attributes: Mapping[str, Any], *, failed: bool) -> None:
        usage = self._of(attributes)
        if semconv.ATTEMPT not in attributes:
            usage.calls += 1
            usage.cache_hits += attributes.get(semconv.CACHE_HIT) is True
            if failed:
                usage.errors += 1
                self._count_error(_label(attributes.get(semconv.ERROR_TYPE), OTHER))
            _add_first_chunk(usage, attributes.get(semconv.TIME_TO_FIRST_CHUNK))
        _add_tokens_and_money(usage, attributes, failed=failed)

    def _of(self, attributes: Mapping[str, Any]) -> Usage:
        said = tuple(map(attributes.get, _SAID))
        try:
            known = self._by_said.get(said)
        except TypeError:  # a list among them, which names nothing
            return self._made(attributes)
        if known is None:
            known = self._made(attributes)
            if len(self._by_said) >= _MOST_REMEMBERED:
                self._by_said.clear()
            self._by_said[said] = known
        return known

    def _made(self, attributes: Mapping[str, Any]) -> Usage:
        tenant = _label(attributes.get(semconv.TENANT_ID), semconv.UNKNOWN_TENANT)
        model = _label(attributes.get(semconv.REQUEST_MODEL) or attributes.get(semconv.RESPONSE_MODEL), NO_MODEL)
        key = (self._bounds.tenant(tenant), self._bounds.model(model))
        found = self._usage.get(key)
        return found if found is not None else self._usage.setdefault(key, Usage())

    def _count_error(self, error_type: str) -> None:
        if error_type not in self._errors and len(self._errors) >= MOST_ERROR_TYPES:
            error_type = OTHER
        self._errors[error_type] += 1


def _is_model_call(attributes: Mapping[str, Any]) -> bool:
    """Whether a model was called; the program's own retrieval names none."""
    operation = attributes.get(semconv.OPERATION_NAME)
    if operation == semconv.OP_RETRIEVAL:
        return semconv.REQUEST_MODEL in attributes or semconv.RESPONSE_MODEL in attributes
    return operation in semconv.LLM_OPERATIONS


def _label(value: object, default: str) -> str:
    return value[:_LONGEST_LABEL] if isinstance(value, str) and value else default


def _number(value: object) -> float:
    """A count or an amount; 0 for what is none (programs may set any attribute to anything)."""
    return value if isinstance(value, (int, float)) and 0 <= value < _INFINITE else 0


def _add_first_chunk(usage: Usage, seconds: object) -> None:
    if isinstance(seconds, (int, float)) and 0 <= seconds < _INFINITE:
        usage.first_chunk_seconds += seconds
        usage.first_chunks[bisect_left(FIRST_CHUNK_BOUNDS, seconds)] += 1


def _add_tokens_and_money(usage: Usage, attributes: Mapping[str, Any], *, failed: bool) -> None:
    if attributes.get(semconv.CACHE_HIT) is not True:  # nobody was billed for what the response cache answers
        usage.input_tokens += int(_number(attributes.get(semconv.USAGE_INPUT)))
        usage.output_tokens += int(_number(attributes.get(semconv.USAGE_OUTPUT)))
    if semconv.COST in attributes:
        usage.cost_usd += _number(attributes[semconv.COST])
    elif is_unpriced(attributes, failed=failed):
        usage.unknown_cost_calls += 1
    if semconv.COST_SAVED in attributes:
        usage.saved_usd += _number(attributes[semconv.COST_SAVED])
