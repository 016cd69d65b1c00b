"""A run keeps what it has, goes on where it was cut off, and compares only what was measured together."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.__main__ import Progress, _parser, planned
from benchmarks.driver import Bench, Server, serving
from benchmarks.results import Results, Watch
from benchmarks.scenes import SCENES, SIZES, Options
from benchmarks.scenes.scene import PEER_NAMES

if TYPE_CHECKING:
    from benchmarks.driver import Runs

QUICK = SIZES["quick"]


class Cut(BaseException):
    """As a signal cuts a run off."""


class Counting:
    """Cases that count how often each is run, and are cut off at the run of this number."""

    def __init__(self, cut_at: int = 0) -> None:
        self.calls: list[str] = []
        self.cut_at = cut_at

    def case(self, name: str) -> dict[str, Any]:
        if len(self.calls) + 1 == self.cut_at:
            raise Cut
        self.calls.append(name)
        return {"number": len(self.calls)}

    def cases(self, *names: str) -> dict[str, Any]:
        return {name: partial(self.case, name) for name in names}


def kept_by(bench: Bench) -> list[Runs]:
    """What is kept after each round."""
    kept: list[Runs] = []
    bench.on_round = lambda runs: kept.append({name: list(results) for name, results in runs.items()})
    return kept


def test_rounds_that_were_whole_stay_and_the_one_that_was_cut_is_measured_anew(bench: Bench) -> None:
    """Cut in the third of four rounds, the first two are kept and two more are made."""
    first, kept = Counting(cut_at=8), kept_by(bench)
    with pytest.raises(Cut):
        bench.interleaved(first.cases("a", "b", "c"), 4)
    assert [len(runs["a"]) for runs in kept] == [1, 2]
    again = Counting()
    bench.earlier = {**kept[-1], "a": [*kept[-1]["a"], {"number": 99}]}  # one of the third round
    found = bench.interleaved(again.cases("a", "b", "c"), 4)
    assert len(again.calls) == 6
    assert {name: len(results) for name, results in found.items()} == {"a": 4, "b": 4, "c": 4}
    assert {"number": 99} not in found["a"]


def test_what_is_whole_is_not_measured_again(bench: Bench) -> None:
    """Nothing is run, and what there was comes back."""
    before = {"a": [{"number": 1}, {"number": 2}], "b": [{"number": 3}]}
    bench.earlier = dict(before)
    nothing = Counting(cut_at=1)
    assert bench.interleaved(nothing.cases("a", "b"), {"a": 2, "b": 1}) == before
    assert bench.each(nothing.cases("a", "b"), {"a": 2, "b": 1}, 2) == before


def test_cases_with_fewer_rounds_are_in_the_first_ones(bench: Bench) -> None:
    """Whoever is wanted once is compared with the first round of the others."""
    counting = Counting()
    found = bench.interleaved(counting.cases("often", "once"), {"often": 3, "once": 1})
    assert (len(found["often"]), len(found["once"])) == (3, 1)
    assert "once" in counting.calls[:2]


def test_what_is_only_counted_is_kept_case_by_case(bench: Bench) -> None:
    """Each case that is over is kept at once; only the rest is done after a cut."""
    first, kept = Counting(cut_at=3), kept_by(bench)
    with pytest.raises(Cut):
        bench.each(first.cases("a", "b", "c"), {"a": 1, "b": 1, "c": 2}, 1)
    assert kept[-1] == {"a": [{"number": 1}], "b": [{"number": 2}]}
    again = HereAgain(bench, kept[-1])
    counting = Counting()
    found = again.each(counting.cases("a", "b", "c"), {"a": 1, "b": 1, "c": 2}, 2)
    assert counting.calls == ["c", "c"]
    assert {name: len(results) for name, results in found.items()} == {"a": 1, "b": 1, "c": 2}


class HereAgain(Bench):
    """The driver of a later run."""

    def __init__(self, bench: Bench, earlier: Runs) -> None:
        super().__init__(bench.work, bench.provider, bench.sink, bench.grpc_sink)
        self.earlier = earlier


def kept(file: Path, options: Options, *, complete: bool) -> Results:
    """A file with one scene, read again."""
    facts = Watch(file.parent).facts({})
    Results(file).keep("floors", {"floors": [{"span_us": 20.0}]}, options, facts, complete=complete)
    return Results(file)


def test_a_scene_goes_on_only_with_the_same_options_and_code(tmp_path: Path) -> None:
    """Other options are said to be others; another commit begins anew."""
    results = kept(tmp_path / "figures.json", QUICK, complete=False)
    assert not results.complete("floors")
    assert not results.differs("floors", QUICK)
    assert results.begun("floors", QUICK) == {"floors": [{"span_us": 20.0}]}
    assert results.differs("floors", QUICK.with_rounds(2))
    assert results.begun("floors", QUICK.with_rounds(2)) == {}
    results.scenes["floors"]["machine"]["commit"] = "another"
    assert results.begun("floors", QUICK) == {}
    assert kept(tmp_path / "whole.json", QUICK, complete=True).complete("floors")


def asked(*words: str) -> dict[str, Options]:
    """The plan of a command line."""
    return planned(_parser().parse_args(words))


def test_only_names_scenes_and_peers_of_scenes() -> None:
    """`SCENE` is all of it; `SCENE/PEER`, also of several, a part; the order is that of the scenes."""
    plan = asked("--quick", "--only", "raw/ours_opik", "calls/otel_llm", "calls/openinference", "burst")
    assert list(plan) == ["calls", "raw", "burst"]
    assert plan["calls"] == replace(QUICK, peers=("otel_llm", "openinference"))
    assert plan["raw"].ways == ("ours_opik",)
    assert plan["burst"] == QUICK
    assert set(asked()) == set(SCENES)
    assert asked("--short", "--rounds", "1")["calls"].few == 1
    assert asked()["calls"].peers == PEER_NAMES


@pytest.mark.parametrize("word", ["nowhere", "calls/nobody", "floors/otel_llm", "raw/otel_llm"])
def test_what_there_is_not_is_refused(word: str) -> None:
    """A scene or peer that does not exist is an error that names those that do."""
    with pytest.raises(ValueError, match=r"there is no scene nowhere; there are payload|has no"):
        asked("--only", word)


def test_every_scene_has_an_estimate_for_every_size() -> None:
    """And the short run is planned to fit in 52 minutes on a quiet machine."""
    for options in SIZES.values():
        assert all(scene.seconds(options) > 0 for scene in SCENES.values())
    assert sum(scene.seconds(SIZES["short"]) for scene in SCENES.values()) < 52 * 60


def test_the_time_left_follows_how_long_scenes_took() -> None:
    """Twice as slow as estimated in the first scene, the rest is reckoned twice as long."""
    progress = Progress({"one": 0.05, "two": 3600.0})
    progress.begin("one")
    assert progress.left() == " (60 min left)"
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        time.sleep(0.01)
    progress.end()
    progress.begin("two")
    assert int(progress.left().strip(" (").split()[0]) >= 119


def test_servers_end_with_whoever_started_them(tmp_path: Path) -> None:
    """Killed without a chance to tidy up, a run leaves no server behind."""
    program = (
        "import sys, os, signal; from pathlib import Path; from benchmarks.driver import serving\n"
        "with serving(Path(sys.executable)) as server:\n"
        "    print(server.process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    pid, deadline = int(done.stdout), time.monotonic() + 20
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            os.kill(pid, 0)
            if "State:\tZ" in Path(f"/proc/{pid}/status").read_text():  # nobody waits for it here
                return
            time.sleep(0.05)
        pytest.fail("the server still runs")


def test_a_run_in_small_goes_through_server_job_and_report(bench: Bench) -> None:
    """Real spans through the SDK's pipeline and ours, counted by the sink, compared within a round."""
    options = replace(QUICK, ways=("stock_http", "ours_opik"), spans=200)
    runs = SCENES["raw"].measure(bench, options)
    assert {way: [run.get("error") for run in results] for way, results in runs.items()} == {
        "stock_http": [None],
        "ours_opik": [None],
    }
    assert all(results[0]["arrived"]["whole"] == 200 for results in runs.values())
    rows = {row[0]: row for row in SCENES["raw"].tables(runs)[0].rows}
    assert float(rows["ours_opik"][3]) == pytest.approx(
        runs["ours_opik"][0]["cpu"] / runs["stock_http"][0]["cpu"], abs=0.01
    )


