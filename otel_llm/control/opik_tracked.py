"""What Opik's own SDK has running, read where the program has loaded it; nothing of it is ever imported by us.

`opik.track` and its kin keep their spans in context variables of their own. Of the SDK's insides we touch: the current
span and trace of `opik.context_storage`, the default project of its client, and the two functions by which a traced
function begins and ends. Seen in opik 1.9 to 2.2; where one is missing, there is no join and no harm.
"""

from __future__ import annotations

import sys
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from otel_llm.faults import guarded
from otel_llm.instrumentation.awaited import when_imported
from otel_llm.instrumentation.divert import Diversion, divert

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from types import ModuleType

__all__ = ["Tracked", "TrackedBeginnings", "default_project", "tracked"]

_STORAGE = "opik.context_storage"
_CREATION = "opik.decorator.span_creation_handler"
_DECORATOR = "opik.decorator.base_track_decorator"
_CLIENT = "opik.api_objects.opik_client"


class Tracked(NamedTuple):
    """The innermost span of Opik's SDK that is open here, or its trace where that has no span yet."""

    trace: str
    span: str | None
    began_ns: int
    """Unix nanoseconds."""
    project: str | None


def tracked() -> Tracked | None:
    """What runs here and now by Opik's own means; None where nothing does."""
    storage = sys.modules.get(_STORAGE)
    if storage is None:
        return None
    span, trace = storage.top_span_data(), storage.get_trace_data()
    if span is not None and span.end_time is None:
        return Tracked(span.trace_id, span.id, _nanoseconds(span.start_time), span.project_name or default_project())
    if trace is not None and trace.end_time is None:
        return Tracked(trace.id, None, _nanoseconds(trace.start_time), trace.project_name or default_project())
    return None


def default_project() -> str | None:
    """The project of the SDK's client for what names none; None where there is no client yet."""
    module = sys.modules.get(_CLIENT)
    current = getattr(module, "get_current_client_raw", None)
    if current is None:
        current = getattr(module, "get_client_cached", None)  # before 2.0; it would make one where there is none
        if current is None or not current.cache_info().currsize:
            return None
    project = getattr(current(), "_project_name", None)
    return project if isinstance(project, str) else None


class TrackedBeginnings:
    """Tells of each span that the SDK is about to begin, which may be changed then; it is the SDK's own object.

    `on_root(trace, span)` hears of a new trace and its first span, and says whether it has given the trace an id that
    others may have too. `on_nested(span, around)` hears of any further span, and of what the SDK begins it below.
    `on_foreign()` is asked before a new trace: it says by the SDK's own distributed headers that the span belongs to a
    trace whose row another process writes, or nothing.
    """

    def __init__(
        self,
        on_root: Callable[[Any, Any], bool],
        on_nested: Callable[[Any, Tracked], None],
        on_foreign: Callable[[], dict[str, str] | None],
    ) -> None:
        self._on_root = on_root
        self._on_nested = on_nested
        self._on_foreign = on_foreign
        self._diversions: list[Diversion] = []
        self._shared: dict[int, weakref.ref[Any]] = {}
        """Traces with such an id, by `id()`: the SDK's dataclasses cannot be hashed."""
        self._wanted = False

    def begin(self) -> None:
        """Listen now, or as soon as the program imports the SDK."""
        self._wanted = True
        for module, install in ((_CREATION, self._watch_creation), (_DECORATOR, self._watch_ends)):
            if module in sys.modules:
                install(sys.modules[module])
            else:
                when_imported(module, install)

    def end(self) -> None:
        """Listen no more."""
        self._wanted = False
        for diversion in self._diversions:
            diversion.restore()
        self._diversions.clear()

    def _watch_creation(self, module: ModuleType) -> None:
        guarded("watching opik.track", self._divert, module, "create_span_respecting_context", self._created)

    def _watch_ends(self, module: ModuleType) -> None:
        names = ("pop_end_candidate_trace_data", "pop_end_candidates")  # the first is newer, and the second's way to it
        name = next((name for name in names if hasattr(module, name)), names[0])
        guarded("watching opik.track", self._divert, module, name, self._ending)

    def _divert(self, module: ModuleType, name: str, handler: Callable[..., Any]) -> None:
        function = getattr(module, name, None)
        diversion = divert(function, handler) if self._wanted and function is not None else None
        if diversion is not None:
            self._diversions.append(diversion)

    def _created(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        headers = kwargs.get("distributed_trace_headers") or (args[1] if len(args) > 1 else None)
        around = None if headers else guarded("reading what opik.track runs", tracked)
        if not headers and around is None and not kwargs.get("preset_trace_id"):
            elsewhere = guarded("joining opik.track", self._on_foreign)
            if elsewhere:
                args, kwargs = _with_headers(args, kwargs, elsewhere)
                return original(*args, **kwargs)
        result = original(*args, **kwargs)
        if not headers and not kwargs.get("preset_trace_id"):
            guarded("joining opik.track", self._join, result[0], result[1], around)
        return result

    def _join(self, trace: Any, span: Any, around: Tracked | None) -> None:
        if trace is None:
            if around is not None:
                self._on_nested(span, around)
        elif self._on_root(trace, span):
            key, shared = id(trace), self._shared
            shared[key] = weakref.ref(trace, lambda _: shared.pop(key, None))

    def _ending(self, original: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The SDK knows its own traces by id, and forgets an id when the first trace that has it ends."""
        guarded("ending a joined opik.track", self._remind)
        return original(*args, **kwargs)

    def _remind(self) -> None:
        current = sys.modules[_STORAGE].get_trace_data()
        known = self._shared.get(id(current))
        shared = known() if known is not None else None
        if shared is not None and shared is current:
            sys.modules[_DECORATOR].TRACES_CREATED_BY_DECORATOR.add(shared.id)


def _with_headers(
    args: tuple[Any, ...], kwargs: dict[str, Any], headers: dict[str, str]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of the function that begins a span, with headers in the place where it takes them."""
    if len(args) > 1:
        return (args[0], headers, *args[2:]), kwargs
    return args, {**kwargs, "distributed_trace_headers": headers}


def _nanoseconds(moment: datetime | None) -> int:
    return int(moment.timestamp() * 1e9) if moment is not None else 0
