"""The command `otel-llm`: one module per command, loaded only when it is asked for.

A command is a module of this package with `HELP: str` (one line), `MORE: str` (examples and exit codes),
`configure(parser) -> None` (adds its arguments) and `run(args) -> int` (does it, and returns the exit code). Errors of
ours end in one message on stderr: exit code 2 for bad input, 1 for everything else.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import importlib.util
import os
import re
import sys
from typing import TYPE_CHECKING, Final, Protocol, cast

from otel_llm.errors import ConfigError, OtelLlmError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

COMMANDS: Final = (
    "run",
    "demo",
    "usage",
    "status",
    "doctor",
    "config",
    "dashboard",
    "ship",
    "replay",
    "lint",
)
"""Every command there may be, in the order of the help; those whose module is not part of this build are left out."""

_PROGRAM: Final = "otel-llm"
_EXIT_FAILED: Final = 1
_EXIT_BAD_INPUT: Final = 2
_EXIT_INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""
_DISK_IS_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
_EXIT_BROKEN_PIPE: Final = 141
"""128 + SIGPIPE, likewise."""


class _Command(Protocol):
    HELP: str
    MORE: str

    def configure(self, parser: argparse.ArgumentParser) -> None: ...

    def run(self, args: argparse.Namespace) -> int: ...


class _Help(argparse.HelpFormatter):
    """Leaves text of several lines as it was written: examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command (`argv` without the program's name; default: the process's own) and return its exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    _open_streams()
    try:
        code = _run(words)
        sys.stdout.flush()  # a pipe that was closed at the other end shows here, not at interpreter exit
    except OtelLlmError as error:
        print(f"{_PROGRAM}: {error}", file=sys.stderr)
        return _EXIT_BAD_INPUT if isinstance(error, ConfigError) else _EXIT_FAILED
    except BrokenPipeError:
        _silence_stdout()
        return _EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return _EXIT_INTERRUPTED
    except PermissionError as error:
        print(f"{_PROGRAM}: {_closed_to_us(error)}", file=sys.stderr)
        return _EXIT_FAILED
    except OSError as error:
        if error.errno not in _DISK_IS_FULL:
            raise
        print(f"{_PROGRAM}: writing failed, because the disk is full. Free some space, and try again.", file=sys.stderr)
        _silence_stdout()
        return _EXIT_FAILED
    return code


def _run(words: list[str]) -> int:
    if not words or words[0] not in _available():
        return _without_command(words)
    name = words[0]
    command = _load(name)
    parser = argparse.ArgumentParser(
        prog=f"{_PROGRAM} {name}",
        description=_sentence(command.HELP),
        epilog=command.MORE,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    command.configure(parser)
    args, left = parser.parse_known_args(words[1:])
    if left:
        parser.error(_left_over(left, parser.format_usage()))
    return command.run(args)


def _closed_to_us(error: PermissionError) -> str:
    """Where a container runs its program as another user, HOME still names the directory of the first."""
    place = error.filename or "a file"
    return (
        f"This user may not use {place} ({error.strerror or 'permission denied'}). Run it as the user whose program "
        "records, or name a directory of this user's own in OTEL_LLM_STATE_DIR."
    )


def _without_command(words: list[str]) -> int:
    """Answers `--help`, `--version` and what is no command."""
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        usage=f"{_PROGRAM} COMMAND ...",
        description="Records the LLM calls of Python programs as OpenTelemetry spans.",
        epilog=_list_of_commands() if set(words[:1]) <= {"-h", "--help"} else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{_PROGRAM} {_version()}")
    if words:
        parser.parse_known_args(words[:1])  # --help and --version end here
        parser.error(_not_understood(words[0]))
    parser.print_help(sys.stderr)
    return _EXIT_BAD_INPUT


def _list_of_commands() -> str:
    width = max(map(len, COMMANDS)) + 2
    from textwrap import fill  # noqa: PLC0415  (only the help needs it)

    indent = " " * (width + 2)
    lines = [
        fill(_load(name).HELP, 80, initial_indent=f"  {name:<{width}}", subsequent_indent=indent)
        for name in _available()
    ]
    return "\n".join(["commands:", *lines, "", f"`{_PROGRAM} COMMAND --help` says more about each."])


def _not_understood(word: str) -> str:
    if word.startswith("-"):
        return f"unknown option {word!r}; `{_PROGRAM} --help` lists the commands"
    from difflib import get_close_matches  # noqa: PLC0415  (only errors need it)

    found = get_close_matches(word, _available(), n=1)
    hint = f"; did you mean {found[0]!r}?" if found else ";"
    return f"there is no command {word!r}{hint} commands: {', '.join(_available())}"


def _left_over(words: list[str], usage: str) -> str:
    """What to say about arguments that a command does not have; `usage` names those that it has."""
    from difflib import get_close_matches  # noqa: PLC0415  (only errors need it)

    known = re.findall(r"--[a-z-]+", usage)
    found = (get_close_matches(word.split("=")[0], known, n=1) for word in words if word.startswith("-"))
    hint = next((f"; did you mean {near[0]!r}?" for near in found if near), "")
    return f"unrecognized arguments: {' '.join(words)}{hint}"


def _available() -> list[str]:
    return [name for name in COMMANDS if importlib.util.find_spec(f"{__name__}.{name}") is not None]


def _load(name: str) -> _Command:
    return cast("_Command", importlib.import_module(f"{__name__}.{name}"))


def _sentence(help_line: str) -> str:
    return f"{help_line[:1].upper()}{help_line[1:].rstrip('.')}."


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415  (reads files; most commands do not need it)

    return version(_PROGRAM)


def _open_streams() -> None:
    """Where the caller has closed stdout or stderr (`>&-`), Python has None for it: what is written goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (for the rest of the process)


def _silence_stdout() -> None:
    """Let what is still buffered go nowhere: Python's exit would otherwise report the closed pipe again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
