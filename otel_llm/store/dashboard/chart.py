"""The course of time as bars, drawn as SVG; each bar leads to the calls it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from otel_llm.store.dashboard.html import Html, tag
from otel_llm.store.dashboard.question import ALL
from otel_llm.store.dashboard.shown import moment, moment_iso, moment_text
from otel_llm.store.human import human_count, human_usd
from otel_llm.store.money import usd

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from otel_llm.store.dashboard.question import Question
    from otel_llm.store.overview import Bucket

__all__ = ["charts"]

_WIDTH: Final = 720
_HEIGHT: Final = 100
_GAP: Final = 0.2
"""Share of a bar's place that stays empty."""
_LEAST: Final = 1.5
"""A bar that is not zero can be seen."""


def charts(timeline: Sequence[Bucket], question: Question) -> Html:
    """Calls with their errors, and cost, both over the same time."""
    most_calls = max((bucket.calls for bucket in timeline), default=0)
    most_cost = max((bucket.cost_nano_usd or 0 for bucket in timeline), default=0)
    return tag(
        "div",
        _chart("Calls and errors", human_count(most_calls), timeline, question, lambda it: _call_bars(it, most_calls)),
        _chart("Cost", human_usd(usd(most_cost)), timeline, question, lambda it: _cost_bar(it, most_cost)),
        class_="charts",
    )


def _chart(
    title: str,
    top: str,
    timeline: Sequence[Bucket],
    question: Question,
    bars: Callable[[Bucket], list[tuple[str, float, float]]],
) -> Html:
    step = _WIDTH / len(timeline)
    drawn = []
    for place, bucket in enumerate(timeline):
        left, width = place * step, step * (1 - _GAP)
        shapes = [
            tag("rect", x=f"{left:.2f}", y=f"{low:.2f}", width=f"{width:.2f}", height=f"{height:.2f}", class_=kind)
            for kind, low, height in bars(bucket)
        ]
        hit = tag("rect", x=f"{left:.2f}", y=0, width=f"{step:.2f}", height=_HEIGHT, class_="hit")
        since, until = (moment_iso(bound) or ALL for bound in (bucket.start_ns, bucket.end_ns))
        link = question.elsewhere("/calls", since=since, until=until)
        drawn.append(tag("a", tag("title", _in_words(bucket)), hit, *shapes, href=link if bucket.calls else None))
    picture = tag(
        "svg",
        *drawn,
        viewBox=f"0 0 {_WIDTH} {_HEIGHT}",
        preserveAspectRatio="none",
        role="group",
        aria_label=f"{title} over time",
    )
    ends = tag("div", moment(timeline[0].start_ns), moment(timeline[-1].end_ns), class_="ends")
    return tag("figure", tag("figcaption", title, tag("small", f"up to {top}")), picture, ends)


def _call_bars(bucket: Bucket, most: int) -> list[tuple[str, float, float]]:
    """Errors stand at the bottom, where they are seen, the calls that went well above them."""
    errors = _height(bucket.errors, most)
    well = _height(bucket.calls - bucket.errors, most)
    return [
        (kind, max(0.0, _HEIGHT - low - height), height)
        for kind, low, height in (("error", 0.0, errors), ("ok", errors, well))
        if height
    ]


def _cost_bar(bucket: Bucket, most: int) -> list[tuple[str, float, float]]:
    height = _height(bucket.cost_nano_usd or 0, most)
    return [("cost", _HEIGHT - height, height)] if height else []


def _height(value: int, most: int) -> float:
    return max(_LEAST, _HEIGHT * value / most) if value and most else 0.0


def _in_words(bucket: Bucket) -> str:
    cost = human_usd(None if bucket.cost_nano_usd is None else usd(bucket.cost_nano_usd))
    start, end = moment_text(bucket.start_ns), moment_text(bucket.end_ns)
    return f"{start} to {end}: {bucket.calls:,} calls, {bucket.errors:,} errors, cost {cost}"
