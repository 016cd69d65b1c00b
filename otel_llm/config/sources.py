"""The places that settings come from: arguments, environment, our file, Opik's file.

Each function reads one place into a `Layer` (setting name -> what was given there, still raw) and reports what
it does not understand. It neither parses values nor knows which layer wins.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from otel_llm.config.parse import nearest
from otel_llm.config.settings import SETTINGS, Setting

if TYPE_CHECKING:
    from otel_llm.config.problems import Problems

__all__ = ["CONFIG_VARIABLE", "FILE_NAME", "Given", "Layer", "arguments_layer", "environment_layer", "file_layer"]
__all__ += ["last_resort_layer", "opik_file_layer"]

CONFIG_VARIABLE: Final = "OTEL_LLM_CONFIG"
FILE_NAME: Final = "otel-llm.toml"
_PYPROJECT: Final = "pyproject.toml"
_TOOL_TABLE: Final = "otel-llm"
_NEAR_TOOL_TABLE: Final = ("otel_llm", "otelllm")
_NAMES_OUR_TABLE: Final = re.compile(rb"otel-llm|tool\.(?:otel_llm|otelllm)\b")
_WRAPPERS: Final = frozenset({"tool", _TOOL_TABLE, *_NEAR_TOOL_TABLE})
"""Tables that a file of our own does not have: everything in it is ours."""

_ARGUMENT: Final = "argument"
_BY_KEY: Final[dict[str, Setting]] = {setting.key: setting for setting in SETTINGS}
_BY_ENV: Final[dict[str, Setting]] = {setting.env: setting for setting in SETTINGS}
_TABLES: Final = frozenset(setting.group for setting in SETTINGS if setting.group)


class Given(NamedTuple):
    """What one place says about one setting."""

    raw: Any
    source: str
    base: Path
    """Where a relative path starts."""
    foreign: bool = False
    """True for variables and files of others: they matter only as far as the backend in question is on."""


Layer: TypeAlias = dict[str, Given]


# --- arguments -----------------------------------------------------------------------------------------------


def arguments_layer(arguments: Mapping[str, object], directory: Path, problems: Problems) -> Layer:
    """Keyword arguments of `configure` or options of the CLI; an argument that is None was not given."""
    given = {name: value for name, value in arguments.items() if value is not None}
    return _named(given, _ARGUMENT, directory, problems)


def _named(table: Mapping[str, object], source: str, base: Path, problems: Problems) -> Layer:
    """A layer out of a (nested) table that uses our own names."""
    layer: Layer = {}
    for name, raw in _flattened(table):
        setting = _BY_KEY.get(name.replace(".", "_"))
        if setting is None:
            if name in _WRAPPERS and isinstance(raw, Mapping) and source != _ARGUMENT:
                problems.unknown(
                    f"[{name}]", source, "; all in this file is ours: write its settings without that table"
                )
                continue
            known = _TABLES if "." not in name and isinstance(raw, Mapping) else [one.name for one in SETTINGS]
            problems.unknown(name, source, nearest(name, known))
        elif setting.name in layer:
            problems.add(setting.name, source, "is given twice, under two spellings; keep one")
        else:
            layer[setting.name] = Given(raw, source, base)
    return layer


def _flattened(table: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """(dotted name, value) pairs; a table that is itself a setting's value stays whole."""
    for name, value in table.items():
        if name in _TABLES and isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", content) for inner, content in value.items())
        else:
            yield str(name), value


# --- environment ---------------------------------------------------------------------------------------------


def environment_layer(environ: Mapping[str, str], directory: Path, problems: Problems) -> Layer:
    """Our own variables, then the aliases of each setting in the order of the table; empty ones count as unset."""
    _report_unknown_variables(environ, problems)
    layer: Layer = {}
    for setting in SETTINGS:
        given = _own_variable(setting, environ, directory, problems) or _alias(setting, environ, directory, problems)
        if given is not None:
            layer[setting.name] = given
    return layer


def last_resort_layer(environ: Mapping[str, str], directory: Path, problems: Problems) -> Layer:
    """Aliases that speak only when neither our own sources nor the other aliases did."""
    found = ((setting, _alias(setting, environ, directory, problems, last_resort=True)) for setting in SETTINGS)
    return {setting.name: given for setting, given in found if given is not None}


def _own_variable(setting: Setting, environ: Mapping[str, str], directory: Path, problems: Problems) -> Given | None:
    text = environ.get(setting.env, "")
    if not text.strip():
        return None
    if setting.file_only:
        advice = f"cannot be set in the environment; write a table [{setting.name}] in {FILE_NAME}"
        problems.add(setting.name, f"environment {setting.env}", advice)
        return None
    return Given(text, f"environment {setting.env}", directory)


def _alias(
    setting: Setting, environ: Mapping[str, str], directory: Path, problems: Problems, *, last_resort: bool = False
) -> Given | None:
    for alias in setting.aliases:
        text = environ.get(alias.variable, "")
        if not text.strip() or alias.last_resort is not last_resort:
            continue
        source = f"environment {alias.variable}"
        try:
            translated = alias.reads(text)
        except ValueError as wrong:
            problems.add(setting.name, source, str(wrong), foreign=True)
            continue
        if translated is not None:
            return Given(translated, source, directory, foreign=True)
    return None


def _report_unknown_variables(environ: Mapping[str, str], problems: Problems) -> None:
    for name in environ:
        if not name.upper().startswith("OTEL_LLM_") or name in _BY_ENV or name == CONFIG_VARIABLE:
            continue
        if not re.fullmatch(_KUBERNETES, name):
            problems.unknown(name, "environment", nearest(name, [*_BY_ENV, CONFIG_VARIABLE]))


