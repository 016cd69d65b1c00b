"""Plain text tables and CSV for the commands, safe to show whatever the cells hold.

Names of tenants and models come from outside. On a terminal a control character in one could move the cursor
or recolour the screen, and in a spreadsheet a leading `=` would be run as a formula; neither gets through.
"""

from __future__ import annotations

import csv
import io
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


def write_table(
    out: TextIO,
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    totals: Sequence[str] | None = None,
) -> None:
    """Write `rows` under their headings, aligned, with `totals` below a rule."""
    body = [[safe_text(cell) for cell in row] for row in rows]
    last = [[safe_text(cell) for cell in totals]] if totals is not None else []
    head = [column.heading for column in columns]
    widths = [max(_width(line[index]) for line in [head, *body, *last]) for index in range(len(columns))]
    lines = [head, ["-" * width for width in widths], *body]
    if last:
        lines += [["-" * width for width in widths], *last]
    for line in lines:
        cells = (_padded(cell, width, column) for cell, width, column in zip(line, widths, columns, strict=True))
        write_line(out, _GAP.join(cells).rstrip())


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
