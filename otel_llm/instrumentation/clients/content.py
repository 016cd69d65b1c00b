"""How each family of instrumentations is told whether prompts and answers are wanted on its spans.

The words are ours (`content*`), because what these spans hold goes to the program's other exporters too, where our
processors do not reach. What the program has said itself, in the family's own variable, stays as it said it.
"""

from __future__ import annotations

import importlib
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from otel_llm.instrumentation.clients.table import Family

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["content_switch", "release", "silence"]

_GENAI_MODE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_GENAI_EVENTS: Final = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"
_TRACELOOP: Final = "TRACELOOP_TRACE_CONTENT"
_ON_EVENTS: Final = frozenset({"EVENT_ONLY", "SPAN_AND_EVENT"})

_lock: Final = threading.RLock()
_silenced: Final[dict[str, set[object]]] = {}
"""Variable that we have set to `false`, because it is read with every call -> who needs it."""


@contextmanager
def content_switch(family: Family, owner: object, *, wanted: bool) -> Iterator[dict[str, Any]]:
    """Begin an instrumentation inside this block; what comes out are arguments for its `instrument`."""
    if family is Family.OPENTELEMETRY:
        with _lock, _environment(_GENAI_MODE, _genai_mode(wanted=wanted)), _kept(_GENAI_EVENTS):
            yield {}
    elif family is Family.OPENINFERENCE:
        yield {"config": _trace_config(wanted=wanted)}
    else:
        if family is Family.OPENLLMETRY and not wanted:
            silence(_TRACELOOP, owner)
        yield {"include_content": wanted} if family is Family.BUILT_IN else {}


def silence(variable: str, owner: object) -> None:
    """Set `variable` to `false` for as long as `owner` needs it, unless the program has set it to something."""
    with _lock:
        if variable in _silenced or variable not in os.environ:
            _silenced.setdefault(variable, set()).add(owner)
            os.environ[variable] = "false"


def release(owner: object) -> None:
    """Undo what still holds for `owner`, whose instrumentation has ended."""
    with _lock:
        for variable in [name for name, owners in _silenced.items() if owner in owners]:
            _silenced[variable].discard(owner)
            if not _silenced[variable]:
                del _silenced[variable]
                os.environ.pop(variable, None)


def _genai_mode(*, wanted: bool) -> str:
    """Content on spans is ours to decide; content in events is what the program has asked for, if it has."""
    on_events = os.environ.get(_GENAI_MODE, "").strip().upper() in _ON_EVENTS
    if wanted:
        return "SPAN_AND_EVENT" if on_events else "SPAN_ONLY"
    return "EVENT_ONLY" if on_events else "NO_CONTENT"


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """A variable that is read once, while an instrumentation begins; afterwards it is as it was."""
    with _kept(name):
        os.environ[name] = value
        yield


@contextmanager
def _kept(name: str) -> Iterator[None]:
    """Whatever the block does to a variable is undone (google-genai's instrumentation switches events on for all)."""
    before = os.environ.get(name)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before


def _trace_config(*, wanted: bool) -> Any:
    """OpenInference's own settings (its variables still count where we leave something open)."""
    kind = importlib.import_module("openinference.instrumentation").TraceConfig
    always = {"hide_embeddings_vectors": True}  # numbers that nobody reads, thousands of them on every span
    if wanted:
        return kind(**always)
    return kind(hide_inputs=True, hide_outputs=True, hide_embeddings_text=True, hide_llm_tools=True, **always)
