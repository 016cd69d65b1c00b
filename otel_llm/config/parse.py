"""Turns what a source holds (text, or a value from TOML or Python) into a setting's typed value.

Every function raises `ValueError` with a sentence for the user that says what is wrong and what to write. The
sentence never holds a secret.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from otel_llm.config.aliases import as_bool
from otel_llm.config.masking import mask_url
from otel_llm.config.settings import NO_BACKEND, Kind

if TYPE_CHECKING:
    from otel_llm.config.settings import Setting

__all__ = ["nearest", "parse"]

_LONGEST_SHOWN: Final = 60
_CLOSE_ENOUGH: Final = 0.55


def parse(setting: Setting, raw: object, base: Path) -> Any:
    """The typed value of `setting` that `raw` stands for; relative paths start at `base`."""
    if setting.kind is Kind.PATH:
        return _path(raw, base)
    return _PARSERS[setting.kind](setting, raw)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the known word closest to `word`, or an empty string."""
    from difflib import get_close_matches  # noqa: PLC0415  (costs milliseconds, and only errors need it)

    names = {name.lower(): name for name in known}
    found = get_close_matches(word.lower(), names, n=1, cutoff=_CLOSE_ENOUGH)
    return f"; did you mean {names[found[0]]!r}?" if found else ""


class _WrongKindError(ValueError):
    """The value is of a type that this setting cannot be made of: the user's input is at fault, not the code."""


def _shown(raw: object) -> str:
    text = raw if isinstance(raw, str) else f"{raw}" if isinstance(raw, (bool, int, float)) else type(raw).__name__
    return repr(text[:_LONGEST_SHOWN])


def _bool(_setting: Setting, raw: object) -> bool:
    if isinstance(raw, bool):
        return raw
    if isinstance(raw, str):
        return as_bool(raw)
    raise ValueError(f"{_shown(raw)} is neither true nor false; write true or false")


def _int(setting: Setting, raw: object) -> int:
    value: int | None = None
    if isinstance(raw, int) and not isinstance(raw, bool):
        value = raw
    elif isinstance(raw, str):
        try:
            value = int(raw)
        except ValueError:
            value = None
    if value is None:
        raise ValueError(f"{_shown(raw)} is not a whole number{_of_unit(setting)}")
    return int(_in_range(setting, value))


def _float(setting: Setting, raw: object) -> float:
    value = math.nan
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        value = float(raw)
    elif isinstance(raw, str):
        try:
            value = float(raw)
        except ValueError:
            value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{_shown(raw)} is not a number{_of_unit(setting)}")
    return _in_range(setting, value)


def _of_unit(setting: Setting) -> str:
    return f" of {_in_words(setting.unit)}" if setting.unit else ""


def _in_words(unit: str) -> str:
    return {"s": "seconds", "ms": "milliseconds"}.get(unit, unit)


def _in_range(setting: Setting, value: float) -> float:
    unit = f", in {_in_words(setting.unit)}" if setting.unit else ""
    if setting.at_least is not None and value < setting.at_least:
        raise ValueError(f"{value:.16g} is too small; the least is {setting.at_least:.16g}{unit}")
    if setting.at_most is not None and value > setting.at_most:
        raise ValueError(f"{value:.16g} is too large; the most is {setting.at_most:.16g}{unit}")
    return value


def _text(setting: Setting, raw: object) -> str:
    if not isinstance(raw, str):
        raise _WrongKindError(f"is of type {type(raw).__name__}, not text; put it in quotes")
    value = raw.strip()
    if not value:
        raise ValueError("is empty; leave it out, or give it a value")
    if setting.at_least is not None and len(value) < setting.at_least:
        raise ValueError(f"has {len(value)} characters, and can be guessed; give it {setting.at_least:g} or more")
    _refuse_control_characters(value)
    return value


def _refuse_control_characters(text: str) -> None:
    if any(letter < " " or letter == "\x7f" or "\ud800" <= letter <= "\udfff" for letter in text):
        raise ValueError("holds a line break or another character that is not text; write it on one line, as UTF-8")


def _choice(setting: Setting, raw: object) -> str:
    if {"on", "off"} <= set(setting.choices) and isinstance(raw, bool):
        return "on" if raw else "off"
    if not isinstance(raw, str):
        raise _WrongKindError(f"{_shown(raw)} is not one of {', '.join(setting.choices)}")
    return _known(setting, raw)


def _known(setting: Setting, word: str) -> str:
    value = word.strip().lower()
    value = setting.spellings.get(value, value)
    if value not in setting.choices:
        hint = nearest(value, setting.choices) or "."
        raise ValueError(f"{_shown(word)} is not known{hint} Known: {', '.join(setting.choices)}")
    return value


