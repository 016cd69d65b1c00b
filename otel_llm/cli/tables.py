"""Plain text tables and CSV for the commands, safe to show whatever the cells hold.

Names of tenants and models come from outside. On a terminal a control character in one could move the cursor
or recolour the screen, and in a spreadsheet a leading `=` would be run as a formula; neither gets through.
"""

from __future__ import annotations

import csv
import io
import shutil
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from otel_llm.store.human import TURNS_TEXT_AROUND

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Column", "safe_text", "write_csv", "write_line", "write_table"]

_GAP = "  "
_FORMULA_STARTS = ("=", "+", "-", "@")


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and whether it holds numbers, which stand to the right."""

    heading: str
    numeric: bool = False
    spare: int = 0
    """Left out where a terminal is too narrow for all, the highest first; 0: never."""


def write_table(
    out: TextIO,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    totals: Sequence[str] | None = None,
) -> None:
    """Write `rows` under their headings, aligned, with `totals` below a rule.

    A terminal that is too narrow gets the columns that fit, and is told which are missing; where even those that are
    never left out do not fit, it gets a line for each cell.
    """
    head = [column.heading for column in columns]
    lines = [head, *([safe_text(cell) for cell in row] for row in (*rows, *([] if totals is None else [totals])))]
    widths = [max(_width(line[index]) for line in lines) for index in range(len(columns))]
    room = shutil.get_terminal_size().columns if out.isatty() else None
    shown = _fitting(columns, widths, room)
    if shown is None:
        _write_cell_by_cell(out, lines)
        return
    columns, widths = [columns[index] for index in shown], [widths[index] for index in shown]
    lines = [[line[index] for index in shown] for line in lines]
    rule = ["-" * width for width in widths]
    lines.insert(1, rule)
    if totals is not None:
        lines.insert(-1, rule)
    for line in lines:
        cells = (_padded(cell, width, column) for cell, width, column in zip(line, widths, columns, strict=True))
        write_line(out, _GAP.join(cells).rstrip())
    missing = [name for index, name in enumerate(head) if index not in shown]
    if missing:
        write_line(out, f"(In {room} columns there is no room for: {', '.join(missing)}.)")


def _fitting(columns: Sequence[Column], widths: Sequence[int], room: int | None) -> list[int] | None:
    """Indices of the columns that fit into `room` (None: as much as it takes) beside each other; None if too few do."""
    shown = list(range(len(columns)))
    while room is not None and sum(widths[index] + len(_GAP) for index in shown) - len(_GAP) > room:
        last = max(shown, key=lambda index: columns[index].spare)
        if not columns[last].spare:
            return None
        shown.remove(last)
    return shown


def _write_cell_by_cell(out: TextIO, lines: Sequence[Sequence[str]]) -> None:
    """Write each line as a paragraph, with the heading before each cell."""
    head, *body = lines
    width = max(map(_width, head))
    for number, line in enumerate(body):
        if number:
            write_line(out, "")
        for heading, cell in zip(head, line, strict=True):
            if cell:
                write_line(out, f"{_padded(heading, width, Column(heading))}{_GAP}{cell}")


def write_line(out: TextIO, line: str) -> None:
    """Write one line, with what the stream's encoding lacks spelt out instead of failing."""
    encoding = out.encoding or "utf-8"
    out.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def write_csv(out: TextIO, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write CSV (RFC 4180, but with `\\n`), one line per row; None is an empty cell.

    Text cannot be taken for a formula, and its control characters are spelt out, so that none ends a row.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(headings)
    writer.writerows([_csv_cell(cell) for cell in row] for row in rows)
    write_line(out, lines.getvalue().removesuffix("\n"))


def _csv_cell(cell: object) -> object:
    if cell is None:
        return ""
    if isinstance(cell, str):
        text = safe_text(cell)
        return "'" + text if text.startswith(_FORMULA_STARTS) else text
    return cell


def safe_text(text: str) -> str:
    """`text` with control characters, and those that turn the writing direction, spelt out."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_spelt(character) for character in text)


def _spelt(character: str) -> str:
    if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in TURNS_TEXT_AROUND:
        return character.encode("unicode_escape").decode("ascii")
    return character


def _padded(cell: str, width: int, column: Column) -> str:
    space = " " * (width - _width(cell))
    return space + cell if column.numeric else cell + space


def _width(text: str) -> int:
    """Columns that `text` takes on a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
