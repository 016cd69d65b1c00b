"""Checks data for Azure Resource Manager against the models of Azure's own Python client, names and values."""

from __future__ import annotations

import enum
import types
import typing
from typing import Any

from azure.mgmt.appcontainers import models

__all__ = ["complaints"]


def complaints(model: type, data: dict[str, Any], path: str = "") -> list[str]:
    """What in `data` the model does not know; empty if it is a valid instance."""
    model.__new__(model)  # the client fills in its field tables with the first instance
    hints = typing.get_type_hints(model, localns={"_models": models, "_types": Any})
    fields = {field._rest_name: hints[name] for name, field in model._attr_to_rest_field.items()}
    found: list[str] = []
    for key, value in data.items():
        place = f"{path}.{key}".lstrip(".")
        found += _value_complaints(fields[key], value, place) if key in fields else [f"{place} is unknown"]
    return found


def _value_complaints(hint: Any, value: Any, place: str) -> list[str]:
    options = [option for option in _options(hint) if option is not type(None)]
    for option in options:
        if _is_model(option):
            return complaints(option, value, place) if isinstance(value, dict) else [f"{place} is no object"]
        if typing.get_origin(option) is list:
            inner = typing.get_args(option)[0]
            if not isinstance(value, list):
                return [f"{place} is no list"]
            return [line for n, item in enumerate(value) for line in _value_complaints(inner, item, f"{place}[{n}]")]
    allowed = [option for option in options if isinstance(option, type) and issubclass(option, enum.Enum)]
    if allowed and value not in {member.value for enumeration in allowed for member in enumeration}:
        return [f"{place}: {value!r} is none of the known values"]
    plain = tuple(option for option in options if option in (str, int, float, bool))
    if plain and not isinstance(value, (*plain, *((int,) if float in plain else ()))):
        return [f"{place}: {value!r} is no {' or '.join(option.__name__ for option in plain)}"]
    return []


def _options(hint: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(hint)
    return typing.get_args(hint) if origin is typing.Union or origin is types.UnionType else (hint,)


def _is_model(option: Any) -> bool:
    return (
        isinstance(option, type) and option.__module__.startswith(models.__name__) and not issubclass(option, enum.Enum)
    )
