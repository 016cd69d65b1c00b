"""`python -m benchmarks`: environments, servers, scenes, tables.

python -m benchmarks                                  everything, seven rounds (hours on a small machine)
python -m benchmarks --scenes mock raw --rounds 7     what is asked for
python -m benchmarks --peers otel_llm openinference   against some
python -m benchmarks --json out.json --docs           keep the figures; write them into docs/performance.md
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.driver import REPOSITORY, Bench, make_environment, serving
from benchmarks.peers import PEERS
from benchmarks.report import as_markdown, put_into, save
from benchmarks.scenes import SCENES, WAYS, Options, Result


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, keep."""
    asked = _parser().parse_args(arguments)
    options = Options(
        rounds=asked.rounds, peers=tuple(asked.peers), spans=asked.spans, pairs=asked.pairs, ways=tuple(asked.ways)
    )
    work = Path(asked.work)
    work.mkdir(parents=True, exist_ok=True)
    python = make_environment(work, "otel_llm")
    results: dict[str, Result] = {}
    machine: dict[str, Any] = {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "rounds": asked.rounds,
        "load": {"lowest": os.getloadavg()[0], "highest": os.getloadavg()[0]},
    }
    with serving(python) as provider, serving(python) as sink:
        bench = Bench(work, provider, sink)
        for name in asked.scenes:
            print(f"scene {name}", file=sys.stderr)
            results[name] = SCENES[name](bench, options)
            load = machine["load"]
            machine["load"] = {
                "lowest": min(load["lowest"], os.getloadavg()[0]),
                "highest": max(load["highest"], os.getloadavg()[0]),
            }
            machine["finished"] = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
            if asked.json:
                save(Path(asked.json), results, machine)
            if asked.docs:  # after each scene, so that a run that is cut short leaves what it has
                put_into(REPOSITORY / "docs" / "performance.md", as_markdown(results, machine))
    print(as_markdown(results, machine))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Our cost beside everybody else's.")
    parser.add_argument("--scenes", nargs="+", choices=list(SCENES), default=list(SCENES))
    known = [name for name in PEERS if name != "bare"]
    parser.add_argument("--peers", nargs="+", choices=known, default=list(Options().peers))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="of raw spans")
    parser.add_argument("--rounds", type=int, default=Options().rounds)
    parser.add_argument("--pairs", type=int, default=Options().pairs)
    parser.add_argument("--spans", type=int, default=Options().spans)
    parser.add_argument("--work", default=str(Path(tempfile.gettempdir()) / "otel-llm-bench"), help="for environments")
    parser.add_argument("--json", help="file for every single figure")
    parser.add_argument("--docs", action="store_true", help="write the tables into docs/performance.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
