"""Reads the user's prices: a file (TOML or JSON), and what the settings themselves say (the environment's JSON).

Whatever is wrong in them is told at the start, never at a call.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from otel_llm.errors import ConfigError
from otel_llm.pricing.book import AgreedPrice, PriceBook, TenantPrices
from otel_llm.pricing.rates import INPUT, OUTPUT, as_decimal

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["load_prices"]

_PER_MILLION: Final = {
    "input_per_million": INPUT,
    "output_per_million": OUTPUT,
    "cache_read_per_million": "cache_read_input_token_cost",
    "cache_write_per_million": "cache_creation_input_token_cost",
    "cache_write_1h_per_million": "cache_creation_input_token_cost_above_1hr",
    "reasoning_per_million": "output_cost_per_reasoning_token",
    "audio_input_per_million": "input_cost_per_audio_token",
    "audio_output_per_million": "output_cost_per_audio_token",
    "image_input_per_million": "input_cost_per_image_token",
    "image_output_per_million": "output_cost_per_image_token",
}
"""Price lists speak of a million tokens, the table of one."""
_RATE: Final = re.compile(
    r"(input|output)_cost_per_(token|audio_token|image_token|reasoning_token|query|second|character|image|pixel)"
    r"(_above_\d+k?_tokens)?(_priority|_flex|_batches)?"
    r"|cache_(read|creation)_input_token_cost(_above_1hr)?(_above_\d+k?_tokens)?(_priority|_flex|_batches)?"
)
"""The table's own names."""
_MILLION: Final = Decimal(1_000_000)
_LARGEST: Final = 16 * 1024 * 1024


def load_prices(
    path: Path | None,
    given: Mapping[str, Any] | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
    default_tenant: str | None = None,
) -> PriceBook:
    """The prices in the file at `path` (None: none), and those `given` in its shape, whose entries go first.

    `aliases` are deployment name -> model of the table. Raises `ConfigError` that names the setting and the entry
    for a file that is missing or unreadable, and for what is not understood.
    """
    book = _book(_content(path), f"prices_file: {path}") if path is not None else PriceBook()
    if given:
        book = _over(_book(given, "prices"), book)
    return replace(book, aliases=dict(aliases or {}), default_tenant=default_tenant)


def _book(content: Mapping[str, Any], where: str) -> PriceBook:
    _only(content, {"models", "deployments", "tenants"}, where)
    tenants = {
        name: _tenant(_table(given, f"{where}: tenants.{name}"), f"{where}: tenants.{name}")
        for name, given in _table(content.get("tenants", {}), f"{where}: tenants").items()
    }
    return PriceBook(_rows(content, "models", where), _rows(content, "deployments", where), tenants)


def _over(first: PriceBook, second: PriceBook) -> PriceBook:
    """Both, entry by entry; where both have one, that of `first`."""
    tenants = dict(second.tenants)
    for name, own in first.tenants.items():
        other = second.tenants.get(name, TenantPrices())
        tenants[name] = TenantPrices(
            {**other.models, **own.models},
            {**other.deployments, **own.deployments},
            other.multiplier if own.multiplier is None else own.multiplier,
        )
    return PriceBook({**second.models, **first.models}, {**second.deployments, **first.deployments}, tenants)


def _content(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError(
                f"prices_file: {path} is larger than 16 MiB and cannot be a list of prices; correct the path"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"prices_file: {path} cannot be read ({error.strerror}); correct or unset it") from None
    except UnicodeDecodeError:
        raise ConfigError(f"prices_file: {path} is not UTF-8 text; save it as UTF-8") from None
    try:
        made = json.loads(text, parse_float=Decimal) if path.suffix.lower() == ".json" else _toml(text)
    except ValueError as error:  # TOMLDecodeError and JSONDecodeError are both ValueErrors
        kind = "JSON" if path.suffix.lower() == ".json" else "TOML (a JSON file must end in .json)"
        raise ConfigError(f"prices_file: {path} is not {kind}: {error}") from None
    return _table(made, f"prices_file: {path}")


def _toml(text: str) -> dict[str, Any]:
    # Imported here: only programs with a file pay for it. Python 3.10 has it under the name of its backport.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    return dict(toml.loads(text, parse_float=Decimal))


def _tenant(table: Mapping[str, Any], where: str) -> TenantPrices:
    _only(table, {"models", "deployments", "multiplier"}, where)
    multiplier = _multiplier(table, where) if "multiplier" in table else None
    return TenantPrices(_rows(table, "models", where), _rows(table, "deployments", where), multiplier)


def _rows(table: Mapping[str, Any], section: str, where: str) -> dict[str, AgreedPrice]:
    found = _table(table.get(section, {}), f"{where}: {section}")
    return {
        name: _row(_table(given, f"{where}: {section}.{name}"), f"{where}: {section}.{name}")
        for name, given in found.items()
    }


def _row(table: Mapping[str, Any], where: str) -> AgreedPrice:
    base = table.get("base")
    if base is not None and not isinstance(base, str):
        raise ConfigError(f"{where}: base is not the name of a model; write it in quotes")
    rates: dict[str, object] = {}
    for name, value in table.items():
        if name in {"base", "multiplier"}:
            continue
        rate = as_decimal(value)
        if rate is None:
            raise ConfigError(f"{where}: {name} is not a price in USD; write a number from 0 on")
        key, rate = (_PER_MILLION[name], rate / _MILLION) if name in _PER_MILLION else (name, rate)
        if not _RATE.fullmatch(key):
            raise ConfigError(f"{where}: {name} is not a price that calls have{_hint(name)}")
        if key in rates:
            raise ConfigError(f"{where}: {name} is given twice, under two names; keep one")
        rates[key] = rate
    if not rates and base is None and "multiplier" not in table:
        raise ConfigError(f"{where} says nothing; give it a price, a base or a multiplier")
    return AgreedPrice(rates, base, _multiplier(table, where))


def _multiplier(table: Mapping[str, Any], where: str) -> Decimal:
    made = as_decimal(table.get("multiplier", 1))
    if made is None:
        raise ConfigError(f"{where}: multiplier is not a number from 0 on, such as 0.85 for 15 % off")
    return made


def _only(table: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        message = f"{where}: {unknown[0]} is not known; known are {', '.join(sorted(known))}"
        raise ConfigError(message)


def _table(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is not a table")
    return value


def _hint(name: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415  (only mistakes need it)

    known = [*_PER_MILLION, *_PER_MILLION.values(), "input_cost_per_query", "input_cost_per_second"]
    found = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""
