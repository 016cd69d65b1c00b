"""The table of routes: which function answers which operation of the OpenAPI document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.fakes.opik.answers import Answer, Refusal, coded
from tests.fakes.opik.reading import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.fakes.opik.access import Caller
    from tests.fakes.opik.rows import Project
    from tests.fakes.opik.store import Store
    from tests.fakes.opik.transport import Request

__all__ = ["ROUTES", "Call", "Handler", "Route", "route"]


@dataclass(frozen=True, slots=True)
class Call:
    """One admitted and validated request, on its way to a handler."""

    request: Request
    caller: Caller
    store: Store
    path: dict[str, str]
    """Parameters in the path, for example `id`."""
    body: Any
    """The JSON body; None where the operation has none."""

    @property
    def workspace(self) -> str:
        """The workspace in which the caller works."""
        return self.caller.workspace

    @property
    def query(self) -> dict[str, str]:
        """Parameters behind the question mark."""
        return self.request.query

    @property
    def reader(self) -> Reader:
        """The read side of the caller's workspace."""
        return Reader(self.store, self.workspace)

    def number(self, name: str, default: int) -> int:
        """A numeric query parameter."""
        return int(self.query.get(name, default))

    def project(self) -> Project:
        """The project that the query, or else the body, names by id or name; 404 for strangers and unknown ones."""
        if self.caller.is_stranger:
            raise Refusal(coded(404, "Project not found"))
        named = self.body if isinstance(self.body, dict) else self.query
        return self.store.find_project(self.workspace, named.get("project_id"), named.get("project_name"))


Handler: TypeAlias = "Callable[[Call], Answer]"


@dataclass(frozen=True, slots=True)
class Route:
    """A handler and how its operation is guarded."""

    handler: Handler
    is_open: bool = False
    """Needs neither key nor workspace."""
    is_public: bool = False
    """Answers strangers too, with what is public."""
    is_limited: bool = False
    """Counts against the rate limits, a batch as its items."""


ROUTES: dict[tuple[str, str], Route] = {}


def route(
    method: str, template: str, *, is_open: bool = False, is_public: bool = False, is_limited: bool = False
) -> Callable[[Handler], Handler]:
    """Register the decorated function for an operation of the document."""

    def register(handler: Handler) -> Handler:
        ROUTES[method, template] = Route(handler, is_open, is_public, is_limited)
        return handler

    return register
