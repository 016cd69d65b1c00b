"""Tables of the commands: all columns in a pipe, those that fit at a terminal."""

from __future__ import annotations

import io
import os

import pytest

from otel_llm.cli import COMMANDS, main
from otel_llm.cli.tables import Column, write_table

COLUMNS = [Column("name"), Column("calls", numeric=True), Column("time", spare=1), Column("long heading", spare=2)]
ROWS = [["acme", "1", "12:00:01", "x"], ["globex", "20", "12:00:02", "y"]]


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def written(out: io.StringIO, columns: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of a table with totals, where the terminal is so wide."""
    monkeypatch.setenv("COLUMNS", str(columns))
    write_table(out, COLUMNS, ROWS, totals=["all", "21", "", ""])
    return out.getvalue().splitlines()


def test_a_wide_terminal_gets_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is room, nothing is left out and nothing said."""
    lines = written(Terminal(), 80, monkeypatch)
    assert lines[0] == "name    calls  time      long heading"
    assert lines[-1].split() == ["all", "21"]
    assert len(lines) == 6


def test_a_narrow_terminal_gets_what_fits_and_is_told_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns go in their order until the table fits, and a line names them."""
    lines = written(Terminal(), 25, monkeypatch)
    assert lines[0] == "name    calls  time"
    assert max(map(len, lines[:-1])) <= 25
    assert lines[-1] == "(In 25 columns there is no room for: long heading.)"


def test_too_narrow_for_any_table_is_one_line_for_each_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where even the columns that are never left out do not fit, every cell has its line."""
    lines = written(Terminal(), 10, monkeypatch)
    assert lines[:4] == ["name          acme", "calls         1", "time          12:00:01", "long heading  x"]
    assert lines[-2:] == ["name          all", "calls         21"]


def test_a_pipe_gets_every_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no terminal has no width."""
    assert written(io.StringIO(), 10, monkeypatch)[0] == "name    calls  time      long heading"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The help of each command fits 80 columns, and says how it is used and what its exit codes mean."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    said = capsys.readouterr().out
    assert f"examples:{os.linesep}  " in said
    assert "exit code: " in said
    assert max(map(len, said.splitlines())) <= 80


def test_the_list_of_commands_fits_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`otel-llm --help` wraps what a command is for."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main(["--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
