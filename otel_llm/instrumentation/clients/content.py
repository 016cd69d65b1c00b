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

__all__ = ["content_switch", "release_content"]

_GENAI_MODE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_GENAI_EVENTS: Final = "OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT"
_TRACELOOP: Final = "TRACELOOP_TRACE_CONTENT"
_ON_EVENTS: Final = frozenset({"EVENT_ONLY", "SPAN_AND_EVENT"})

_lock: Final = threading.RLock()
_silenced: Final[set[object]] = set()
"""Who needs OpenLLMetry to be silent: it reads its variable with every call."""


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
            _silence(owner)
        yield {"include_content": wanted} if family is Family.BUILT_IN else {}


def release_content(owner: object) -> None:
    """Undo what still holds for `owner`, whose instrumentation has ended."""
    with _lock:
        if owner in _silenced:
            _silenced.discard(owner)
            if not _silenced:
                os.environ.pop(_TRACELOOP, None)


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


def _silence(owner: object) -> None:
    with _lock:
        if _silenced or _TRACELOOP not in os.environ:
            _silenced.add(owner)
            os.environ[_TRACELOOP] = "false"
