"""The Prometheus text format, through its client library: families of samples to text.

The library's own registry is not used: our numbers are counted in the ledgers, and a second count could disagree with
the first. A collector hands over what they say at this moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from otel_llm.delivery.words import whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

__all__ = ["Family", "content_type", "render"]

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]
_Sample: TypeAlias = "tuple[str, dict[str, str], float]"
"""What goes after the family's name, labels, value."""


@dataclass
class Family:
    """One metric with all its samples."""

    name: str
    """As Prometheus has it: a counter ends in `_total`."""
    kind: Kind
    help: str
    samples: list[_Sample] = field(default_factory=list)

    def add(self, value: float, labels: Mapping[str, str] | None = None, *, suffix: str = "") -> Family:
        """Add a sample; labels with an empty value are left out, which means the same to Prometheus."""
        shown = {name: whole(text) for name, text in (labels or {}).items() if text}
        self.samples.append((suffix, shown, value))
        return self

    def add_histogram(
        self, bounds: Sequence[float], counts: Sequence[int], total: float, labels: Mapping[str, str]
    ) -> Family:
        """Add a histogram: `counts` holds one number for each of `bounds` and one for what lies above the last."""
        below = 0
        for bound, count in zip((*bounds, float("inf")), counts, strict=True):
            below += count
            self.add(below, {**labels, "le": _bound(bound)}, suffix="_bucket")
        self.add(total, labels, suffix="_sum")
        return self.add(below, labels, suffix="_count")

    def metric(self) -> Metric:
        """The same as the client library knows it."""
        from prometheus_client.core import Metric  # noqa: PLC0415  (only who is asked for metrics pays for it)

        made = Metric(self.name.removesuffix("_total") if self.kind == "counter" else self.name, self.help, self.kind)
        for suffix, labels, value in self.samples:
            made.add_sample(self.name + suffix, labels, value)
        return made


def prepare() -> None:
    """Load the client library here, and not in the thread that will serve a page."""
    import prometheus_client.core  # noqa: PLC0415
    import prometheus_client.exposition  # noqa: F401, PLC0415


def render(families: Iterable[Family]) -> str:
    """All families as one page; those without samples are left out."""
    from prometheus_client import CollectorRegistry  # noqa: PLC0415  (likewise)
    from prometheus_client.exposition import generate_latest  # noqa: PLC0415

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector([family for family in families if family.samples]))
    return generate_latest(registry).decode()


def content_type() -> str:
    """The Content-Type of the page."""
    from prometheus_client.exposition import CONTENT_TYPE_LATEST  # noqa: PLC0415

    return CONTENT_TYPE_LATEST


class _Collector:
    def __init__(self, families: Sequence[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        for family in self._families:
            yield family.metric()


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)
