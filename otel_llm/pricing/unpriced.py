"""Calls whose cost nobody knows: counted by model, and said once for each."""

from __future__ import annotations

import logging
import threading
from typing import Final

__all__ = ["Unpriced"]

_logger = logging.getLogger(__name__)

_MAX_UNKNOWN: Final = 1000
"""Models without a price that are told apart; the calls of all further ones are counted together."""
_OTHER: Final = "other"
_MOST_SHOWN: Final = 200
"""Characters of a model's name that a log shows."""
_NO_PRICE: Final = (
    "No price is known for model %s: its calls are recorded without a cost (status unknown). "
    "Name the model behind it in `model_aliases`, or give it a price in `prices_file` or `prices`."
)
_NO_USAGE: Final = (
    "An answer of model %s says nothing of what was used: the call is recorded without a cost (status unknown). "
    "Most likely it failed, or is still being made, or a server in between drops `usage`; have that passed on."
)


class Unpriced:
    """Model -> calls that were recorded without a cost."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._calls: dict[str, int] = {}

    def note(self, model: str | None, *, has_price: bool = False) -> None:
        """Count a call, and say so once per model; the models told apart are bounded.

        With `has_price` it is not the price that is missing, but what was used.
        """
        name = model or "(no model)"
        with self._lock:
            first = name not in self._calls and len(self._calls) < _MAX_UNKNOWN
            counted = name if first or name in self._calls else _OTHER
            self._calls[counted] = self._calls.get(counted, 0) + 1
        if first:
            _logger.warning(_NO_USAGE if has_price else _NO_PRICE, _on_one_line(name))

    def counts(self) -> dict[str, int]:
        """A copy of what was counted."""
        with self._lock:
            return dict(self._calls)


def _on_one_line(name: str) -> str:
    """A model's name as a log may show it: whoever chooses it shall write no lines or colours there."""
    shown = name[:_MOST_SHOWN]
    return shown if shown.isprintable() else ascii(shown)
