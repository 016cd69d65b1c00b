"""Whom a request is for: told by the program, by a verified claim, or, only where asked, by a header.

A header is written by whoever calls. So no header names a tenant unless the program says that it may (a gateway in
front sets and cleans it); the same holds for baggage (setting `tenant_from_baggage`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from otel_llm.context import NOBODY, Identity
from otel_llm.faults import guarded

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Tenancy", "TenantOf"]

TenantOf: TypeAlias = "Callable[[Any], str | Identity | None]"
"""Gets the ASGI scope or the WSGI environ, and answers the tenant's id, a whole identity, or None."""

_LONGEST: Final = 256
"""Characters of an id that came from outside; longer ones are cut."""
_CLAIM_HOLDERS: Final = ("claims", "jwt_payload", "token_info", "auth", "user")
"""Where authentication leaves what it has verified, in the scope, its `state`, or the environ."""


class Tenancy:
    """How identities are found, in this order: `tenant` (a function), `claim`, `tenant_header`.

    `claim` is the name of a claim that the program's own authentication has verified and left in the request; tokens
    are never read here. `user_header` and `session_header` name headers of ids, under the same caution.
    """

    def __init__(
        self,
        tenant: TenantOf | None = None,
        claim: str | None = None,
        tenant_header: str | None = None,
        user_header: str | None = None,
        session_header: str | None = None,
    ) -> None:
        self._tenant = tenant
        self._claim = claim
        self._headers = tuple(name.lower() if name else None for name in (tenant_header, user_header, session_header))

    def identity(self, request: Mapping[str, Any], headers: Mapping[str, str]) -> Identity:
        """The identity of a request; empty where nothing tells. Never raises: a fault costs the identity, counted."""
        told = guarded("finding a tenant", self._told, request) or NOBODY
        tenant, user, session = (_cut(headers.get(name)) if name else None for name in self._headers)
        return told.over(Identity(tenant if told.tenant is None else told.tenant, user, session))

    def _told(self, request: Mapping[str, Any]) -> Identity:
        if self._tenant is not None:
            answer = self._tenant(request)
            if isinstance(answer, Identity):
                return answer
            if answer is not None and answer != "":
                return Identity(_cut(answer))
        return Identity(self._claimed(request)) if self._claim is not None else NOBODY

    def _claimed(self, request: Mapping[str, Any]) -> str | None:
        for holder in _holders(request):
            for found in (holder, getattr(holder, "claims", None)):
                value = found.get(self._claim) if isinstance(found, Mapping) else getattr(found, str(self._claim), None)
                if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "":
                    return _cut(value)
        return None


def _holders(request: Mapping[str, Any]) -> Iterator[Any]:
    state = request.get("state")
    for name in _CLAIM_HOLDERS:
        if name in request:
            yield request[name]
        if isinstance(state, Mapping) and name in state:
            yield state[name]


def _cut(value: object) -> str | None:
    return str(value)[:_LONGEST] if value not in (None, "") else None
