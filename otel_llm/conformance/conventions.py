"""The conventions that come with the package, as data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

__all__ = ["Attribute", "Conventions", "SpanType", "conventions"]

_FILE: Final = "conventions.json"
_TEMPLATE: Final = "template["


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row of the registry."""

    name: str
    type: str
    """`string`, `int`, `double`, `boolean`, `string[]`, `enum(string)`, `any`, or `template[string]`."""
    values: tuple[str, ...] = ()
    """Well-known values; others are allowed where none of them fits."""
    part_of: tuple[str, ...] = ()
    """Counts that contain this one."""
    metrics_only: bool = False


@dataclass(frozen=True, slots=True)
class SpanType:
    """One kind of GenAI span."""

    name: str
    kind: str
    span_name: str
    """With the attributes that it is made of in braces, optional ones in brackets too."""
    operations: tuple[str, ...]
    levels: dict[str, str]
    """Attribute -> requirement level, with the condition where there is one."""

    @property
    def required(self) -> tuple[str, ...]:
        """Attributes that every such span has."""
        return tuple(name for name, level in self.levels.items() if level == "required")


@dataclass(frozen=True, slots=True)
class Conventions:
    """Everything that a check needs to know."""

    state: str
    schema_url: str
    attributes: dict[str, Attribute]
    spans: tuple[SpanType, ...]
    events: frozenset[str]
    renamed: dict[str, str | None]
    """Older or foreign name -> today's, a remark, or None where there is none."""
    providers: dict[str, str]
    """Spelling in the field -> well-known provider name."""
    schemas: dict[str, Any]
    """Content attribute -> JSON schema of its value."""

    def attribute(self, name: str) -> Attribute | None:
        """The registry's row for `name`, that of a template included."""
        found = self.attributes.get(name)
        if found is not None:
            return found
        stem = name
        while "." in stem:
            stem = stem.rpartition(".")[0]
            template = self.attributes.get(stem)
            if template is not None and template.type.startswith(_TEMPLATE):
                return Attribute(name, template.type.removeprefix(_TEMPLATE).removesuffix("]"))
        return None

    def span_type(self, operation: str, kind: str) -> SpanType | None:
        """The type of span that records `operation`; where there are two, the one of this kind."""
        found = [one for one in self.spans if operation in one.operations]
        return next((one for one in found if one.kind == kind), found[0] if found else None)


@cache
def conventions() -> Conventions:
    """The conventions of this version of the package; read once."""
    raw = json.loads(files(__package__).joinpath(_FILE).read_text(encoding="utf-8"))
    return Conventions(
        state=raw["about"]["state"],
        schema_url=raw["about"]["schema_url"],
        attributes={name: _attribute(name, facts) for name, facts in raw["attributes"].items()},
        spans=tuple(
            SpanType(name, facts["kind"], facts["name"], tuple(facts["operations"]), facts["levels"])
            for name, facts in raw["spans"].items()
        ),
        events=frozenset(raw["events"]),
        renamed=raw["renamed"],
        providers=raw["providers"],
        schemas=raw["schemas"],
    )


def _attribute(name: str, facts: dict[str, Any]) -> Attribute:
    return Attribute(
        name,
        facts["type"],
        tuple(facts.get("values", ())),
        tuple(facts.get("subset_of", ())),
        metrics_only=facts.get("metrics_only", False),
    )
