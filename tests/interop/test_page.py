"""The table of docs/interop.md says what the matrix asserts."""

from __future__ import annotations

from pathlib import Path

from tests.interop.cases import VENDORS

PAGE = Path(__file__).parents[2] / "docs" / "interop.md"


def test_the_table_is_that_of_the_matrix() -> None:
    """One row for each vendor, in the words of its expectations, and no other row."""
    expected = [
        f"| {vendor.name} | {vendor.how} | {vendor.gets} | {vendor.we_get} | {vendor.trace} |"
        for vendor in VENDORS.values()
    ]
    lines = PAGE.read_text().splitlines()
    start = lines.index("| beside | set up by | it gets | our backends get | the trace |") + 2
    found = lines[start : lines.index("", start)]
    assert found == expected, "\n".join(["docs/interop.md should have:", *expected])