def test_calls_of_two_kinds_in_one_process_are_counted_apart(bench: Bench) -> None:
    """Each kind has its own numbers and sizes, and of each every recorded call arrives whole, and no other."""
    kinds = [
        {"name": "small", "kind": "mock", "content": 2000, "chunks": 20, "block": 3, "pairs": 1},
        {"name": "large", "kind": "stream", "content": 8000, "chunks": 5, "block": 2, "pairs": 1},
    ]
    run = bench.run({"scene": "calls", "peer": "otel_llm", "kinds": kinds})
    assert "error" not in run, run
    found = {name: kind["arrived"] for name, kind in run["kinds"].items()}
    for name, count in (("small", 2 * (1 + 3)), ("large", 2 * (1 + 2))):  # two blocks, with the calls that come before
        assert (found[name]["recorded"], found[name]["whole_recorded"]) == (count, count)
        assert found[name]["not_to_be_recorded"] == 0
    assert len(run["kinds"]["small"]["pairs"]) == 1


def test_a_job_that_fails_says_why_and_is_kept_as_such(bench: Bench) -> None:
    """The last words of its process are in the result."""
    assert "KeyError" in bench.run({"scene": "raw", "peer": "no such way", "traces": False, "arrives": True})["error"]


def test_stopping_ends_the_processes_that_run(tmp_path: Path, sink: Server, bench: Bench) -> None:
    """A run that is cut off kills its jobs at once and keeps nothing of them."""
    kept_runs = kept_by(bench)
    job = {"scene": "memory", "peer": "bare", "count": 100_000, "rate": 10.0, "keep": True}

    def cut() -> dict[str, Any]:
        deadline = time.monotonic() + 30
        while not bench._running and time.monotonic() < deadline:
            time.sleep(0.05)
        raise Cut

    began = time.monotonic()
    with pytest.raises(Cut):
        bench.each({"cut": cut, "long": partial(bench.run, job)}, {"cut": 1, "long": 1}, 2)
    assert time.monotonic() - began < 60
    assert not bench._running
    assert kept_runs == []


def test_a_server_that_does_not_start_is_an_error(tmp_path: Path) -> None:
    """It is said which."""
    with pytest.raises(AssertionError, match=r"nothing\.py did not start"), serving(Path(sys.executable), "nothing.py"):
        pass
