"""Waits for the program to import a library, at next to no cost until it does.

    when_imported("litellm", use)        # use(module), when its import is complete
    findable("litellm")                  # could it be imported? Nothing is loaded to know
    located("litellm")                   # and where it is

The hooks are wrapt's. Loading wrapt and the sixty modules behind it takes an eighth of our start, so until the first
awaited import begins, a finder that knows nothing but names stands in for it.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from typing import TYPE_CHECKING, Any

from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["findable", "located", "when_imported"]


class _Use:
    """Calls what waits for a module, once; a fault of it breaks no import."""

    def __init__(self, name: str, use: Callable[[ModuleType], Any]) -> None:
        self._name = name
        self._uses = [use]

    def __call__(self, module: ModuleType) -> None:
        try:
            use = self._uses.pop()
        except IndexError:
            return
        guarded(f"the import of {self._name}", use, module)


class _Lookout:
    """A finder that finds nothing itself: an awaited name is wrapt's from the moment its import begins."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[_Use]] = {}
        self.asking = threading.local()
        """`asking.only` is set in a thread that just wants to know whether there is such a module."""

    def wait(self, name: str, use: _Use) -> None:
        """Have `use` called when `name` has been imported."""
        self._waiting.setdefault(name, []).append(use)
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """What wrapt's finder makes of a name that is waited for; None for all others, which are not ours."""
        if name not in self._waiting or getattr(self.asking, "only", False):
            return None
        guarded("waiting for an import", self._pass_on, name)
        # From wrapt's finder: it stands before us now, and was not there yet when this search began.
        return importlib.util.find_spec(name)

    def _pass_on(self, name: str) -> None:
        # Taken off last: a thread that comes meanwhile must not find the name neither here nor there. It may pass on
        # the same, which is called once all the same.
        try:
            for use in self._waiting.get(name, ()):
                _hook(name, use)
        finally:
            self._waiting.pop(name, None)


_lookout = _Lookout()


def when_imported(name: str, use: Callable[[ModuleType], Any]) -> None:
    """Call `use` with the module `name` as soon as the program has imported it; at once where it has."""
    once = _Use(name, use)
    if name in sys.modules or "wrapt" in sys.modules:
        _hook(name, once)
    else:
        _lookout.wait(name, once)


def findable(name: str) -> bool:
    """Whether a module could be imported, found out without importing it."""
    if name in sys.modules:
        return True
    try:
        return located(name) is not None
    except ModuleNotFoundError:
        return False


def located(name: str) -> ModuleSpec | None:
    """What `importlib.util.find_spec` answers; a name that is waited for goes on being waited for."""
    asking, before = _lookout.asking, getattr(_lookout.asking, "only", False)
    asking.only = True
    try:
        return importlib.util.find_spec(name)
    finally:
        asking.only = before


def _hook(name: str, use: _Use) -> None:
    import wrapt  # noqa: PLC0415  (see above)

    wrapt.register_post_import_hook(use, name)
