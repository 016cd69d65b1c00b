"""Puts us into the way of litellm's calls, once the program has imported it, and out of it again."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from typing import TYPE_CHECKING, Any

import wrapt

from otel_llm.faults import note_fault
from otel_llm.instrumentation.divert import Diversion, divert
from otel_llm.instrumentation.litellm import batches, caching, callbacks, routers
from otel_llm.instrumentation.litellm.entry import Entry
from otel_llm.instrumentation.litellm.forms import FORMS, RETRY_DRIVERS, Form
from otel_llm.instrumentation.litellm.later import LATER
from otel_llm.instrumentation.litellm.pricing import use_prices
from otel_llm.instrumentation.litellm.realtime import SESSION
from otel_llm.instrumentation.litellm.streams import release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from otel_llm.instrumentation.litellm.switch import Wanted
    from otel_llm.pricing import PriceBook

__all__ = ["Installation"]

_LIBRARY = "litellm"


class Installation:
    """What is diverted at present. One per process, as litellm is."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._entry: Entry | None = None
        self._diversions: list[Diversion | batches.CarryingPools] = []
        self._awaited: set[str] = set()

    @property
    def active(self) -> bool:
        """Whether functions of litellm go through us now."""
        return bool(self._diversions)

    def begin(self, library: ModuleType, wanted: Wanted) -> None:
        """Divert all functions that this version of litellm has."""
        with self._lock:
            if self._diversions:
                return
            self._entry = entry = Entry(wanted.recorder, tenant_key=wanted.tenant_key, stream_usage=wanted.stream_usage)
            self._divert_forms(library)
            self._divert_retries(library, entry)
            self._divert_realtime(library, entry)
            self._divert_router(library, entry)
            for name in callbacks.MODULES:
                self._when_loaded(name, self._divert_callbacks)
            self._when_loaded(caching.MODULE, self._divert_caching)
            self._when_loaded(batches.MODULE, self._carry_into_batches)

    def end(self) -> None:
        """Give litellm its own functions back."""
        with self._lock:
            self._entry = None
            for diversion in self._diversions:
                diversion.restore()
            self._diversions.clear()
            release()

    def use_prices(self, book: PriceBook) -> None:
        """Price calls by what the user has agreed from now on."""
        use_prices(book)

    def _divert_forms(self, library: ModuleType) -> None:
        for home in dict.fromkeys(form.home for form in (*FORMS.values(), *LATER.values())):
            if home:
                self._when_loaded(f"{_LIBRARY}.{home}", functools.partial(self._divert_forms_of, library))
            else:
                self._divert_forms_of(library, library)

    def _divert_forms_of(self, library: ModuleType, module: ModuleType) -> None:
        home = module.__name__.removeprefix(_LIBRARY).removeprefix(".")
        with self._lock:
            if self._entry is None:
                return
            for form in (*FORMS.values(), *LATER.values()):
                function = _genuine(library, form.name, module) if form.home == home else None
                if function is not None:
                    self._divert_form(form, function, self._entry)

    def _divert_form(self, form: Form, function: Any, entry: Entry) -> None:
        asynchronous = inspect.iscoroutinefunction(function)
        if form.name in LATER:
            self._divert(function, entry.later_handler(form, asynchronous=asynchronous))
            return
        inner = _inner(function)
        handler = entry.async_handler if asynchronous else entry.sync_handler
        self._divert(function, handler(form, door=inner is not None))
        if inner is not None:
            self._divert(inner, handler(form, door=False))

    def _divert_retries(self, library: ModuleType, entry: Entry) -> None:
        for name in RETRY_DRIVERS:
            function = _genuine(library, name)
            if function is not None:
                self._divert(function, entry.retry_handler())
        helper = sys.modules.get(f"{_LIBRARY}.litellm_core_utils.asyncify")
        if hasattr(helper, "run_async_function"):
            self._divert(helper.run_async_function, entry.loop_handler())  # type: ignore[union-attr]

    def _divert_realtime(self, library: ModuleType, entry: Entry) -> None:
        function = _genuine(library, SESSION.name)
        if function is not None:
            self._divert(function, entry.realtime_handler())

    def _divert_router(self, library: ModuleType, entry: Entry) -> None:
        methods = list(routers.router_methods(library))
        self._divert_routed(methods, entry)
        if methods:
            return
        if routers.has_core():
            self._when_loaded(routers.CORE, self._divert_core)
        else:
            note_fault("instrumenting litellm's Router", LookupError("a Router of another kind"))

    def _divert_core(self, module: ModuleType) -> None:
        with self._lock:
            if self._entry is None:
                return
            methods = list(routers.core_methods(module))
            self._divert_routed(methods, self._entry)
            if not methods:
                note_fault("instrumenting litellm's Router", LookupError("a core of another kind"))

    def _divert_routed(self, methods: Iterable[tuple[object, routers.Reading]], entry: Entry) -> None:
        for method, read in methods:
            self._divert(method, entry.router_handler(read, asynchronous=inspect.iscoroutinefunction(method)))

    def _when_loaded(self, name: str, use: Callable[[ModuleType], None]) -> None:
        """Call `use` with a module that litellm imports when it first needs it, which may be never."""
        if name in sys.modules and _loaded(sys.modules[name]):
            use(sys.modules[name])
        elif name not in self._awaited:
            self._awaited.add(name)
            wrapt.register_post_import_hook(use, name)

    def _divert_callbacks(self, module: ModuleType) -> None:
        self._divert_all(callbacks.diversions(module))

    def _divert_caching(self, module: ModuleType) -> None:
        self._divert_all(caching.diversions(module))

    def _carry_into_batches(self, module: ModuleType) -> None:
        with self._lock:
            if self._entry is not None:
                self._diversions.append(batches.CarryingPools(module))
                self._divert_all(batches.diversions(module))

    def _divert_all(self, diversions: Iterable[tuple[object, Callable[..., Any]]]) -> None:
        with self._lock:
            if self._entry is not None:
                for function, handler in diversions:
                    self._divert(function, handler)

    def _divert(self, function: object, handler: Callable[..., Any]) -> None:
        try:
            diversion = divert(function, handler)
        except TypeError as error:
            note_fault("instrumenting a function of litellm", error)
            return
        if diversion is not None:
            self._diversions.append(diversion)


