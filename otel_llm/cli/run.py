"""`otel-llm run`: start a program with its LLM calls recorded, without a change to it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from otel_llm.config import load
from otel_llm.errors import ConfigError
from otel_llm.startup import run_environment

if TYPE_CHECKING:
    import argparse

    from otel_llm.config import Config

HELP = "run a program with its LLM calls recorded"

MORE = """\
It needs no change. Settings come from the environment (OTEL_LLM_BACKEND, ...)
and from otel-llm.toml.

examples:
  otel-llm run python app.py --its-own options
  otel-llm run -m package.module
  otel-llm run gunicorn -w 4 app:app

exit code: the program's own; 2 there is no such program, or a setting is wrong
"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Take everything after `run` as it stands; the program's options are not ours to read."""
    import argparse  # noqa: PLC0415  (its type is all that the module itself needs)

    parser.add_argument("-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE ...", help="run a module")
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, metavar="COMMAND ...", help="the program and its arguments"
    )


def run(args: argparse.Namespace) -> int:
    """Replace this process by the program. Raises `ConfigError` for wrong settings or a program that is not there."""
    command = ["-m", *args.module] if args.module else list(args.command)
    if command[:1] == ["--"]:
        command.pop(0)
    if not command:
        message = "There is nothing to run. Write the program after it: otel-llm run python app.py"
        raise ConfigError(message)
    _check_prices(load())
    command = _resolved(command)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(command[0], command, run_environment(os.environ))  # noqa: S606  (running the user's command is the point)


def _check_prices(settings: Config) -> None:
    """Refuse what `configure` would refuse in the program, where nothing but a line on stderr could say so."""
    if settings.prices_file is None and not settings.prices:
        return
    from otel_llm.pricing import load_prices  # noqa: PLC0415  (most have no prices of their own)

    load_prices(settings.prices_file, settings.prices)


def _resolved(command: list[str]) -> list[str]:
    """The command with its program found.

    `python`, `-m module` and a Python file run in the environment that otel-llm is installed in, and so do programs
    of that environment: another Python would find no otel_llm, and nothing would be recorded.
    """
    first = command[0]
    if first == "-m" or first.endswith(".py"):
        return [sys.executable, *command]
    if first in {"python", "python3"}:
        return [sys.executable, *command[1:]]
    beside = str(Path(sys.executable).parent)
    found = shutil.which(first, path=beside) if os.sep not in first else None
    found = found or shutil.which(first)
    if found is None:
        message = f"The program {first!r} was not found on PATH. Check its name, or give its full path."
        raise ConfigError(message)
    return [found, *command[1:]]
