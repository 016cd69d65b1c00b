"""What all spans of one resource and scope share, and what all those of one set of attribute names do.

The spans of a program are much alike: the same resource, the same few sets of attributes. What follows from the names
alone is worked out once for each set (`Plan`), and what follows from a few short values once for each of them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from otel_llm import json_bytes, semconv
from otel_llm.backends.opik.content import Sides, sides_of
from otel_llm.backends.opik.kinds import CONSULTED as _OF_KIND
from otel_llm.backends.opik.kinds import model_of, type_of
from otel_llm.backends.opik.providers import CONSULTED as _OF_PROVIDER
from otel_llm.backends.opik.providers import provider_of
from otel_llm.backends.opik.usage import UsageNames, usage_names
from otel_llm.backends.opik.values import Attributes, text_of

if TYPE_CHECKING:
    from otel_llm.backends.opik.routing import Destination, Routing

__all__ = ["Facts", "Plan", "Surroundings", "surroundings_of"]

_ENVIRONMENT_MAX: Final = 150
"""Opik refuses longer names; the whole one stays in the metadata."""
_NAMED: Final = tuple(sorted(_OF_KIND | _OF_PROVIDER))
_TAG_ATTRIBUTES: Final = frozenset({semconv.TAGS, semconv.OPIK_TAGS, semconv.OI_TAGS})
_THREAD_ATTRIBUTES: Final = (
    semconv.OPIK_THREAD_ID,
    semconv.SESSION_ID,
    semconv.CONVERSATION_ID,
    semconv.TRACELOOP_SESSION,
    semconv.ADK_SESSION,
)
_ADK_HAS_INNER_SPANS: Final = (1, 24)
"""The version of Google ADK from which on there is a span of the conventions inside of each `call_llm`."""
_OF_MAPPING: Final = frozenset(
    {
        semconv.OTEL_TRACE_ID,
        semconv.OTEL_SPAN_ID,
        semconv.OTEL_SPAN_KIND,
        semconv.OTEL_STATUS_CODE,
        semconv.OTEL_DROPPED_ATTRIBUTES,
        semconv.OTEL_LINKS,
        semconv.OTEL_EVENTS,
    }
)
"""Names of metadata under which the mapping itself says something of each span."""
_MOST_PLANS: Final = 256
_MOST_KNOWN: Final = 4096


class Facts(NamedTuple):
    """Type, model and provider of a span."""

    kind: str
    model: str | None
    provider: str | None


class Plan(NamedTuple):
    """What follows from the names of a span's attributes."""

    named: tuple[str, ...]
    """Those that say type, model and provider."""
    facts: dict[tuple[Any, ...], Facts]
    """Already found, by the values of `named`."""
    content: Sides
    usage: UsageNames
    has_error: bool
    joins: bool
    """Whether the span says which of Opik's traces it belongs to."""
    tagged: bool
    thread: tuple[str, ...]
    directives: tuple[str, ...]
    """Those that speak to Opik or to this mapping, and are not metadata as they are."""
    repeats: bool
    """Whether some, directives followed, may be called like what the surroundings say."""

    def facts_of(self, attributes: Attributes) -> Facts:
        """Type, model and provider of a span: many spans share the few values that say so."""
        said = tuple([attributes[name] for name in self.named])
        try:
            found = self.facts.get(said)
        except TypeError:  # a list among them
            return _facts_of(attributes)
        if found is None:
            found = _facts_of(attributes)
            if len(self.facts) >= _MOST_PLANS:
                self.facts.clear()
            self.facts[said] = found
        return found


class Surroundings:
    """What all spans of one resource and scope share."""

    def __init__(
        self, resource: Attributes, environment: str | None, metadata: Attributes, *, repeats_calls: bool = False
    ) -> None:
        self.repeats_calls = repeats_calls
        """Whether spans `call_llm` of Google ADK say the tokens of a call that has a span of its own inside."""
        self.resource = resource
        self.environment = environment
        self.metadata = metadata
        """Resource attributes, scope name and version."""
        self.said = json_bytes.write(metadata)[1:-1]
        """The same as members of a JSON object."""
        self.destinations: dict[tuple[str, str], Destination] = {}
        """Already found, by what the span said (project, tenant)."""
        self.plans: dict[tuple[str, ...], Plan] = {}
        """By the names of a span's attributes."""

    def destination(self, attributes: Attributes, routing: Routing) -> Destination:
        """Where a span goes; spans of one scope differ in it only by their project and tenant attributes."""
        project, tenant = attributes.get(semconv.OPIK_PROJECT), attributes.get(semconv.TENANT_ID)
        said = (project if isinstance(project, str) else "", tenant if isinstance(tenant, str) else "")
        found = self.destinations.get(said)
        if found is None:
            if len(self.destinations) >= _MOST_KNOWN:
                self.destinations.clear()
            found = self.destinations[said] = routing.destination(attributes, self.resource)
        return found

    def plan(self, attributes: Attributes) -> Plan:
        """What follows from the names of `attributes`."""
        names = tuple(attributes)
        found = self.plans.get(names)
        if found is None:
            if len(self.plans) >= _MOST_PLANS:
                self.plans.clear()
            found = self.plans[names] = _plan_of(names, self.metadata)
        return found


def surroundings_of(resource: Attributes, scope_name: str, scope_version: str) -> Surroundings:
    """What the spans of one resource and scope have in common."""
    metadata = dict(resource)
    if scope_name:
        metadata[semconv.SCOPE_NAME] = scope_name
    if scope_version:
        metadata[semconv.SCOPE_VERSION] = scope_version
    named = resource.get(semconv.DEPLOYMENT_ENVIRONMENT) or resource.get(semconv.DEPLOYMENT_ENVIRONMENT_OLD)
    environment = text_of(named).strip()[:_ENVIRONMENT_MAX]
    repeats = scope_name == semconv.ADK_SCOPE and _is_since(scope_version, _ADK_HAS_INNER_SPANS)
    return Surroundings(resource, environment or None, metadata, repeats_calls=repeats)


def _is_since(version: str, first: tuple[int, int]) -> bool:
    found = re.match(r"([0-9]{1,6})\.([0-9]{1,6})", version)
    return found is not None and (int(found[1]), int(found[2])) >= first


def _plan_of(names: tuple[str, ...], metadata: Attributes) -> Plan:
    present = frozenset(names)
    directives = tuple(name for name in names if name.startswith(semconv.OPIK_PREFIX))
    return Plan(
        named=tuple(name for name in _NAMED if name in present),
        facts={},
        content=sides_of(names),
        usage=usage_names(present),
        has_error=semconv.ERROR_TYPE in present,
        joins=semconv.OPIK_TRACE_ID in present,
        tagged=not present.isdisjoint(_TAG_ATTRIBUTES),
        thread=tuple(name for name in _THREAD_ATTRIBUTES if name in present),
        directives=directives,
        repeats=bool(directives) or not (present | _OF_MAPPING).isdisjoint(metadata),
    )


def _facts_of(attributes: Attributes) -> Facts:
    model = model_of(attributes)
    return Facts(type_of(attributes), model, provider_of(attributes, model))
