"""What `doctor` asks an Opik server: does it live, does it know us, where would spans go."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from otel_llm.backends.http import Answer, HttpClient, NoAnswerError
from otel_llm.backends.opik.verdicts import TENANTS_SETTING, Place, Refused, Verdict, judge, judge_silence, remedy_of
from otel_llm.contracts import CheckStatus, Finding, Retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["check_server"]

_ADDRESS: Final = "opik.address"
_SERVER: Final = "opik.server"
_CREDENTIALS: Final = "opik.credentials"
_PROJECT: Final = "opik.project"
_MOST_WORKSPACES: Final = 10


def check_server(
    client: HttpClient,
    place: Place,
    notes: Sequence[str],
    project: str,
    *,
    workspaces: Sequence[str] = (),
    timeout: float,
) -> list[Finding]:
    """Findings on address, server, credentials and project; each request gets at most `timeout` seconds.

    What depends on a failed check is skipped. `project` may be a template; `workspaces` are those of tenants, of which
    the first few are looked at.
    """
    findings = [_address(client, place, notes)]
    alive = _alive(client, place, timeout)
    findings.append(alive)
    if alive.status is CheckStatus.FAILED:
        because = "the server was not reached"
        return [*findings, _skipped(_CREDENTIALS, because), _skipped(_PROJECT, because)]
    credentials = _credentials(client, place, timeout)
    findings.append(credentials)
    if credentials.status is CheckStatus.FAILED:
        return [*findings, _skipped(_PROJECT, "the credentials were refused")]
    findings += [_credentials_of_tenant(client, place, name, timeout) for name in workspaces[:_MOST_WORKSPACES]]
    return [*findings, _project(client, project, timeout)]


def _address(client: HttpClient, place: Place, notes: Sequence[str]) -> Finding:
    through = " through the proxy of the environment" if client.proxy else ""
    status = CheckStatus.WARNING if notes else CheckStatus.OK
    return Finding(
        _ADDRESS, status, " ".join([f"{place.base}{through}.", *notes]), "Set OPIK_URL_OVERRIDE." if notes else ""
    )


def _alive(client: HttpClient, place: Place, timeout: float) -> Finding:
    """The server's own health, judged by its JSON: a web server in front answers 200 to anything."""
    answer = _ask(client, place, "GET", "/is-alive/ping", None, timeout)
    if isinstance(answer, Retry):
        return _failed(_SERVER, answer)
    told = _object(answer)
    if "healthy" not in told:
        verdict = judge(Answer(answer.status, answer.headers, answer.body or b"<"), place)
        return _failed(_SERVER, verdict)
    if not told["healthy"]:
        return Finding(
            _SERVER, CheckStatus.FAILED, f"Opik says it is unhealthy: {told.get('message')}.", "Look at Opik's own log."
        )
    version = _ask(client, place, "GET", "/is-alive/ver", None, timeout)
    number = "" if isinstance(version, Retry) else _object(version).get("version", "")
    return Finding(_SERVER, CheckStatus.OK, f"Opik {number} is healthy." if number else "Opik is healthy.")


def _credentials(client: HttpClient, place: Place, timeout: float) -> Finding:
    answer = _ask(client, place, "POST", "/v1/private/auth", b"{}", timeout)
    verdict = answer if isinstance(answer, Retry) else judge(answer, place)
    if verdict is None:
        accepted = "accepts the key" if place.has_key else "asks for no key"
        return Finding(_CREDENTIALS, CheckStatus.OK, f"Opik {accepted} for workspace {place.workspace!r}.")
    return _failed(_CREDENTIALS, verdict)


def _credentials_of_tenant(client: HttpClient, place: Place, workspace: str, timeout: float) -> Finding:
    """Whether spans of the tenants that have this workspace can go there; where not, they wait apart."""
    there = place._replace(workspace=workspace, workspace_setting=TENANTS_SETTING)
    answer = _ask(client, there, "POST", "/v1/private/auth", b"{}", timeout, {"Comet-Workspace": workspace})
    verdict = answer if isinstance(answer, Retry) else judge(answer, there)
    if verdict is None:
        return Finding(_CREDENTIALS, CheckStatus.OK, f"Workspace {workspace!r} of a tenant is open too.")
    found = _failed(_CREDENTIALS, verdict)
    return Finding(found.check, found.status, found.evidence, f"Correct workspace {workspace!r} in {TENANTS_SETTING}.")


def _project(client: HttpClient, project: str, timeout: float) -> Finding:
    if "{" in project:
        return Finding(_PROJECT, CheckStatus.OK, f"Projects are named by the template {project!r}.")
    body = json.dumps({"name": project}).encode()
    try:
        answer = client.request("POST", "/v1/private/projects/retrieve", body, timeout=timeout)
    except NoAnswerError as error:
        return Finding(_PROJECT, CheckStatus.WARNING, f"Looking for project {project!r} failed: {error}.", "Try again.")
    if answer.status == 200:
        return Finding(_PROJECT, CheckStatus.OK, f"Project {project!r} exists.")
    if answer.status == 404:
        return Finding(_PROJECT, CheckStatus.OK, f"Project {project!r} does not exist yet; the first span creates it.")
    return Finding(
        _PROJECT, CheckStatus.WARNING, f"Looking for project {project!r} gave HTTP {answer.status}.", "Check its name."
    )


def _ask(
    client: HttpClient,
    place: Place,
    method: str,
    path: str,
    body: bytes | None,
    timeout: float,
    headers: Mapping[str, str] | None = None,
) -> Answer | Retry:
    try:
        return client.request(method, path, body, timeout=timeout, headers=headers)
    except NoAnswerError as error:
        return judge_silence(error, place)


def _object(answer: Answer) -> dict[str, Any]:
    try:
        told = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _failed(check: str, verdict: Verdict) -> Finding:
    if isinstance(verdict, Retry):
        return Finding(check, CheckStatus.FAILED, verdict.why, remedy_of(verdict.reason))
    words = verdict.words if isinstance(verdict, Refused) else "the answer is not Opik's"
    return Finding(check, CheckStatus.FAILED, f"Opik refused: {words}.", remedy_of(""))


def _skipped(check: str, because: str) -> Finding:
    return Finding(check, CheckStatus.SKIPPED, f"Not looked at: {because}.")
