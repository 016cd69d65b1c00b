"""The labels of one call's metrics, made once for all calls that have the same.

A call adds a dozen numbers, each under seven or eight labels. Making and hashing these for every number took longer
than all the adding up; a set that is made once is a key by its identity.
"""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from otel_llm import semconv
from otel_llm.processors.label_bounds import OTHER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.processors.label_bounds import LabelBounds

__all__ = ["LabelSet", "LabelSets"]

_MOST_SETS: Final = 2000
"""Different sets of labels; calls with any further one share a set that says so."""
_MOST_REMEMBERED: Final = 8192
_MOST_MORE: Final = 64

_TEXTS: Final = (
    (semconv.PROVIDER_NAME, "provider"),
    (semconv.REQUEST_MODEL, "model"),
    (semconv.RESPONSE_MODEL, "model"),
    (semconv.SERVER_ADDRESS, "server"),
)
_READ: Final = (semconv.OPERATION_NAME, *(name for name, _ in _TEXTS), semconv.SERVER_PORT, semconv.TENANT_ID)


class LabelSet:
    """Attribute names and values; the same labels are the same object."""

    __slots__ = ("_more", "as_dict")

    def __init__(self, labels: dict[str, str | int]) -> None:
        self.as_dict = labels
        self._more: dict[tuple[str, str], LabelSet] = {}

    def plus(self, name: str, value: str) -> LabelSet:
        """These labels and one more."""
        found = self._more.get((name, value))
        if found is None:
            if len(self._more) >= _MOST_MORE:
                value = OTHER
            found = self._more.setdefault((name, value), LabelSet({**self.as_dict, name: value}))
        return found


class LabelSets:
    """Finds the labels of calls, within `bounds`. Safe to use from any thread."""

    def __init__(self, bounds: LabelBounds) -> None:
        self.bounds = bounds
        self._overflow = LabelSet({semconv.METRIC_OVERFLOW: "true"})
        self._by_facts: dict[tuple[Any, ...], LabelSet] = {}
        self._sets: dict[tuple[Any, ...], LabelSet] = {}
        self.reset_after_fork()
        if hasattr(os, "register_at_fork"):
            reset = weakref.WeakMethod(self.reset_after_fork)
            os.register_at_fork(after_in_child=lambda: (found := reset()) and found())

    def of(self, facts: Mapping[str, Any]) -> LabelSet:
        """The labels of the call with these attributes."""
        key = tuple(map(facts.get, _READ))
        try:
            found = self._by_facts.get(key)
        except TypeError:  # a list among them, which is no label
            return self._made(facts)
        if found is None:
            found = self._made(facts)
            with self._lock:
                if len(self._by_facts) >= _MOST_REMEMBERED:
                    self._by_facts.clear()
                self._by_facts[key] = found
        return found

    def reset_after_fork(self) -> None:
        """In a child: a lock that nobody holds."""
        self._lock = threading.RLock()

    def _made(self, facts: Mapping[str, Any]) -> LabelSet:
        labels = self._labels(facts)
        key = tuple(labels.items())
        with self._lock:
            if key not in self._sets and len(self._sets) >= _MOST_SETS:
                return self._overflow
            return self._sets.setdefault(key, LabelSet(labels))

    def _labels(self, facts: Mapping[str, Any]) -> dict[str, str | int]:
        made: dict[str, str | int] = {semconv.OPERATION_NAME: str(facts.get(semconv.OPERATION_NAME))}
        for name, kind in _TEXTS:
            value = facts.get(name)
            if isinstance(value, str) and value:
                made[name] = self.bounds.bounded(kind, value)
        made.setdefault(semconv.PROVIDER_NAME, semconv.UNKNOWN_PROVIDER)  # required by the conventions
        port = facts.get(semconv.SERVER_PORT)
        if isinstance(port, int) and made.get(semconv.SERVER_ADDRESS, OTHER) != OTHER:
            made[semconv.SERVER_PORT] = port
        tenant = facts.get(semconv.TENANT_ID)
        made[semconv.TENANT_ID] = self.bounds.tenant(tenant if isinstance(tenant, str) and tenant else "unknown")
        return made
