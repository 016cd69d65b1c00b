"""The price table that ships with litellm, for calls that go past litellm.

A program that calls `openai` itself need not load litellm at all. Where litellm is installed, its table is a file that
can be read: the package is located, never imported.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from otel_llm.instrumentation.awaited import located
from otel_llm.instrumentation.litellm.guest import guest

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["price_table"]

_logger = logging.getLogger(__name__)

_FILE: Final = "model_prices_and_context_window_backup.json"
_KEPT: Final = ("litellm_provider", "off_peak_pricing", "tiered_pricing")


class _Read:
    """The file's rows, once they were read; one per process."""

    rows: Mapping[str, Any] | None = None


def price_table() -> Mapping[str, Any]:
    """Name of a model -> its prices: as the loaded litellm has them, else out of its file; empty without litellm.

    Reading takes tens of milliseconds, once. There is no lock: two threads that come first both read it, which a lock
    held during a fork would make worse.
    """
    loaded = getattr(guest(), "model_cost", None)
    if isinstance(loaded, dict):
        return loaded
    if _Read.rows is None:
        _Read.rows = _rows()
    return _Read.rows


def _rows() -> Mapping[str, Any]:
    try:
        spec = located("litellm")
        folder = next(iter(spec.submodule_search_locations or ()), None) if spec is not None else None
        if folder is None:
            return {}
        whole = json.loads((Path(folder) / _FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, ImportError) as error:
        _logger.debug("litellm's price table cannot be read (%s); prices come from `prices_file` alone", error)
        return {}
    return {
        name: {key: value for key, value in row.items() if "cost" in key or key in _KEPT}
        for name, row in whole.items()
        if isinstance(row, dict)
    }
