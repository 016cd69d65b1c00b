"""The backend `opik`: where it sends, as whom, and whether that works; `sender` does the sending."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from otel_llm.backends.http import Tls
from otel_llm.backends.opik.address import Address, opik_url, resolve_address
from otel_llm.backends.opik.json_client import JsonClient
from otel_llm.backends.opik.routing import Routing
from otel_llm.contracts import Retry
from otel_llm.errors import ConfigError
from otel_llm.loading import loading

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from otel_llm.backends.opik.sender import Sender
    from otel_llm.backends.opik.verdicts import Place
    from otel_llm.contracts import Batch, Finding, Outcome

__all__ = ["OpikBackend", "OpikOptions"]

_logger = logging.getLogger(__name__)

_DEFAULT_WORKSPACE: Final = "default"
_CHECK_TIMEOUT_SECONDS: Final = 5.0


class OpikOptions:
    """Settings of the backend; what is left out has Opik's usual meaning. Shown without the key."""

    def __init__(
        self,
        *,
        url: str | None = None,
        api_key: str | None = None,
        workspace: str | None = None,
        project: str | None = None,
        service: str | None = None,
        tenants: Mapping[str, str] = MappingProxyType({}),
        check_tls: bool = True,
    ) -> None:
        self.url = url
        """Address of the server; None means the one inside the key, else Opik Cloud."""
        self.api_key = api_key
        self.workspace = workspace
        self.project = project
        """Project name, or a template with `{service}`, `{tenant}`, `{environment}`; None: the service's name."""
        self.service = service
        self.tenants = tenants
        self.check_tls = check_tls

    def __repr__(self) -> str:
        shown = (f"{name}={value!r}" for name, value in vars(self).items() if name != "api_key")
        return f"OpikOptions({', '.join(shown)})"


class OpikBackend:
    """Sends batches to Opik over its REST API. Used by one thread at a time; one request is in flight at most.

    Raises `ConfigError` if the address or the project cannot be understood, or key or workspace cannot be sent.
    Nothing is sent, looked up or connected until `send` or `check`.
    """

    name = "opik"

    def __init__(self, options: OpikOptions) -> None:
        self._options = options
        self._address: Address = resolve_address(options.url, options.api_key)
        self._routing = Routing(options.project, options.service, dict(options.tenants))
        self._workspace = options.workspace or _DEFAULT_WORKSPACE
        self._client = JsonClient(self._address.base, _headers(options, self._workspace), Tls(check=options.check_tls))
        self._sender: Sender | None = None
        self._held_back: frozenset[str] | None = None
        self._announce()

    def send(self, batch: Batch, *, timeout: float) -> Outcome:
        """Hand the batch's rows to Opik, traces before spans; see `contracts.Backend`.

        Sending the same batch again is safe: every row replaces itself.
        """
        if self._sender is None:
            try:
                self.prepare()
            except Exception as error:  # noqa: BLE001  (the contract; `loading` has said and counted it)
                return Retry(
                    f"What sends to Opik cannot be loaded ({type(error).__name__}: {error!s:.200}).", "internal"
                )
            from otel_llm.backends.opik.sender import Sender  # noqa: PLC0415  (see `prepare`)

            self._sender = Sender(self._client, self._routing, self._place())
            self._sender.held_back = self._held_back
        return self._sender.send(batch, timeout=timeout)

    def hold_back(self, workspaces: Collection[str]) -> None:
        """From now on, what closed workspaces do not take comes back from `send`; see `contracts.Backend`."""
        self._held_back = frozenset(workspaces)
        if self._sender is not None:
            self._sender.held_back = self._held_back

    def prepare(self) -> None:
        """Load the mapping to rows, protobuf and urllib3, which nobody needs who only checks."""
        with loading("what sends to Opik"):
            from otel_llm.backends.opik import sender  # noqa: F401, PLC0415

            self._client.prepare()

    def check(self) -> Sequence[Finding]:
        """Look at address, server, key, workspace (those of tenants too) and project without sending any span."""
        from otel_llm.backends.opik.checks import check_server  # noqa: PLC0415  (only who looks needs it)

        notes = [*self._address.notes]
        if not self._options.check_tls:
            notes.append("TLS certificates are not checked (OPIK_CHECK_TLS_CERTIFICATE).")
        project = self._routing.project or self._routing.fallback({})
        return check_server(
            self._client,
            self._place(),
            notes,
            project,
            workspaces=sorted(self._routing.workspaces),
            timeout=_CHECK_TIMEOUT_SECONDS,
        )

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def url_of(self, opik_trace_id: str) -> str:
        """The link that opens a trace, given its Opik id, in the browser."""
        return opik_url(self._address.base, opik_trace_id)

    def _place(self) -> Place:
        from otel_llm.backends.opik.verdicts import Place  # noqa: PLC0415  (only where an answer is judged)

        return Place(
            base=self._address.base,
            workspace=self._workspace,
            has_key=bool(self._options.api_key),
            says_bearer=(self._options.api_key or "").strip().lower().startswith("bearer "),
            is_grpc_port=self._address.is_grpc_port,
        )

    def _announce(self) -> None:
        for note in self._address.notes:
            _logger.warning("%s Using %s.", note, self._address.base)
        if self._routing.project is None:
            _logger.info(
                "No Opik project is configured: spans go to the project named after their service, here %r.",
                self._routing.fallback({}),
            )


def _headers(options: OpikOptions, workspace: str) -> dict[str, str]:
    """The key goes as it is, without `Bearer`, the part with the address included, as Opik's own client sends it."""
    _sendable("API key", (options.api_key or "").strip(), "OPIK_API_KEY")
    _sendable("workspace", workspace, "OPIK_WORKSPACE")
    for tenant in options.tenants.values():
        _sendable("workspace of a tenant", tenant.partition(" @")[2].strip(), "opik.tenants")
    headers: dict[str, Any] = {"Comet-Workspace": workspace, "User-Agent": "otel-llm", "Accept": "application/json"}
    if options.api_key:
        headers["Authorization"] = options.api_key.strip()
    return headers


def _sendable(what: str, value: str, setting: str) -> None:
    """Raise `ConfigError`, without the value, if it cannot go into a header."""
    if not (value.isascii() and value.isprintable()):
        raise ConfigError(
            f"The {what} holds a character that a header cannot carry (a line break, or a letter outside ASCII); "
            f"it was probably copied with something around it: set {setting} anew."
        )
