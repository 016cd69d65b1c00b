"""The Collector: spans per second and core through our Opik exporter, and through the stock one for OTLP."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.environments import REPOSITORY
from benchmarks.figures import Table, ratios, spread
from benchmarks.scenes.scene import Options, Scene

if TYPE_CHECKING:
    from benchmarks.driver import Bench, Runs

_SETUPS = {"sidecar": "opik", "sidecar, otlp_http": "otlp_http"}


def _measure(bench: Bench, options: Options) -> Runs:
    """`python -m benchmarks.collector --exporters`, which needs the built Collector and the development environment."""
    found = bench.so_far(_SETUPS.values())
    for number in range(len(found["opik"]), options.few):
        with bench.directory() as directory:
            file = directory / "collector.json"
            command = [sys.executable, "-m", "benchmarks.collector", "--exporters"]
            done = subprocess.run(
                [*command, "--spans", str(options.collector_spans), "--json", str(file)],
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                timeout=1200,
                check=False,
            )
            measured: list[dict[str, Any]] = json.loads(file.read_text())["speed"] if file.exists() else []
        for setup, exporter in _SETUPS.items():
            run = next((each for each in measured if each["setup"] == setup), {"error": done.stderr.strip()[-600:]})
            found[exporter].append(run)
            bench.said(number, options.few, exporter, run)
        bench.on_round(found)
    return found


def _tables(runs: Runs) -> list[Table]:
    table = Table(
        "The Collector, spans with 2 kB of content in requests of 64, queue on disk with fsync",
        ("exporter", "CPU per span (us)", "spans per core and second", "spans per second", "exporter / otlp_http, CPU"),
        notes=[
            "`opik` makes rows of what `otlp_http` passes on as it came; "
            "both uncompressed, with the same queue and batches."
        ],
    )

    def cpu(exporter: str, number: int) -> float | None:
        figure: float | None = runs[exporter][number].get("cpu_us_per_span")
        return figure

    for exporter, found in table.got_through(runs):
        figures = ("cpu_us_per_span", "spans_per_core_second", "spans_per_second")
        shown = [spread([run[figure] for run in found]) for figure in figures]
        table.rows.append((exporter, *shown, spread(ratios(runs, exporter, "otlp_http", cpu), 2)))
    return [table]


COLLECTOR_SCENES = (
    Scene(
        "collector", "spans per core and second through the Collector", _measure, _tables,
        lambda options: options.few * (20 + options.collector_spans * 0.0022), (),
    ),
)  # fmt: skip
