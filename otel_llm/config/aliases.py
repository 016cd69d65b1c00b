"""Environment variables of others that mean one of our settings, and how each is read.

People have `OTEL_*` and `OPIK_*` variables already. Each is translated into the words of our own setting, as
text; None means that the variable says nothing about it. A `ValueError` carries a sentence for the user.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import unquote, urlsplit

__all__ = ["Alias", "as_bool", "base_endpoint", "capture_mode", "disabled", "opik_when_true", "resource_attribute"]

_Read: TypeAlias = Callable[[str], "str | None"]

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})
_TRACES_PATH: Final = "/v1/traces"


def unchanged(text: str) -> str:
    """The variable uses our own words."""
    return text


class Alias(NamedTuple):
    """One variable of somebody else's."""

    variable: str
    reads: _Read = unchanged
    note: str = ""
    """What the reference page adds: which part of the variable counts, or how its words translate."""
    last_resort: bool = False
    """True for a variable that speaks only when neither ours nor a file did."""


def as_bool(text: str) -> bool:
    """1, true, yes, on and their opposites; a ValueError for anything else."""
    word = text.strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{text[:60]!r} is neither true nor false; write true or false")


def disabled(text: str) -> str | None:
    """`OTEL_SDK_DISABLED`: true switches us off, false says nothing."""
    return "false" if as_bool(text) else None


def opik_when_true(text: str) -> str | None:
    """`OPIK_ENABLED`: true chooses the backend, false chooses none (and must not meet one, see the checks)."""
    return "opik" if as_bool(text) else None


_CAPTURE_MODES: Final = {"NO_CONTENT": "off", "SPAN_ONLY": "on", "SPAN_AND_EVENT": "on", "EVENT_ONLY": "off"}


def capture_mode(text: str) -> str:
    """The conventions' words for content; content in events only is none of ours, which goes on spans."""
    found = _CAPTURE_MODES.get(text.strip().upper())
    if found is None:
        raise ValueError(
            f"{text[:60]!r} is not a mode of capturing content; write SPAN_ONLY to record prompts and answers, "
            f"NO_CONTENT not to (known: {', '.join(_CAPTURE_MODES)})"
        )
    return found


def resource_attribute(name: str) -> _Read:
    """Reads one attribute out of `OTEL_RESOURCE_ATTRIBUTES` (`k=v,k=v`, percent-encoded; OTel specification)."""

    def read(text: str) -> str | None:
        for pair in text.split(","):
            key, _, value = pair.partition("=")
            if key.strip() == name and value.strip():
                return unquote(value.strip())
        return None

    return read


def base_endpoint(text: str) -> str:
    """`OTEL_EXPORTER_OTLP_ENDPOINT` is a base: `/v1/traces` goes after its path (OTLP exporter specification)."""
    try:
        path = urlsplit(text).path.rstrip("/")
    except ValueError:
        return text  # not a URL, as whoever parses it will say
    if not path or path.endswith(_TRACES_PATH):
        return text
    return text.rstrip("/") + _TRACES_PATH