def _loaded(library: ModuleType) -> bool:
    """Whether the import of litellm is complete; configured from within it, we wait for its end."""
    spec = getattr(library, "__spec__", None)
    return not getattr(spec, "_initializing", False)


def _genuine(library: ModuleType, name: str, module: ModuleType | None = None) -> Any:
    """The library's own function of that name, also where another instrumentation has put a wrapper in its place.

    `module` is the one of the library that has it, if not the library itself.
    """
    found = getattr(module or library, name, None)
    for _ in range(_MOST_WRAPPERS):
        if found is None or _is_of(library, found):
            break
        found = getattr(found, "__wrapped__", None)
    if found is not None or not hasattr(module or library, name):
        return found
    # The wrapper does not say what it wraps (OpenInference's does not); the module that defines it still has it.
    prefix = f"{library.__name__}."
    homes = [key for key in list(sys.modules) if key.startswith(prefix) and key.rpartition(".")[2] in _DEFINING]
    defined = [
        vars(sys.modules[key]).get(name) for key in homes if not key.startswith((f"{prefix}llms.", f"{prefix}proxy."))
    ]
    own = [function for function in defined if _is_of(library, function) and getattr(function, "__name__", "") == name]
    return next((function for function in own if _inner(function) is not None), own[0] if own else None)


_MOST_WRAPPERS = 20
_DEFINING = ("main", "dispatch")
"""Last names of the modules in which litellm defines its call forms; providers have functions of the same names."""


def _is_of(library: ModuleType, function: object) -> bool:
    """Whether it is a plain function whose code is the library's; `__module__` would be what a wrapper copied."""
    if not inspect.isfunction(function):
        return False
    home = function.__globals__.get("__name__", "")
    return isinstance(home, str) and home.partition(".")[0] == library.__name__


def _inner(function: Any) -> Any:
    """The inner function of the same name that newer litellm versions put behind a public dispatcher, if any."""
    if not getattr(function, "__module__", "").endswith(".dispatch"):
        return None
    return getattr(function, "__wrapped__", None)
