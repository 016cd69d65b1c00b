"""`python -m benchmarks`: environments, servers, scenes, tables.

python -m benchmarks --out DIR                    everything, seven rounds: hours, see --estimate
python -m benchmarks --out DIR --short            every scene, peer and budget, three rounds: fifty minutes
python -m benchmarks --out DIR --quick            everything once, as small as it can be: does it work?
python -m benchmarks --out DIR --only raw calls/otel_llm calls/openinference
python -m benchmarks --out DIR --report --docs    measure nothing; write the tables into docs/performance.md

It may be cut off at any time. Started again with the same options and the same DIR it goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.driver import Bench, Runs, say, serving
from benchmarks.environments import ENVIRONMENTS, REPOSITORY, compile_ours, make_environment
from benchmarks.report import as_markdown, failures, put_into
from benchmarks.results import Results, Watch
from benchmarks.scenes import SCENES, SIZES, Options

if TYPE_CHECKING:
    from collections.abc import Callable

_PAGE = REPOSITORY / "docs" / "performance.md"
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "otel-llm" / "bench"

Plan = dict[str, Options]
"""The scenes to measure, in their order, each with how much of it."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, keep; 1 where a job failed."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    out, work = Path(asked.out).absolute(), Path(asked.work).absolute()
    try:
        plan = planned(asked)
    except ValueError as error:
        parser.error(str(error))
    if asked.environments:
        for name in ENVIRONMENTS:
            make_environment(work, name)
        return 0
    results = Results(out / "figures.json")
    if not asked.report:
        others = [name for name, options in plan.items() if results.differs(name, options)]
        if others and not asked.again:
            parser.error(
                f"{out} has {', '.join(others)} with other options: name another --out, or --again to replace it"
            )
        left = {name: options for name, options in plan.items() if asked.again or not results.complete(name)}
        print(_estimate(left), file=sys.stderr, flush=True)
        if asked.estimate:
            return 0
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        _measure(work, left, results, again=asked.again)
    text = as_markdown(results)
    if asked.docs:
        if quick := results.of_size("quick"):
            parser.error(f"--quick says nothing of anybody's speed, and made {', '.join(quick)}: not for the docs")
        put_into(_PAGE, text)
    print(text)
    return 1 if failures(results) else 0


def planned(asked: argparse.Namespace) -> Plan:
    """What is asked for; ValueError where there is no such scene or peer."""
    options = SIZES["quick" if asked.quick else "short" if asked.short else "full"]
    if asked.rounds:
        options = options.with_rounds(asked.rounds)
    named: dict[str, list[str]] = {}
    for entry in asked.only or SCENES:
        scene, _, peer = entry.partition("/")
        if scene not in SCENES:
            raise ValueError(f"there is no scene {scene}; there are {', '.join(SCENES)}")
        named.setdefault(scene, []).extend([peer] if peer else [])
    return {name: scene.chosen(options, tuple(named[name])) for name, scene in SCENES.items() if name in named}


def _estimate(plan: Plan) -> str:
    seconds = {name: SCENES[name].seconds(options) for name, options in plan.items()}
    lines = [f"{seconds[name] / 60:7.1f} min  {name:12} {SCENES[name].about}" for name in plan]
    return "\n".join([*lines, f"{sum(seconds.values()) / 60:7.1f} min  on a quiet machine of two cores"])


class Progress:
    """How long the rest takes: what was estimated of it, corrected by how long the scenes before it really took."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = dict(seconds)
        self._estimated = self._taken = 0.0
        self._scene, self._began = "", time.monotonic()

    def begin(self, scene: str) -> None:
        """A scene begins."""
        self._scene, self._began = scene, time.monotonic()

    def end(self) -> float:
        """It is over; seconds that it took."""
        taken = time.monotonic() - self._began
        self._estimated += self._seconds.pop(self._scene)
        self._taken += taken
        return taken

    def left(self) -> str:
        """In words, for the end of a line."""
        factor = self._taken / self._estimated if self._estimated else 1.0
        rest = sum(self._seconds.values()) * factor - (time.monotonic() - self._began)
        others = sum(value for name, value in self._seconds.items() if name != self._scene) * factor
        return f" ({max(rest, others) / 60:.0f} min left)"


def _measure(work: Path, plan: Plan, results: Results, *, again: bool) -> None:
    if not plan:
        return
    work.mkdir(parents=True, exist_ok=True)
    for name in ENVIRONMENTS:
        make_environment(work, name)
    compile_ours()
    python = make_environment(work, "otel_llm")
    progress = Progress({name: SCENES[name].seconds(options) for name, options in plan.items()})
    with serving(python) as provider, serving(python) as sink, serving(python, "grpc_sink.py") as grpc_sink:
        bench = Bench(work, provider, sink, grpc_sink)
        bench.left = progress.left
        for name, options in plan.items():
            progress.begin(name)
            bench.earlier = {} if again else results.begun(name, options)
            _scene(bench, name, options, results)
            say(f"scene {name}: {progress.end() / 60:.1f} min{progress.left()}")
            results.beside("performance.md", as_markdown(results))


def _scene(bench: Bench, name: str, options: Options, results: Results) -> None:
    say(f"scene {name}, about {SCENES[name].seconds(options) / 60:.0f} min{bench.left()}")
    watch = Watch(bench.work, results.seconds(name) if bench.earlier else 0.0)

    def keep(runs: Runs) -> None:
        results.keep(name, runs, options, watch.facts(runs), complete=False)

    bench.on_round = keep
    measure: Callable[[Bench, Options], Runs] = SCENES[name].measure
    runs = measure(bench, options)
    results.keep(name, runs, options, watch.facts(runs), complete=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", default=str(_CACHE / "results"), help="directory of all figures and tables; default %(default)s")
    add(
        "--only",
        nargs="+",
        metavar="SCENE[/PEER]",
        help=f"scenes, or peers (of raw spans: ways) of: {', '.join(SCENES)}",
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--short", action="store_true", help="every scene, peer and budget in fifty minutes")
    size.add_argument("--quick", action="store_true", help="everything once and small: a test of the benchmark itself")
    add("--rounds", type=int, help=f"default {SIZES['full'].rounds}, short {SIZES['short'].rounds}")
    add("--again", action="store_true", help="measure anew what is in the directory already")
    add("--report", action="store_true", help="measure nothing, make the tables of what is in the directory")
    add("--docs", action="store_true", help="write the tables into docs/performance.md")
    add("--estimate", action="store_true", help="say how long it would take, and stop")
    add("--environments", action="store_true", help="make the peers' environments, and stop")
    add("--work", default=str(_CACHE), help="directory of the peers' environments; default %(default)s")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("cut off; the same command goes on from here")
