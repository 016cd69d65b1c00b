"""What the tests of deployment share: where the files are, and the Collector."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tests.collector.conftest import collector, go_command

__all__ = ["DEPLOY", "ROOT", "collector", "go_command"]

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
