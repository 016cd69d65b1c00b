"""Turns the recording of litellm on and off. What recording takes is loaded with litellm itself, and never without."""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm.faults import note_fault
from otel_llm.instrumentation.awaited import findable, when_imported
from otel_llm.loading import loading

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from otel_llm.instrumentation.litellm.installation import Installation
    from otel_llm.instrumentation.recorder import Recorder
    from otel_llm.pricing import PriceBook

__all__ = ["Wanted", "begin", "end", "is_begun", "is_installed", "is_recording", "settle", "use_prices"]

_logger = logging.getLogger(__name__)

_LIBRARY: Final = "litellm"
_LEFTOVERS: Final = f"{__package__}.leftovers"


class Wanted(NamedTuple):
    """What `begin` was asked for."""

    recorder: Recorder
    tenant_key: str
    stream_usage: bool


class _Switch:
    """One per process, as litellm is."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.wanted: Wanted | None = None
        self.prices: Callable[[], PriceBook] | None = None
        self.installation: Installation | None = None
        self.waiting = False

    def install(self, library: ModuleType) -> None:
        """Runs inside the program's own `import litellm`, which a fault here must not break."""
        with self.lock:
            if self.wanted is None:
                return
            try:
                # Not before litellm is there: it is a quarter of what all of ours takes to load.
                with loading("what records litellm"):
                    from otel_llm.instrumentation.litellm.installation import Installation  # noqa: PLC0415

                if self.installation is None:
                    self.installation = Installation()
                    self.price()
                self.installation.begin(library, self.wanted)
            except Exception as error:  # noqa: BLE001
                note_fault("instrumenting litellm", error)

    def price(self) -> None:
        """Hand on the prices, if there is anybody to take them."""
        if self.installation is not None and self.prices is not None:
            self.installation.use_prices(self.prices())


_switch: Final = _Switch()


def begin(recorder: Recorder, *, tenant_key: str = "tenant_id", stream_usage: bool = True) -> None:
    """Record with `recorder`, now or as soon as the program imports litellm. What is on already stays as it is."""
    with _switch.lock:
        if _switch.wanted is not None:
            _logger.warning("litellm is recorded already; the recording that was on stays.")
            return
        _switch.wanted = Wanted(recorder, tenant_key, stream_usage)
        library = sys.modules.get(_LIBRARY)
        if library is not None and _loaded(library):
            _switch.install(library)
        elif not _switch.waiting:
            _switch.waiting = True
            when_imported(_LIBRARY, _switch.install)


def end() -> None:
    """Record no more: litellm has its own functions again."""
    with _switch.lock:
        _switch.wanted = None
        if _switch.installation is not None:
            _switch.installation.end()


def use_prices(book: Callable[[], PriceBook]) -> None:
    """Price calls by what the user has agreed from now on; `book` is asked for it when litellm is there."""
    with _switch.lock:
        _switch.prices = book
        _switch.price()


def settle(timeout: float) -> None:
    """Wait up to `timeout` seconds until streams that nobody reads any more have ended."""
    leftovers = sys.modules.get(_LEFTOVERS)
    if leftovers is not None:
        leftovers.settle(timeout)


def is_begun() -> bool:
    """Whether litellm is recorded, or will be as soon as the program imports it."""
    return _switch.wanted is not None


def is_recording() -> bool:
    """Whether litellm is loaded and its calls go through us."""
    return _switch.installation is not None and _switch.installation.active


def is_installed() -> bool:
    """Whether litellm could be imported, found out without importing it."""
    return findable(_LIBRARY)


def _loaded(library: ModuleType) -> bool:
    """Whether the import of litellm is complete; configured from within it, we wait for its end."""
    return not getattr(getattr(library, "__spec__", None), "_initializing", False)
