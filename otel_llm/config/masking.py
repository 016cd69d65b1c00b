"""Keeps secrets out of whatever shows a setting: reprs, tables, JSON, errors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from otel_llm.config.settings import Kind

if TYPE_CHECKING:
    from otel_llm.config.settings import Setting

__all__ = ["MASK", "Shown", "mask_url", "masked"]

MASK: Final = "***"

Shown: TypeAlias = "str | int | float | bool | list[str] | dict[str, str] | None"
"""A value as it may be shown, and as JSON has it."""


def masked(setting: Setting, value: object) -> Shown:
    """`value` of `setting` as plain data for JSON, without its secrets."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if setting.kind is Kind.TABLE:
        return json.dumps(value, default=_plain)
    if isinstance(value, Mapping):
        return {str(name): MASK if setting.secret else str(item) for name, item in value.items()}
    if setting.secret:
        return MASK
    if setting.kind is Kind.URL:
        return mask_url(str(value))
    if isinstance(value, (tuple, list)):
        return [str(item) for item in value]
    return str(value) if isinstance(value, (str, Path)) else MASK


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)


def mask_url(url: str) -> str:
    """`url` without user, password and query, also when it is not a well-formed one."""
    before, at, after = url.rpartition("@")
    scheme, separator, _ = before.partition("://")
    start = f"{scheme}{separator}{MASK}@" if at and separator else f"{MASK}@" if at else ""
    address, question, _ = after.partition("?")
    return f"{start}{address}{question}{MASK if question else ''}"
