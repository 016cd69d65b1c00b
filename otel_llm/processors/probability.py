"""Consistent probability sampling: which traces are in, and how a kept span says with what chance it was.

Every trace has 56 random bits, the last of its id (or `rv` of `tracestate`). A threshold is a number of the same size;
a trace is in where its bits are not below it. Everybody who samples so agrees on the same traces, and what is in at a
low ratio is in at every higher one. A kept span carries its threshold as `th` in the `tracestate` entry `ot`.
Source: https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry.trace import TraceState

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

__all__ = ["SPAN", "probability_of", "randomness_of", "said_threshold", "threshold_of", "with_threshold"]

SPAN: Final = 1 << 56
"""How many values the random bits have; as a threshold: nothing is in."""
_KEY: Final = "ot"
_DIGITS: Final = 14
_LONGEST: Final = 256


def threshold_of(ratio: float) -> int:
    """The threshold that lets this share (0 to 1) of all traces in."""
    return min(SPAN, max(0, round((1.0 - ratio) * SPAN)))


def probability_of(threshold: int) -> float:
    """The share of traces that a threshold lets in."""
    return 1.0 - threshold / SPAN


def randomness_of(context: SpanContext) -> int:
    """The 56 random bits of a span's trace."""
    said = _entry(context).get("rv", "")
    found = _hexadecimal(said) if len(said) == _DIGITS else None
    return found if found is not None else context.trace_id & (SPAN - 1)


def said_threshold(context: SpanContext) -> int:
    """The threshold with which the trace was sampled before; 0 where nobody says."""
    said = _entry(context).get("th", "")
    found = _hexadecimal(said) if 1 <= len(said) <= _DIGITS else None
    return found << 4 * (_DIGITS - len(said)) if found is not None else 0


def with_threshold(state: TraceState | None, threshold: int) -> TraceState:
    """`state` with this threshold in OpenTelemetry's entry, whatever else that holds kept."""
    state = state or TraceState()
    text = f"{threshold:0{_DIGITS}x}".rstrip("0") or "0"
    others = [part for part in (state.get(_KEY) or "").split(";") if part and not part.startswith("th:")]
    entry = ";".join([f"th:{text}", *others])[:_LONGEST]
    return state.update(_KEY, entry) if _KEY in state else state.add(_KEY, entry)


def _entry(context: SpanContext) -> dict[str, str]:
    text = context.trace_state.get(_KEY) if context.trace_state else None
    if not text or len(text) > _LONGEST:
        return {}
    return dict(part.split(":", 1) for part in text.split(";") if ":" in part)


def _hexadecimal(text: str) -> int | None:
    return int(text, 16) if text and all(digit in "0123456789abcdef" for digit in text) else None