_KUBERNETES: Final = (
    r"[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Kubernetes puts such variables into every pod for a service called `otel-llm...`; nobody wrote them by hand."""


# --- our file ------------------------------------------------------------------------------------------------


def file_layer(environ: Mapping[str, str], directory: Path, problems: Problems) -> Layer:
    """The file that `$OTEL_LLM_CONFIG` names, else `otel-llm.toml`, else `[tool.otel-llm]` of `pyproject.toml`.

    The first one that exists is read, alone. A file that is named must exist; the others need not.
    """
    named = environ.get(CONFIG_VARIABLE, "").strip()
    candidates = [os.path.expanduser(named)] if named else [FILE_NAME, _PYPROJECT]
    for path in (directory / candidate for candidate in candidates):
        table = _table_in(path, problems, must_exist=bool(named))
        if table is not None:
            return _named(table, f"file {path}", path.parent, problems)
    return {}


def _table_in(path: Path, problems: Problems, *, must_exist: bool) -> Mapping[str, object] | None:
    """The settings in a TOML file; None when it does not exist or (a pyproject) holds none."""
    try:
        content = _content(path, named=must_exist)
    except (FileNotFoundError, NotADirectoryError):
        if must_exist:
            problems.add(CONFIG_VARIABLE, "environment", f"names {path}, which does not exist; correct or unset it")
        return None
    except OSError as error:
        if _is_beyond_us(path) and not must_exist:
            return None
        advice = "move it away" if path.is_dir() else "correct its permissions"
        problems.add(str(path), "file", f"cannot be read ({error.strerror}); {advice}")
        return None
    is_pyproject = path.name == _PYPROJECT
    if is_pyproject and not _NAMES_OUR_TABLE.search(content):
        return None
    table = _parsed(path, content, problems)
    return _of_tool(path, table, problems) if is_pyproject and table is not None else table


def _of_tool(path: Path, table: Mapping[str, object], problems: Problems) -> Mapping[str, object] | None:
    """Our table of a pyproject; one that is named after the package, as one easily does, is said to be wrong."""
    tools = table.get("tool")
    if not isinstance(tools, Mapping):
        return None
    for name in _NEAR_TOOL_TABLE:
        if isinstance(tools.get(name), Mapping):
            problems.unknown(f"[tool.{name}]", f"file {path}", f"; write [tool.{_TOOL_TABLE}]")
    ours = tools.get(_TOOL_TABLE)
    return ours if isinstance(ours, Mapping) else None


def _content(path: Path, *, named: bool) -> bytes:
    """What is in a file. One that nobody has named may be a pipe without a writer: it is not waited for."""
    if not named and stat.S_ISFIFO(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is a pipe")
    return path.read_bytes()


def _is_beyond_us(path: Path) -> bool:
    """Whether it lies in a directory that we may not enter, so that nobody can have meant us to read it."""
    return not os.path.lexists(path)  # which is False there, and True for a file that may not be read


def _parsed(path: Path, content: bytes, problems: Problems) -> dict[str, Any] | None:
    # Imported here: only programs with a file pay for it. Python 3.10 has it under the name of its backport.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        return dict(toml.loads(content.decode("utf-8-sig")))  # editors on Windows begin a file with that mark
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are both ValueErrors
        problems.add(str(path), "file", f"is not TOML: {_without_content(error)}")
        return None


def _without_content(error: ValueError) -> str:
    """What is wrong, without the line itself: it may hold a key."""
    if isinstance(error, UnicodeDecodeError):
        return f"byte {error.start} is not UTF-8; save it in that encoding"
    where = re.search(r"\(at .*\)$", str(error))
    return f"there is a mistake {where.group()}" if where else "there is a mistake in it"


# --- Opik's file ---------------------------------------------------------------------------------------------

_OPIK_KEYS: Final = {
    "url_override": "opik.url",
    "api_key": "opik.api_key",
    "workspace": "opik.workspace",
    "project_name": "opik.project",
}


def opik_file_layer(environ: Mapping[str, str], problems: Problems) -> Layer:
    """Section `[opik]` of `~/.opik.config` (or of `$OPIK_CONFIG_PATH`), the file that `opik configure` writes."""
    named = environ.get("OPIK_CONFIG_PATH", "").strip()
    home = environ.get("HOME") or os.path.expanduser("~")
    path = Path(os.path.expanduser(named) if named else f"{home}/.opik.config")
    try:
        text = _content(path, named=bool(named)).decode()
    except FileNotFoundError:
        if named:
            problems.add("opik", "environment OPIK_CONFIG_PATH", f"{path} does not exist", foreign=True)
        return {}
    except (OSError, ValueError):
        if _is_beyond_us(path) and not named:
            return {}
        problems.add("opik", f"file {path}", "cannot be read; correct its permissions or encoding", foreign=True)
        return {}
    return _opik_section(path, text, problems)


def _opik_section(path: Path, text: str, problems: Problems) -> Layer:
    import configparser  # noqa: PLC0415  (only users of Opik's file pay for it)

    parser = configparser.ConfigParser(interpolation=None)  # a key may hold a percent sign
    try:
        parser.read_string(text)
    except configparser.Error:  # its text quotes the line, which may hold the key
        problems.add("opik", f"file {path}", "is not an INI file; run `opik configure` again", foreign=True)
        return {}
    section = parser["opik"] if parser.has_section("opik") else {}
    return {
        name: Given(section[key], f"file {path}", path.parent, foreign=True)
        for key, name in _OPIK_KEYS.items()
        if section.get(key, "").strip()
    }
