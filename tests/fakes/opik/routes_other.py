"""Routes beside traces and spans: health, access, projects, attachments, links."""

from __future__ import annotations

import base64
import mimetypes
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from tests.fakes.opik.access import DEFAULT_WORKSPACE
from tests.fakes.opik.answers import Answer, coded, empty, errors, json_answer
from tests.fakes.opik.document import load_document
from tests.fakes.opik.instants import format_instant
from tests.fakes.opik.reading import page_of
from tests.fakes.opik.routing import Call, route

if TYPE_CHECKING:
    from tests.fakes.opik.rows import Project

__all__ = ["SERVER_VERSION"]

SERVER_VERSION = "2.1.24"
"""The release whose observed answers this fake gives."""
_PROJECT_SORTABLE = ["id", "name", "last_updated_at", "created_at", "last_updated_trace_at"]


@route("GET", "/is-alive/ping", is_open=True)
def ping(_call: Call) -> Answer:
    """Liveness."""
    return json_answer(200, {"message": "Healthy Server", "healthy": True})


@route("GET", "/is-alive/ver", is_open=True)
def version(_call: Call) -> Answer:
    """The server's release."""
    return json_answer(200, {"version": SERVER_VERSION})


@route("POST", "/v1/private/auth")
def check_access(_call: Call) -> Answer:
    """Whoever gets here has access."""
    return empty()


@route("GET", "/v1/private/auth/workspace")
def workspace_name(call: Call) -> Answer:
    """The name of the caller's workspace."""
    return json_answer(200, {"workspace_name": call.workspace})


@route("GET", "/v1/private/workspace-permissions")
def workspace_permissions(call: Call) -> Answer:
    """What the caller may do."""
    permissions = [{"permissionName": "trace_span_thread_log", "permissionValue": "true"}]
    answer = {"userName": call.caller.user, "workspaceName": call.workspace, "permissions": permissions}
    return json_answer(200, answer)


@route("GET", "/v1/private/toggles")
def toggles(_call: Call) -> Answer:
    """Every feature switch of the document, off."""
    properties = load_document()["components"]["schemas"]["ServiceTogglesConfig"]["properties"]
    return json_answer(200, {name: False for name, schema in properties.items() if schema.get("type") == "boolean"})


@route("GET", "/v1/private/projects", is_public=True)
def list_projects(call: Call) -> Answer:
    """Projects whose name contains a text; strangers see the public ones, of which there are none."""
    text = call.query.get("name", "").lower()
    mine = [each for each in call.store.projects if each.workspace == call.workspace and not call.caller.is_stranger]
    found = [_project(each) for each in mine if text in each.name.lower()]
    return json_answer(200, page_of(found[::-1], call.number("page", 1), call.number("size", 10), _PROJECT_SORTABLE))


@route("POST", "/v1/private/projects")
def create_project(call: Call) -> Answer:
    """Make a project; 409 when the name is taken."""
    if call.store.projects.named(call.workspace, call.body["name"]):
        return errors(409, "Project already exists")
    made = call.store.projects.ensure(call.workspace, call.body["name"])
    return empty(201, Location=f"http://{call.request.headers['Host']}/v1/private/projects/{made.id}")


@route("GET", "/v1/private/projects/{id}", is_public=True)
def get_project(call: Call) -> Answer:
    """One project by id."""
    found = call.store.projects.with_id(call.workspace, call.path["id"])
    if found is None or call.caller.is_stranger:
        return errors(404, "Project not found")
    return json_answer(200, _project(found))


@route("POST", "/v1/private/projects/retrieve", is_public=True)
def retrieve_project(call: Call) -> Answer:
    """One project by its exact name."""
    found = call.store.projects.named(call.workspace, call.body["name"])
    if found is None or call.caller.is_stranger:
        return errors(404, "Project not found")
    return json_answer(200, _project(found))


@route("GET", "/v1/session/redirect/projects", is_open=True)
def link_to_trace(call: Call) -> Answer:
    """Send a browser to the page of a trace (the page's own address is a guess)."""
    workspace = call.query.get("workspace_name") or DEFAULT_WORKSPACE
    trace = call.store.traces.find(workspace, call.query["trace_id"])
    if trace is None:
        return coded(404, f"Trace id: {call.query['trace_id']} not found")
    base = base64.b64decode(call.query["path"]).decode().rstrip("/").removesuffix("/api")
    page = f"{base}/{workspace}/projects/{trace.project_id}/traces?{urlencode({'trace': trace.id})}"
    return empty(303, Location=page)


@route("POST", "/v1/private/attachment/upload-start")
def start_upload(call: Call) -> Answer:
    """Say where to put a file: one address on this server, as installations with MinIO do."""
    wanted = ("file_name", "project_name", "mime_type", "entity_type", "entity_id")
    query = {name: call.body[name] for name in wanted if call.body.get(name)}
    base = base64.b64decode(call.body["path"]).decode().rstrip("/")
    address = f"{base}/v1/private/attachment/upload?{urlencode(query)}"
    return json_answer(200, {"upload_id": "BEMinIO", "pre_sign_urls": [address]})


@route("PUT", "/v1/private/attachment/upload")
def upload(call: Call) -> Answer:
    """Keep a file."""
    query = call.query
    call.store.attachments[query["entity_type"], query["entity_id"], query["file_name"]] = call.request.body
    return empty()


@route("POST", "/v1/private/attachment/upload-complete")
def complete_upload(_call: Call) -> Answer:
    """End an upload in parts; nothing is left to do here."""
    return empty()


@route("GET", "/v1/private/attachment/list")
def list_attachments(call: Call) -> Answer:
    """Files of one trace or span."""
    owner = (call.query["entity_type"], call.query["entity_id"])
    found: list[dict[str, Any]] = [
        {
            "file_name": name,
            "file_size": len(content),
            "mime_type": mimetypes.guess_type(name)[0] or "application/octet-stream",
        }
        for (*entity, name), content in call.store.attachments.items()
        if tuple(entity) == owner
    ]
    return json_answer(200, page_of(found, 1, 100, []))


@route("GET", "/v1/private/attachment/download")
def download(call: Call) -> Answer:
    """One file's content."""
    key = (call.query["entity_type"], call.query["entity_id"], call.query["file_name"])
    if key not in call.store.attachments:
        return coded(404, "Attachment not found")
    return Answer(200, call.store.attachments[key], {"Content-Type": call.query["mime_type"]})


def _project(project: Project) -> dict[str, Any]:
    made = format_instant(project.created_at)
    return {
        "id": project.id,
        "name": project.name,
        "visibility": "private",
        "created_at": made,
        "created_by": "admin",
        "last_updated_at": made,
        "last_updated_by": "admin",
    }
