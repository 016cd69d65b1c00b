"""The Prometheus text format, version 0.0.4: families of samples to text.

Written here and not through `prometheus_client`, which keeps its numbers in a registry of its own: ours are counted
in the ledgers and only shown here. Source: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["CONTENT_TYPE", "Family", "render"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

_HELP_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n"})
_LABEL_ESCAPES: Final = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass
class Family:
    """One metric with all its samples."""

    name: str
    """As Prometheus has it: a counter ends in `_total`."""
    kind: Kind
    help: str
    samples: list[str] = field(default_factory=list)
    """Finished lines."""

    def add(self, value: float, labels: Mapping[str, str] | None = None, *, suffix: str = "") -> Family:
        """Add a sample; labels with an empty value are left out, which means the same to Prometheus."""
        shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in (labels or {}).items() if text)
        self.samples.append(f"{self.name}{suffix}{{{shown}}} {_number(value)}" if shown else self._bare(suffix, value))
        return self

    def add_histogram(
        self, bounds: Sequence[float], counts: Sequence[int], total: float, labels: Mapping[str, str]
    ) -> Family:
        """Add a histogram: `counts` holds one number for each of `bounds` and one for what lies above the last."""
        below = 0
        for bound, count in zip((*bounds, float("inf")), counts, strict=True):
            below += count
            self.add(below, {**labels, "le": _number(bound)}, suffix="_bucket")
        self.add(total, labels, suffix="_sum")
        return self.add(below, labels, suffix="_count")

    def _bare(self, suffix: str, value: float) -> str:
        return f"{self.name}{suffix} {_number(value)}"


def render(families: Iterable[Family]) -> str:
    """All families as one page; those without samples are left out."""
    lines: list[str] = []
    for family in families:
        if family.samples:
            lines += [
                f"# HELP {family.name} {family.help.translate(_HELP_ESCAPES)}",
                f"# TYPE {family.name} {family.kind}",
                *family.samples,
            ]
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    """A label's value; what is no valid Unicode (a lone surrogate) is replaced, so that the page can be sent."""
    return text.encode("utf-8", "replace").decode("utf-8").translate(_LABEL_ESCAPES)


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return repr(value)
