"""`--store`, of the commands that read the local store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

__all__ = ["add_store_argument", "chosen_store"]


def add_store_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--store` to a command."""
    parser.add_argument("--store", type=Path, metavar="PATH", help="the store's file (default: from the configuration)")


def chosen_store(args: argparse.Namespace) -> Path:
    """The store that was named, or else the configured one; raises ConfigError for a configuration that is wrong."""
    if args.store:
        return Path(args.store)
    from otel_llm import config  # noqa: PLC0415  (reads files and the environment; --store does without)

    return Path(config.load().store_path)
