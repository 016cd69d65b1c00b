"""The fake itself: one Opik installation on a loopback port, as a context manager."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tests.fakes.opik.access import DEFAULT_WORKSPACE, Limit, RateLimits
from tests.fakes.opik.api import Api, Front, Violation
from tests.fakes.opik.document import load_document
from tests.fakes.opik.faults import Fault, Faults
from tests.fakes.opik.reading import Reader
from tests.fakes.opik.store import Store
from tests.fakes.opik.transport import HttpServer, Request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from tests.fakes.opik.answers import Answer
    from tests.fakes.opik.fields import Kind
    from tests.fakes.opik.rows import WriteCounts
    from tests.fakes.opik.tls import ServerCertificate

__all__ = ["FakeOpik"]


class FakeOpik:
    """An Opik server for tests: real HTTP, rows kept as Opik keeps them, misbehaviour on demand.

    Args:
        front: `Front.NGINX` (API under `/api`, the UI's page elsewhere) or `Front.BACKEND` (no prefix).
        api_keys: API key -> its workspaces, the default one first. None: an installation without authentication.
        user_limit, workspace_limit: Rate limits; None (as installed) for none.
        id_window_hours: How far ids may be from now; None (as installed) for any distance.
        tls: Speak TLS with this certificate (`tls.ServerCertificate`).
        port: 0 for any free one.

    Leaving the block raises AssertionError if the fake itself had a bug.
    """

    def __init__(
        self,
        *,
        front: Front = Front.NGINX,
        api_keys: Mapping[str, Sequence[str]] | None = None,
        user_limit: Limit | None = None,
        workspace_limit: Limit | None = None,
        id_window_hours: float | None = None,
        tls: ServerCertificate | None = None,
        port: int = 0,
    ) -> None:
        load_document()  # fails here, with its reason, and not in the first request
        self.faults = Faults()
        self.requests: list[Request] = []
        """Every request, in order of arrival."""
        self.port = port
        self._front = front
        self._keys = None if api_keys is None else {key: tuple(names) for key, names in api_keys.items()}
        self._limits = (user_limit, workspace_limit)
        self._id_window_hours = id_window_hours
        self._tls = tls
        self._http: HttpServer | None = None
        self._crashes: list[str] = []
        self._api = self._new_api()

    def _new_api(self) -> Api:
        store = Store(id_window_hours=self._id_window_hours)
        limits = RateLimits(user=self._limits[0], workspace=self._limits[1])
        return Api(store, front=self._front, keys=self._keys, limits=limits)

    # --- running -----------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._crashes and error is None:
            raise AssertionError("the fake Opik has a bug:\n" + "\n".join(self._crashes))

    def start(self) -> None:
        """Listen. After `stop` on the same port, and with the same rows: an outage is over."""
        self._http = HttpServer(
            self.port,
            answer=self._answer,
            choose_fault=self._fault_for,
            log=self.requests,
            tls=self._tls.context if self._tls else None,
        )
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), name="fake-opik", daemon=True).start()

    def stop(self) -> None:
        """Stop listening (connections are refused) and drop open connections; rows stay."""
        if self._http is not None:
            self._http.stop()
            self._crashes += self._http.crashes
            self._http = None

    def let(self, api_key: str, *workspaces: str) -> None:
        """Change what a key may write to, its default workspace first."""
        assert self._keys is not None, "an installation without authentication"
        self._keys[api_key] = workspaces

    def reset(self) -> None:
        """Forget all rows, requests, violations and planned faults."""
        self.faults.clear()
        self.requests.clear()
        self._api = self._new_api()

    def _answer(self, request: Request) -> Answer:
        return self._api.answer(request)  # looked up each time, for `reset` replaces it

    def _fault_for(self, request: Request) -> Fault | None:
        path = self._api.backend_path(request.path)
        return self.faults.take(request.method, request.path if path is None else path)

    # --- addresses ---------------------------------------------------------------------------------------

    @property
    def root_url(self) -> str:
        """Where the UI would be: scheme, host and port, without a slash at the end."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The API's base address, without a slash at the end: what `OPIK_URL_OVERRIDE` holds."""
        return self.root_url + ("/api" if self._front is Front.NGINX else "")

    @property
    def otlp_url(self) -> str:
        """The whole address of the OTLP route for traces."""
        return f"{self.url}/v1/private/otel/v1/traces"

    # --- views -------------------------------------------------------------------------------------------

    def traces(self, project: str | None = None, *, workspace: str = DEFAULT_WORKSPACE) -> list[dict[str, Any]]:
        """Traces as Opik's list shows them; of one project, or of all."""
        return self._rows("trace", project, workspace)

    def spans(self, project: str | None = None, *, workspace: str = DEFAULT_WORKSPACE) -> list[dict[str, Any]]:
        """Spans as Opik's list shows them; of one project, or of all."""
        return self._rows("span", project, workspace)

    def _rows(self, kind: Kind, project: str | None, workspace: str) -> list[dict[str, Any]]:
        reader = Reader(self._api.store, workspace)
        with self._api.lock:
            mine = [each for each in self._api.store.projects if each.workspace == workspace]
            wanted = [each for each in mine if project is None or each.name.lower() == project.lower()]
            return [row for each in wanted for row in reader.rows(kind, each)]

    def projects(self, *, workspace: str = DEFAULT_WORKSPACE) -> list[str]:
        """Names of the projects of a workspace, oldest first."""
        return [each.name for each in self._api.store.projects if each.workspace == workspace]

    @property
    def trace_writes(self) -> WriteCounts:
        """What became of all trace rows written: inserted, replaced, repeated, outdated."""
        return self._api.store.traces.counts

    @property
    def span_writes(self) -> WriteCounts:
        """What became of all span rows written."""
        return self._api.store.spans.counts

    def duplicates(self) -> list[str]:
        """Ids that are stored twice, under another project, trace or parent: Opik shows such rows twice."""
        store = self._api.store
        return store.traces.repeated_ids() + store.spans.repeated_ids()

    @property
    def violations(self) -> list[Violation]:
        """Every departure of a request from the OpenAPI document, refused or tolerated. A correct client has none."""
        return self._api.violations

    def requests_to(self, route: str) -> list[Request]:
        """Requests to a route such as `POST /v1/private/spans/batch` (without `/api`)."""
        return [each for each in list(self.requests) if f"{each.method} {self._api.backend_path(each.path)}" == route]

    @property
    def most_in_flight(self) -> int:
        """The largest number of requests that were being served at once since `start`."""
        return self._http.most_in_flight if self._http else 0

    def forget_otlp_traces(self) -> None:
        """Lose the memory of OTel trace ids, as Redis does after three idle hours."""
        self._api.store.otel_trace_ids.clear()
