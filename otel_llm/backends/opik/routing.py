"""Which Opik project, in which workspace, a span belongs to."""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from otel_llm import semconv
from otel_llm.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otel_llm.backends.opik.values import Attributes

__all__ = ["Destination", "Routing", "clean_name"]

_PLACEHOLDERS: Final = ("{service}", "{tenant}", "{environment}")
_UNNAMED_SERVICE: Final = "unknown_service"
_LONGEST: Final = 150
"""Characters of a project's name. On a longer one Opik's database fails, and with it every request that has it."""
_MARK: Final = 12


class Destination(NamedTuple):
    """Where rows go. A `workspace` of None means the configured one."""

    project: str
    workspace: str | None = None


class Routing:
    """Chooses the destination of each span.

    Asked in this order: the span's own `opik.project`; the entry of its tenant in `tenants`; the `project`
    setting, in which `{service}`, `{tenant}` and `{environment}` are filled in from the span; and without
    any of these the name of the service. Never Opik's "Default Project".
    """

    def __init__(
        self, project: str | None = None, service: str | None = None, tenants: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self.project = project
        self.service = service
        """Service name to use where a span's resource has none."""
        self.tenants = tenants
        """Tenant -> project name, or `project @workspace` for a tenant with a workspace of its own."""
        self.workspaces = frozenset(filter(None, (self._of_tenant(tenant)[1] for tenant in self.tenants)))
        """Those that tenants have of their own."""
        rest = project or ""
        for placeholder in _PLACEHOLDERS:
            rest = rest.replace(placeholder, "")
        if "{" in rest or "}" in rest:
            known = ", ".join(_PLACEHOLDERS)
            message = f"The Opik project {self.project!r} has a placeholder that does not exist. Use {known}, or none."
            raise ConfigError(message)

    def destination(self, attributes: Attributes, resource: Attributes) -> Destination:
        """The project (and workspace, if a tenant has its own) for a span with these attributes."""
        said = clean_name(attributes.get(semconv.OPIK_PROJECT))
        tenant = clean_name(attributes.get(semconv.TENANT_ID)) or semconv.UNKNOWN_TENANT
        project, workspace = self._of_tenant(tenant)
        chosen = said or project or self._configured(tenant, resource) or self.fallback(resource)
        return Destination(_fitting(chosen), workspace)

    def fallback(self, resource: Attributes) -> str:
        """The project for spans for which none was configured: the service's name."""
        name = clean_name(resource.get(semconv.SERVICE_NAME))
        if name and not name.startswith(_UNNAMED_SERVICE):
            return name
        return clean_name(self.service) or name or _UNNAMED_SERVICE

    def _of_tenant(self, tenant: str) -> tuple[str | None, str | None]:
        project, _, workspace = self.tenants.get(tenant, "").partition(" @")
        return clean_name(project), clean_name(workspace)

    def _configured(self, tenant: str, resource: Attributes) -> str | None:
        template = clean_name(self.project)
        if template is None or "{" not in template:
            return template
        environment = resource.get(semconv.DEPLOYMENT_ENVIRONMENT) or resource.get(semconv.DEPLOYMENT_ENVIRONMENT_OLD)
        filled = template.replace("{service}", self.fallback(resource))
        filled = filled.replace("{tenant}", tenant)
        return clean_name(filled.replace("{environment}", clean_name(environment) or "unknown"))


def _fitting(name: str) -> str:
    """`name`, or of one that is too long the beginning and a hash of the whole, so that no two become one."""
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()
    return f"{name[: _LONGEST - _MARK - 1]}~{digest[:_MARK]}"


def clean_name(name: object) -> str | None:
    """A name that Opik takes for a project: no control characters, no blanks around it; None if nothing stays."""
    if not isinstance(name, str):
        return None
    if not name.isprintable():
        name = "".join(character if character.isprintable() else " " for character in name)
    return name.strip() or None
