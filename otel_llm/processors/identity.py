"""Who the work is for, stamped on the spans that begin: tenant, user, session.

The identity comes from the context (`with otel_llm.tenant(...)`) and, where that is silent and baggage is enabled,
from W3C baggage that came in with a request. What a span was started with always wins. A span that is none of ours
is left as it is where nobody named an identity; what our backends get of it has the default tenant all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otel_llm import semconv
from otel_llm.context import NOBODY, identity_from_baggage, identity_in
from otel_llm.processors.lineage import is_own_scope

if TYPE_CHECKING:
    from otel_llm.processors.beginning import Beginning
    from otel_llm.processors.draft import SpanDraft

__all__ = ["DefaultTenant", "IdentityStamp"]


class IdentityStamp:
    """Start stage: sets `tenant.id`, `user.id` and `session.id` where they are known.

    `default_tenant` is stamped on spans of ours where nobody named one. With `from_baggage`, the context's baggage is
    read too: the tenant from its entry `baggage_tenant_key`, user and session from entries named like the attributes.
    """

    name = "identity"

    def __init__(
        self,
        *,
        default_tenant: str = semconv.UNKNOWN_TENANT,
        from_baggage: bool = False,
        baggage_tenant_key: str = semconv.TENANT_ID,
    ) -> None:
        self._default_tenant = default_tenant
        self._from_baggage = from_baggage
        self._baggage_tenant_key = baggage_tenant_key

    def __call__(self, beginning: Beginning) -> None:
        """Stamp the span. One of a call says already whose it is."""
        if beginning.call is not None and semconv.TENANT_ID in beginning.call:
            return
        identity = identity_in(beginning.around)
        if self._from_baggage:
            identity = identity.over(identity_from_baggage(beginning.around, self._baggage_tenant_key))
        is_ours = is_own_scope(beginning.scope)
        if identity is NOBODY and not is_ours:
            return
        given = beginning.attributes
        stamps: dict[str, str] = {}
        if semconv.TENANT_ID not in given:
            if identity.tenant is not None:
                stamps[semconv.TENANT_ID] = identity.tenant
            elif is_ours:
                stamps[semconv.TENANT_ID] = self._default_tenant
        if identity.user is not None and semconv.USER_ID not in given:
            stamps[semconv.USER_ID] = identity.user
        if identity.session is not None and semconv.SESSION_ID not in given:
            stamps[semconv.SESSION_ID] = identity.session
        if stamps:
            beginning.span.set_attributes(stamps)


class DefaultTenant:
    """End stage: the default tenant on what our backends get, where nobody named one."""

    name = "default tenant"

    def __init__(self, default_tenant: str = semconv.UNKNOWN_TENANT) -> None:
        self._default_tenant = default_tenant

    def __call__(self, draft: SpanDraft) -> SpanDraft:
        """Name it on the copy, so that the program's other exporters get their span as it was."""
        draft.attributes.setdefault(semconv.TENANT_ID, self._default_tenant)
        return draft
