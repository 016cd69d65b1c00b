"""What every scene is told, and what a scene is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.driver import Bench, Runs
    from benchmarks.figures import Table

OURS = ("otel_llm", "otel_llm_otlp", "otel_llm_local")
OTEL_BASED = (
    "openinference",
    "openllmetry",
    "openlit",
    "logfire",
    "langfuse_callback",
    "langfuse_sdk",
    "litellm_otel",
)
OPIK_SDK = ("opik_track", "opik_callback")
PEER_NAMES = (*OURS, *OTEL_BASED, *OPIK_SDK)
"""All that make calls, ours first; `bare` litellm always runs with them."""


@dataclass(frozen=True)
class Options:
    """How much is measured."""

    size: str = "full"
    """What these options are called: `full`, `short`, `quick`."""
    rounds: int = 7
    few: int = 3
    """Rounds of scenes whose figures are counts, or that take minutes; never more than `rounds`."""
    peers: tuple[str, ...] = PEER_NAMES
    ways: tuple[str, ...] = ()
    """Of raw spans; none named: all that the scene has."""
    scale: float = 1.0
    """Of blocks of calls."""
    pairs: float = 1.0
    """Of pairs of blocks."""
    spans: int = 100_000
    opik_spans: int = 1_000
    extra_ways: bool = True
    """Ways for raw spans too that no budget and no peer needs."""
    burst: int = 20_000
    latency_calls: int = 1_500
    lateness_seconds: float = 10.0
    visible_seconds: float = 10.0
    before: float = 5.0
    away: float = 30.0
    away_killed: float = 10.0
    patience: float = 60.0
    outage_patience: float = 60.0
    """As long as the longest wait between two attempts of ours."""
    exit_patience: float = 150.0
    at_once: int = 4
    """Services that only wait and count, at a time."""
    memory_peers: tuple[str, ...] = ("bare", "otel_llm", "openinference", "opik_callback")
    memory_calls: int = 100_000
    memory_rate: float = 250.0
    store_spans: int = 1_000_000
    collector_spans: int = 20_000

    def with_rounds(self, rounds: int) -> Options:
        """So many rounds, and of the scenes with few rounds no more than that."""
        return replace(self, rounds=rounds, few=min(self.few, rounds))


SIZES = {
    "full": Options(),
    "short": Options(
        size="short",
        rounds=3,
        few=1,
        pairs=0.5,
        spans=10_000,
        opik_spans=500,
        extra_ways=False,
        latency_calls=600,
        lateness_seconds=4.0,
        patience=20.0,
        exit_patience=60.0,
        at_once=8,
        memory_peers=("bare", "otel_llm"),
        memory_rate=500.0,
        store_spans=200_000,
        collector_spans=10_000,
    ),
    "quick": Options(
        size="quick",
        rounds=1,
        few=1,
        scale=0.1,
        pairs=0.1,
        spans=2_000,
        opik_spans=100,
        burst=3_000,
        latency_calls=100,
        lateness_seconds=1.0,
        visible_seconds=1.0,
        before=1.0,
        away=3.0,
        away_killed=2.0,
        patience=15.0,
        outage_patience=15.0,
        exit_patience=20.0,
        at_once=8,
        memory_calls=1_000,
        store_spans=10_000,
        collector_spans=256,
    ),
}
"""Everything, in hours; every budget and every peer, in half an hour; a test of the benchmark itself, of which no
figure says anything."""


@dataclass(frozen=True)
class Scene:
    """One scene."""

    name: str
    about: str
    measure: Callable[[Bench, Options], Runs]
    tables: Callable[[Runs], list[Table]]
    seconds: Callable[[Options], float]
    """How long it takes on a quiet machine of two cores, about."""
    whose: tuple[str, ...] = PEER_NAMES
    """What can be chosen of it: peers, or ways for raw spans."""

    def chosen(self, options: Options, names: tuple[str, ...]) -> Options:
        """`options` for no more than these; ValueError for a name that the scene does not have."""
        if unknown := [name for name in names if name not in self.whose]:
            raise ValueError(f"the scene {self.name} has no {', '.join(unknown)}; it has {', '.join(self.whose)}")
        if not names:
            return options
        if set(names) <= set(PEER_NAMES) and not set(self.whose) - set(PEER_NAMES):
            return replace(options, peers=names)
        return replace(options, ways=names)
