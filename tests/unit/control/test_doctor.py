"""The doctor: each common mistake gets its own right sentence, and a program that works gets its proof."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import otel_llm
from otel_llm import semconv
from otel_llm.config import load
from otel_llm.contracts import CheckStatus, Finding
from otel_llm.control.doctor import diagnosis
from otel_llm.control.doctor.examination import Examination, ok
from tests.fakes.http_server import HttpServer, Reply, closed_port
from tests.fakes.opik import FakeOpik, Front, ServerCertificate, needs_openapi
from tests.fakes.otlp_receiver import GrpcReceiver, OtlpReceiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(otel_llm.__file__).parents[1]
_PATIENT = ("--timeout", "80")
_PROMISED = ("--timeout", "16")
"""The default."""


def doctor(tmp_path: Path, *options: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """Run `otel-llm doctor --json` with these settings; returns its exit code and what it found."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OTEL_LLM_STATE_DIR": str(tmp_path / "state"), **environment}
    environ = {name: value for name, value in environ.items() if not name.lower().endswith("_proxy")} | {
        name: value for name, value in environment.items() if name.endswith("_PROXY")
    }
    answer = subprocess.run(
        [sys.executable, "-m", "otel_llm", "doctor", "--json", *_PATIENT, *options],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert answer.stdout, answer.stderr
    assert "Traceback" not in answer.stderr
    return answer.returncode, json.loads(answer.stdout)


def by_check(told: dict[str, Any]) -> dict[str, dict[str, str]]:
    """The findings by the name of their check."""
    return {finding["check"]: finding for finding in told["findings"]}


def failures(told: dict[str, Any]) -> list[dict[str, str]]:
    """The findings that failed."""
    return [finding for finding in told["findings"] if finding["status"] == "failed"]


# --- the commonest mistakes ----------------------------------------------------------------------------------


class Scene:
    """What a mistake needs: servers that live as long as the test, a directory, and the settings it makes."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.enter = stack.enter_context


def _opik(url: str, **more: str) -> dict[str, str]:
    return {"OTEL_LLM_BACKEND": "opik", "OPIK_URL_OVERRIDE": url, "OPIK_PROJECT_NAME": "p", **more}


def _wrong_key(scene: Scene) -> dict[str, str]:
    opik = scene.enter(FakeOpik(api_keys={"right": ["acme"]}))
    return _opik(opik.url, OPIK_API_KEY="wrong-canary", OPIK_WORKSPACE="acme")


def _no_key(scene: Scene) -> dict[str, str]:
    return _opik(scene.enter(FakeOpik(api_keys={"right": ["acme"]})).url, OPIK_WORKSPACE="acme")


def _wrong_workspace(scene: Scene) -> dict[str, str]:
    opik = scene.enter(FakeOpik(api_keys={"right": ["acme"]}))
    return _opik(opik.url, OPIK_API_KEY="right", OPIK_WORKSPACE="acne")


def _page_instead_of_api(scene: Scene) -> dict[str, str]:
    return _opik(scene.enter(FakeOpik()).root_url + "/default/projects")


def _missing_api(scene: Scene) -> dict[str, str]:
    gateway = scene.enter(HttpServer(default=Reply.json({"code": 404, "message": "HTTP 404 Not Found"}, 404)))
    return _opik(gateway.url)


def _grpc_port(scene: Scene) -> dict[str, str]:
    return {"OTEL_LLM_BACKEND": "otlp", "OTEL_LLM_OTLP_ENDPOINT": scene.enter(GrpcReceiver()).url}


def _private_ca(scene: Scene) -> dict[str, str]:
    return _opik(scene.enter(FakeOpik(tls=ServerCertificate())).url)


def _other_host(scene: Scene) -> dict[str, str]:
    certificate = ServerCertificate("opik.example.test")
    opik = scene.enter(FakeOpik(tls=certificate))
    return _opik(opik.url, SSL_CERT_FILE=str(certificate.write_ca(scene.directory / "ca.pem")))


def _proxy_wants_login(scene: Scene) -> dict[str, str]:
    proxy = scene.enter(HttpServer(default=Reply(407)))
    return _opik("http://opik.example.test/api", HTTP_PROXY=proxy.url.replace("http://", "http://me:canary@"))


def _dead_proxy(scene: Scene) -> dict[str, str]:
    return _opik("http://opik.example.test/api", HTTP_PROXY=f"http://127.0.0.1:{closed_port()}")


def _no_proxy_address(_scene: Scene) -> dict[str, str]:
    return _opik("http://opik.example.test/api", HTTP_PROXY="http://me:can/canary@proxy:eight")


def _misspelt_host(scene: Scene) -> dict[str, str]:
    return _opik("http://opik.invalid/api")


def _refused(scene: Scene) -> dict[str, str]:
    return _opik(f"http://127.0.0.1:{closed_port()}/api")


def _black_hole(scene: Scene) -> dict[str, str]:
    return _opik(f"http://127.0.0.1:{scene.enter(_full_listener())}/api")


def _silent_server(scene: Scene) -> dict[str, str]:
    return _opik(scene.enter(HttpServer(default=Reply(hang=True))).url + "/api")


def _old_httpx(scene: Scene) -> dict[str, str]:
    packages = [_package(scene.directory, "httpx", "0.25.2"), _package(scene.directory, "opik", "2.2.122")]
    return {"PYTHONPATH": os.pathsep.join([*packages, str(ROOT)])}


def _new_httpx(scene: Scene) -> dict[str, str]:
    packages = [_package(scene.directory, "httpx", "0.28.1"), _package(scene.directory, "openai", "1.55.2")]
    return {"PYTHONPATH": os.pathsep.join([*packages, str(ROOT)])}


def _misspelt_setting(scene: Scene) -> dict[str, str]:
    return {"OTEL_LLM_BACKNED": "opik"}


def _package(directory: Path, name: str, version: str, *requirements: str) -> str:
    """A place on the path where this version of a package seems to be installed."""
    place = directory / f"site-{name}"
    information = place / f"{name}-{version}.dist-info"
    information.mkdir(parents=True)
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requirements)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
    return str(place)


@contextmanager
def _full_listener() -> Iterator[int]:
    """A port whose queue of connections is full: what is sent there gets no answer at all."""
    with socket.socket() as listener, ExitStack() as others:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            other = others.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        time.sleep(0.05)  # the kernel takes a moment to fill the queue, and nothing tells when it has
        yield int(listener.getsockname()[1])


MISTAKES: dict[str, tuple[Callable[[Scene], dict[str, str]], str, str]] = {
    "wrong key": (_wrong_key, "opik.credentials", "key is wrong or was revoked"),
    "no key": (_no_key, "opik.credentials", "No API key is set"),
    "wrong workspace": (_wrong_workspace, "opik.credentials", "may not write to workspace 'acne'"),
    "web page instead of the API": (_page_instead_of_api, "opik.server", "is the address of Opik's web page"),
    "missing /api": (_missing_api, "opik.server", "Most likely /api is missing"),
    "gRPC port for HTTP": (_grpc_port, "network.protocol", "is a port for OTLP over gRPC"),
    "private CA": (_private_ca, "network.tls", "name the CA's file in SSL_CERT_FILE"),
    "certificate of another host": (_other_host, "network.tls", "use the name that is in it in OPIK_URL_OVERRIDE"),
    "proxy wants a login": (_proxy_wants_login, "opik.server", "wants a login (HTTP 407)"),
    "dead proxy": (_dead_proxy, "network.tcp", "correct the port in the proxy of the environment"),
    "proxy that is no address": (_no_proxy_address, "network.proxy", "which is no address"),
    "misspelt host": (_misspelt_host, "network.dns", "does not resolve"),
    "refused port": (_refused, "network.tcp", "correct the port in OPIK_URL_OVERRIDE"),
    "black hole": (_black_hole, "network.tcp", "packets vanish on the way"),
    "silent server": (_silent_server, "opik.server", "too slow or a firewall swallows the request"),
    "httpx too old for opik": (_old_httpx, "versions.httpx", "unexpected keyword argument 'proxy'"),
    "httpx too new for openai": (_new_httpx, "versions.httpx", "unexpected keyword argument 'proxies'"),
    "misspelt setting": (_misspelt_setting, "settings", "OTEL_LLM_BACKEND"),
}
"""Mistake -> how it is made, the check that finds it, and words that only its sentence has."""


@needs_openapi
@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_has_its_own_sentence(mistake: str, tmp_path: Path) -> None:
    """The doctor fails at the right check, with the sentence of this mistake and of no other."""
    make, check, words = MISTAKES[mistake]
    with ExitStack() as stack:
        endless = mistake in {"black hole", "silent server"}
        code, told = doctor(tmp_path, *(_PROMISED if endless else ()), **make(Scene(tmp_path, stack)))
    assert code == 1
    assert not told["healthy"]
    assert not endless or told["seconds"] < 20
    (finding,) = failures(told)
    sentence = f"{finding['evidence']} {finding['remedy']}"
    assert finding["check"] == check
    assert words in sentence
    assert finding["remedy"].endswith(".")
    assert [other for other, (_, _, theirs) in MISTAKES.items() if other != mistake and theirs in sentence] == []
    assert "canary" not in json.dumps(told)


@needs_openapi
def test_a_single_endpoint_as_address_is_corrected_and_said(tmp_path: Path) -> None:
    """`/v1/traces` at the end is left off with a warning, and spans arrive."""
    with FakeOpik() as opik:
        code, told = doctor(tmp_path, **_opik(f"{opik.url}/v1/private/otel/v1/traces"))
    address = by_check(told)["opik.address"]
    assert (code, address["status"]) == (0, "warning")
    assert "named a single endpoint; /v1/private/otel/v1/traces is left off" in address["evidence"]


@needs_openapi
@pytest.mark.parametrize(("project", "check", "words"), [
    ("", "settings.opik.project", "No project is set"),
    ("chekout", "opik.project", "Project 'chekout' does not exist yet"),
])  # fmt: skip
def test_a_blank_or_unknown_project_is_said(project: str, check: str, words: str, tmp_path: Path) -> None:
    """No project, and one that nobody has made yet, are both named before spans go there."""
    with FakeOpik() as opik:
        code, told = doctor(tmp_path, **_opik(opik.url, OPIK_PROJECT_NAME=project))
    assert code == 0
    assert words in by_check(told)[check]["evidence"]


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({}, True),
        ({"OPIK_API_KEY": "k" * 20}, False),
        ({"OPIK_URL_OVERRIDE": "http://localhost:5173/api"}, False),
        ({"OTEL_LLM_BACKEND": "local"}, False),
    ],
)
def test_a_missing_key_for_opik_cloud_is_said_without_asking_it(
    environment: dict[str, str], said: bool, tmp_path: Path
) -> None:
    """It is known from the settings, also where the cloud is not reached."""
    config = load(environ={"HOME": str(tmp_path), "OTEL_LLM_BACKEND": "opik", **environment}, directory=tmp_path)
    assert ("settings.opik.api_key" in [finding.check for finding in diagnosis._settings(config)]) is said


@pytest.mark.parametrize(("seconds", "words"), [(3600, "behind the server's"), (-3600, "ahead of the server's")])
def test_a_wrong_clock_is_said(seconds: int, words: str, tmp_path: Path) -> None:
    """A clock that is an hour off the server's is a warning with the direction."""
    with OtlpReceiver() as receiver:
        receive = receiver._answer

        def at_another_time(request: Any) -> Reply:
            assert receive is not None
            reply = receive(request)
            return replace(reply, headers={**reply.headers, "Date": formatdate(time.time() + seconds, usegmt=True)})

        receiver._answer = at_another_time
        code, told = doctor(tmp_path, "--backend", "otlp", OTEL_LLM_OTLP_ENDPOINT=receiver.url)
    clock = by_check(told)["clock"]
    assert (code, clock["status"]) == (0, "warning")
    assert words in clock["evidence"]
    assert "NTP" in clock["remedy"]


def test_a_damaged_spool_is_said(tmp_path: Path) -> None:
    """Files that were laid aside are named, with what to look for."""
    place = tmp_path / "state" / "spool" / "shop"
    place.mkdir(parents=True, mode=0o700)
    (place / "corrupt-1700000000000000000.db").write_bytes(b"x")
    with OtlpReceiver() as receiver:
        settings = {"OTEL_LLM_OTLP_ENDPOINT": receiver.url, "OTEL_SERVICE_NAME": "shop"}
        code, told = doctor(tmp_path, "--backend", "otlp", **settings)
    found = by_check(told)["spool.files"]
    assert (code, found["status"]) == (0, "warning")
    assert "1 damaged spool files" in found["evidence"]


# --- proof that it works -----------------------------------------------------------------------------------------


@needs_openapi
def test_opik_is_asked_for_the_marked_span(tmp_path: Path) -> None:
    """One trace named after the doctor, with its mark, read back from Opik and named with a link to it."""
    with FakeOpik(front=Front.NGINX) as opik:
        code, told = doctor(tmp_path, **_opik(opik.url))
        (trace,) = opik.traces("p")
        (span,) = opik.spans("p")
    assert code == 0, failures(told)
    assert trace["name"] == "otel-llm doctor"
    assert semconv.DOCTOR in json.dumps(span)
    evidence = by_check(told)["probe.opik"]["evidence"]
    assert f"trace_id={trace['id']}" in evidence
    assert "project 'p'" in evidence


@needs_openapi
def test_a_private_ca_that_is_named_is_trusted(tmp_path: Path) -> None:
    """With the remedy applied the doctor is content."""
    certificate = ServerCertificate()
    with FakeOpik(tls=certificate) as opik:
        ca = certificate.write_ca(tmp_path / "ca.pem")
        code, told = doctor(tmp_path, **_opik(opik.url, SSL_CERT_FILE=str(ca)))
    assert code == 0, failures(told)
    assert by_check(told)["network.tls"]["status"] == "ok"


def test_a_receiver_that_wants_our_certificate_gets_it(tmp_path: Path) -> None:
    """The doctor shows the server the certificate that the backend shows."""
    certificate = ServerCertificate()
    certificate.require_client()
    ours, key = certificate.write_client(tmp_path)
    with OtlpReceiver(tls=certificate.context) as receiver:
        code, told = doctor(
            tmp_path,
            OTEL_LLM_BACKEND="otlp",
            OTEL_LLM_OTLP_ENDPOINT=receiver.url,
            OTEL_EXPORTER_OTLP_CERTIFICATE=str(certificate.write_ca(tmp_path / "ca.pem")),
            OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE=ours,
            OTEL_EXPORTER_OTLP_CLIENT_KEY=key,
        )
    assert code == 0, failures(told)
    assert by_check(told)["network.tls"]["status"] == "ok"


def test_an_otlp_receiver_accepts_the_span(tmp_path: Path) -> None:
    """A receiver cannot be asked, so the doctor says that it accepted the span, and no more."""
    with OtlpReceiver() as receiver:
        code, told = doctor(tmp_path, "--backend", "otlp", OTEL_LLM_OTLP_ENDPOINT=receiver.url)
        assert [span.name for span in receiver.spans] == ["otel-llm doctor"]
    assert code == 0, failures(told)
    assert "accepted" in by_check(told)["probe.otlp"]["evidence"]


def test_store_and_file_are_read_back(tmp_path: Path) -> None:
    """Each of several backends is examined and shows the span."""
    code, told = doctor(tmp_path, OTEL_LLM_BACKEND="local,file")
    assert code == 0, failures(told)
    assert "has the marked span" in by_check(told)["probe.local"]["evidence"]
    assert "ends with the marked span" in by_check(told)["probe.file"]["evidence"]


def test_backends_that_hang_do_not_cost_others_their_proof(tmp_path: Path) -> None:
    """Two servers that never answer: both are named within the time, and the store still shows the span."""
    with HttpServer(default=Reply(hang=True)) as silent:
        settings = {"OTEL_LLM_OTLP_ENDPOINT": silent.url, **_opik(f"{silent.url}/api")}
        code, told = doctor(tmp_path, *_PROMISED, **{**settings, "OTEL_LLM_BACKEND": "local,otlp,opik"})
    assert code == 1
    assert told["seconds"] < 20
    assert len(failures(told)) == 2
    assert by_check(told)["probe.local"]["status"] == "ok"


def test_an_unknown_backend_names_the_known_ones(tmp_path: Path) -> None:
    """`--backend opick` fails at the settings."""
    code, told = doctor(tmp_path, "--backend", "opick")
    assert code == 1
    assert "opik" in failures(told)[0]["evidence"]


def test_a_state_directory_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A file in the directory's place fails the disk check, and no span is sent."""
    (tmp_path / "state").write_text("a file")
    code, told = doctor(tmp_path)
    assert code == 1
    assert "disk" in [finding["check"] for finding in failures(told)]
    assert by_check(told)["probe.local"]["status"] == "skipped"


def test_text_output_names_status_and_remedy(tmp_path: Path) -> None:
    """Without --json each finding is a line, a failed one with what to do, and a verdict ends it."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), **_opik(f"http://127.0.0.1:{closed_port()}/api")}
    answer = subprocess.run(
        [sys.executable, "-m", "otel_llm", "doctor"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 1
    assert "FAILED   network.tcp: 127.0.0.1 refuses connections" in answer.stdout
    assert "-> Start the server" in answer.stdout
    assert "1 of " in answer.stdout.splitlines()[-1]


# --- versions, and checks that hang --------------------------------------------------------------------------------


def test_the_transport_that_ignored_proxies_is_named(tmp_path: Path) -> None:
    """Version 1.45.0 of the OTLP exporter is a warning: only exporters of the program's own suffer."""
    package = _package(tmp_path, "opentelemetry_exporter_otlp_proto_http", "1.45.0")
    code, told = doctor(tmp_path, PYTHONPATH=os.pathsep.join([package, str(ROOT)]))
    finding = by_check(told)["versions.opentelemetry-exporter-otlp-proto-http"]
    assert (code, finding["status"]) == (0, "warning")
    assert "ignores HTTP_PROXY" in finding["evidence"]


def test_a_litellm_that_is_too_old_is_named(tmp_path: Path) -> None:
    """One below the oldest that is tested is a warning: without our extra, pip says nothing."""
    code, told = doctor(tmp_path, PYTHONPATH=os.pathsep.join([_package(tmp_path, "litellm", "1.60.0"), str(ROOT)]))
    finding = by_check(told)["versions.litellm"]
    assert (code, finding["status"]) == (0, "warning")
    assert "older than 1.79" in finding["evidence"]


def test_a_broken_pin_between_packages_is_named(tmp_path: Path) -> None:
    """An opik that asks for another litellm than the installed one is a warning with both names."""
    opik = _package(tmp_path, "opik", "9.9.9", "litellm<1.0; python_version >= '3.8'", "not a requirement !!")
    code, told = doctor(
        tmp_path, PYTHONPATH=os.pathsep.join([opik, _package(tmp_path, "litellm", "1.80.0"), str(ROOT)])
    )
    finding = by_check(told)["versions.litellm"]
    assert (code, finding["status"]) == (0, "warning")
    assert finding["evidence"] == "opik 9.9.9 asks for litellm<1.0, installed is 1.80.0."


def test_other_instrumentations_are_named(tmp_path: Path) -> None:
    """Packages that record the same calls are listed, so that nobody has to guess where duplicates come from."""
    others = [_package(tmp_path, name, "1.0") for name in ("openinference_instrumentation_litellm", "langfuse")]
    _, told = doctor(tmp_path, PYTHONPATH=os.pathsep.join([*others, str(ROOT)]))
    found = by_check(told)
    assert "openinference-instrumentation-litellm" in found["recording.overlap"]["evidence"]
    assert "langfuse" in found["recording.callbacks"]["evidence"]


def test_other_vendors_are_named(tmp_path: Path) -> None:
    """Packages that set a tracer provider, or have spans of their own, are listed with what that means here."""
    others = [_package(tmp_path, name, "1.0") for name in ("azure_monitor_opentelemetry", "logfire", "ddtrace")]
    _, told = doctor(tmp_path, PYTHONPATH=os.pathsep.join([*others, str(ROOT)]), DD_TRACE_OTEL_ENABLED="true")
    found = by_check(told)
    assert "azure-monitor-opentelemetry, logfire" in found["recording.vendors"]["evidence"]
    assert "`spans`" in found["recording.vendors"]["evidence"]
    assert "ddtrace" in found["recording.own_spans"]["evidence"]
    assert "before everything else" in found["recording.ddtrace"]["evidence"]
    assert {found[check]["status"] for check in found if check.startswith("recording.")} <= {"ok", "warning"}


def test_a_check_that_hangs_is_left_behind() -> None:
    """A check without an end costs its time and no more, and what others found stays."""
    release = threading.Event()

    def endless() -> list[Finding]:
        release.wait(60)
        return []

    examination = Examination(30.0)
    assert examination.look("quick", lambda: [ok("quick", "fine.")])
    assert not examination.look("endless", endless, share=0.01)
    release.set()
    assert [(one.check, one.status) for one in examination.findings] == [
        ("quick", CheckStatus.OK),
        ("endless", CheckStatus.FAILED),
    ]


def test_a_check_that_breaks_is_a_finding() -> None:
    """A fault of the doctor's own does not hide what the other checks found."""

    def broken() -> list[Finding]:
        raise ZeroDivisionError("oops")

    examination = Examination(30.0)
    assert not examination.look("broken", broken)
    assert "ZeroDivisionError" in examination.findings[0].evidence