def _list(setting: Setting, raw: object) -> tuple[str, ...]:
    if isinstance(raw, str):
        words: list[object] = [word for word in raw.split(",") if word.strip()]
    elif isinstance(raw, (list, tuple, set, frozenset)):
        words = list(raw)
    else:
        raise _WrongKindError(f"{_shown(raw)} is not a list of names")
    if not all(isinstance(word, str) for word in words):
        raise ValueError("holds something that is not text; write a list of names in quotes")
    names = [str(word) for word in words]
    if NO_BACKEND not in setting.choices and [name.strip().lower() for name in names] == ["none"]:
        return ()
    values = tuple(dict.fromkeys(_known(setting, name) for name in names))
    if NO_BACKEND in setting.choices:
        _check_none_alone(values)
    return values


def _check_none_alone(values: tuple[str, ...]) -> None:
    if not values:
        raise ValueError(f"names nothing; write {NO_BACKEND!r} to send spans nowhere")
    if NO_BACKEND in values and len(values) > 1:
        raise ValueError(f"names {NO_BACKEND!r} beside others, which contradict it; name it alone, or leave it out")


def _path(raw: object, base: Path) -> Path:
    if not isinstance(raw, (str, os.PathLike)):
        raise _WrongKindError(f"{_shown(raw)} is not a path")
    text = os.fspath(raw)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise ValueError("is not a path; write the name of a file or directory")
    try:
        return base / Path(text.strip()).expanduser()
    except RuntimeError:
        raise ValueError("starts with ~, and the home directory is not known; write it in full") from None


def _url(_setting: Setting, raw: object) -> str:
    if not isinstance(raw, str) or not raw.strip():
        raise ValueError("is not a URL; write one such as http://127.0.0.1:4318")
    url = raw.strip()
    if any(letter.isspace() for letter in url):
        raise ValueError(f"{mask_url(url)[:_LONGEST_SHOWN]!r} holds a space; a URL has none")
    _refuse_control_characters(url)
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:  # its text may hold the password
        raise ValueError(f"{mask_url(url)[:_LONGEST_SHOWN]!r} is not a URL (host or port is malformed)") from None
    if parts.scheme not in {"http", "https"} or not host:
        hint = "" if "://" in url else f", such as http://{mask_url(url)[:_LONGEST_SHOWN]}"
        shown = mask_url(url)[:_LONGEST_SHOWN]
        raise ValueError(f"{shown!r} is not a web address; write http:// or https:// and a host{hint}")
    return url


def _mapping(setting: Setting, raw: object) -> Mapping[str, str]:
    if isinstance(raw, str):
        pairs: list[tuple[object, object]] = list(_pairs_of_text(raw))
    elif isinstance(raw, Mapping):
        pairs = list(raw.items())
    else:
        raise _WrongKindError(f"is of type {type(raw).__name__}, not a table of names and values")
    values: dict[str, str] = {}
    for number, (name, value) in enumerate(pairs, start=1):
        if setting.at_least is not None:
            value = repr(_float(setting, value))  # noqa: PLW2901  (a mapping to numbers: TOML has them as such)
        if not isinstance(name, str) or not isinstance(value, str) or not name.strip():
            raise ValueError(f"entry {number} is not a name with a text as its value")
        _refuse_control_characters(name + value)
        known = _known(setting, value) if setting.choices else value.strip()
        values[name.strip().lower() if setting.secret else name.strip()] = known
    return MappingProxyType(values)


def _table(_setting: Setting, raw: object) -> Mapping[str, Any]:
    if isinstance(raw, str):
        try:
            from decimal import Decimal  # noqa: PLC0415  (few programs give prices)

            raw = json.loads(raw, parse_float=Decimal)
        except (ValueError, RecursionError) as wrong:
            where = f" at character {wrong.pos}" if isinstance(wrong, json.JSONDecodeError) else ""
            raise ValueError(f"is not JSON (there is a mistake{where}); write an object such as {{}}") from None
    if not isinstance(raw, Mapping):
        raise _WrongKindError(f"is of type {type(raw).__name__}, not a table of names and values")
    return MappingProxyType(dict(raw))


def _pairs_of_text(text: str) -> Iterable[tuple[str, str]]:
    """`name=value,name=value`, percent-encoded, as the OTLP exporter specification has headers."""
    for number, pair in enumerate(filter(str.strip, text.split(",")), start=1):
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"entry {number} is not name=value; separate entries by commas, and write a comma as %2C")
        yield unquote(name.strip()), unquote(value.strip())


_PARSERS: Final[dict[Kind, Callable[[Setting, object], Any]]] = {
    Kind.BOOL: _bool,
    Kind.INT: _int,
    Kind.FLOAT: _float,
    Kind.TEXT: _text,
    Kind.CHOICE: _choice,
    Kind.LIST: _list,
    Kind.URL: _url,
    Kind.MAPPING: _mapping,
    Kind.TABLE: _table,
}
