"""The reference page of settings is what the table of settings says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from otel_llm.config import SETTINGS
from otel_llm.config.docs import PAGE, main, page

if TYPE_CHECKING:
    from pathlib import Path


def test_the_page_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """docs/settings.md equals what `python -m otel_llm.config.docs` would write."""
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_is_found_and_rewritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--check` fails on a page that differs or is missing, and writing it anew cures that."""
    stale = tmp_path / "settings.md"
    assert main(["--check", "--page", str(stale)]) == 1
    stale.write_text(PAGE.read_text().replace("batch", "bunch"))
    assert main(["--check", "--page", str(stale)]) == 1
    assert "is stale" in capsys.readouterr().err
    assert main(["--page", str(stale)]) == 0
    assert main(["--check", "--page", str(stale)]) == 0


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_described(setting: object) -> None:
    """Each setting has one sentence, a kind and its variables on the page."""
    assert setting.about.endswith(".")
    assert f"### `{setting.name}`\n\n{setting.about}" in page()
    assert all(f"`{alias.variable}`" in page() for alias in setting.aliases)


def test_the_page_ends_in_verify_and_troubleshooting() -> None:
    """A guide of ours says how to see that it worked and what to do when it did not."""
    headings = [line for line in page().splitlines() if line.startswith("## ")]
    assert headings[-2:] == ["## Verify", "## Troubleshooting"]
