"""The tables are made of a file of figures alone: here of a real run of every scene, `--quick`, with few peers."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import benchmarks.__main__ as command
from benchmarks.budgets import Row, best_peer, rows
from benchmarks.floors import nearness
from benchmarks.report import BEGIN, END, as_markdown, failures, put_into
from benchmarks.results import Results
from benchmarks.scenes import SCENES
from benchmarks.scenes.calls import KINDS, of_kind

FIGURES = Path(__file__).with_name("quick-run.json")
PAGE = Path(__file__).parents[2] / "docs" / "performance.md"


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A run of every scene."""
    shutil.copy(FIGURES, tmp_path / "figures.json")
    return Results(tmp_path / "figures.json")


def test_the_file_has_every_scene(results: Results) -> None:
    """A scene that is added, or a format that changes, needs a new run: `tests/benchmarks/README.md` says how."""
    assert set(results.scenes) == set(SCENES)


def test_every_budget_is_stated_with_its_figure_and_whether_it_is_met(results: Results) -> None:
    """No row is left without a figure, and each says yes or no as its numbers do."""
    found = rows(results.runs)
    text = as_markdown(results)
    assert all(row.values for row in found), [row.what for row in found if not row.values]
    for row in found:
        line = next(line for line in text.splitlines() if line.startswith(f"| {row.what} |"))
        assert line.endswith("| yes |" if row.met else "| **no** |")
    words = " ".join(row.what for row in found)
    for budget in ("best peer on OpenTelemetry", "litellm's `opik` callback", "caller's thread, median", "p99, wall",
                   "`stock_http`", "`opik_span`", "burst of 20,000", "CPU", "memory", "outage of 30 s", "`kill -9`",
                   "dead backend", "hanging backend"):  # fmt: skip
        assert budget in words


def test_every_scene_and_kind_of_call_has_its_table(results: Results) -> None:
    """With a row for each that was measured, and the line that says when and how."""
    text = as_markdown(results)
    for name, scene in SCENES.items():
        assert f"`--only {name}`" in text
        for table in scene.tables(results.runs(name)):
            assert f"**{table.title}**" in text
            assert table.rows
            assert all(len(row) == len(table.columns) for row in table.rows), table.title
    assert all(kind.says in text for kind in KINDS)
    assert nearness(results.runs).rows
    assert "failed:" not in text


def test_what_was_not_measured_is_said_to_be_not_measured(tmp_path: Path, results: Results) -> None:
    """Half a run makes half the tables, and claims nothing of the rest."""
    results.scenes = {"floors": results.scenes["floors"]}
    text = as_markdown(results)
    assert "| not measured |" in text
    assert "| yes |" not in text
    assert as_markdown(Results(tmp_path / "none.json")) == "Nothing was measured yet.\n"


def test_a_job_that_failed_is_in_the_table_with_its_reason(results: Results) -> None:
    """Its row says why; the others stand."""
    results.runs("raw")["stock_http"][:] = [{"error": "Traceback\nOSError: no | space"}]
    assert "| stock_http | failed: OSError: no / space |" in as_markdown(results)
    assert "raw stock_http" in failures(results)


def test_the_page_takes_the_tables_and_keeps_the_rest(tmp_path: Path, results: Results) -> None:
    """What stands outside of the marks stays; the same figures make the same page."""
    page = tmp_path / "performance.md"
    shutil.copy(PAGE, page)
    before = page.read_text()
    put_into(page, as_markdown(results))
    after = page.read_text()
    assert as_markdown(results) in after
    assert (before.partition(BEGIN)[0], before.partition(END)[2]) == (
        after.partition(BEGIN)[0],
        after.partition(END)[2],
    )
    put_into(page, as_markdown(results))
    assert page.read_text() == after
    page.write_text("no marks")
    with pytest.raises(ValueError, match=r"has no place for the tables"):
        put_into(page, "x")


def test_the_command_makes_the_page_of_a_real_run_and_not_of_a_quick_one(
    tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--report --docs`: a quick run's figures are refused."""
    page = tmp_path / "performance.md"
    shutil.copy(PAGE, page)
    monkeypatch.setattr(command, "_PAGE", page)
    asked = ["--report", "--docs", "--out", str(tmp_path)]
    before = page.read_text()
    with pytest.raises(SystemExit):
        command.main(asked)
    assert page.read_text() == before
    document = json.loads((tmp_path / "figures.json").read_text())
    for scene in document["scenes"].values():
        scene["options"]["size"] = "short"
    (tmp_path / "figures.json").write_text(json.dumps(document))
    assert command.main(asked) == 0
    printed = capsys.readouterr().out
    assert printed.strip() in page.read_text()


def test_other_options_do_not_overwrite_what_is_there(
    tmp_path: Path, results: Results, capsys: pytest.CaptureFixture[str]
) -> None:
    """Figures of hours are not lost to a wrong flag."""
    assert results.scenes
    with pytest.raises(SystemExit):
        command.main(["--short", "--out", str(tmp_path), "--estimate"])
    assert "with other options" in capsys.readouterr().err
    assert command.main(["--short", "--out", str(tmp_path), "--estimate", "--again"]) == 0


@pytest.mark.parametrize(
    ("values", "more", "met"),
    [
        ((0.4, 0.5, 9.0), {}, True),
        ((0.4, 0.6, 0.7), {}, False),
        ((0.4, 0.4, 0.6), {"worst": True}, False),
        ((0.6, 0.7), {"at_least": True, "worst": True}, True),
        ((0.4, 0.9, 0.9), {"at_least": True, "worst": True}, False),
        ((), {}, None),
    ],
)
def test_a_budget_holds_in_the_median_or_in_every_round(
    values: tuple[float, ...], more: dict[str, Any], met: bool | None
) -> None:
    """Times in the median, counts in every round; nothing measured is neither."""
    assert Row("what", 0.5, "x", values, **more).met is met


def test_the_best_peer_is_the_cheapest_that_delivers_whole_calls(results: Results) -> None:
    """Who sends less does not win, however cheap."""
    runs = of_kind(results.runs("calls"), "mock")
    peer = best_peer(runs)
    assert peer is not None
    for run in runs[peer]:
        run["arrived"]["whole_recorded"] = 0
    assert best_peer(runs) != peer


def test_numbers_of_the_tables_are_those_of_the_file(results: Results) -> None:
    """A ratio of a budget is what dividing by hand gives."""
    raw = results.runs("raw")
    row = next(row for row in rows(results.runs) if "each a trace of its own: `ours_opik` against" in row.what)
    assert row.values == (raw["ours_opik"][0]["cpu"] / raw["stock_http"][0]["cpu"],)
    shown = next(line for line in as_markdown(results).splitlines() if line.startswith(f"| {row.what} |"))
    assert re.search(rf"\| {row.values[0]:.3f} x \|", shown)
