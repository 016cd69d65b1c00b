"""Every Collector configuration that we ship is valid for the real binary, and keeps our rules."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.collector.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)  # the first test may build the binary

_SIDECAR = ROOT / "otel-collector.yaml"
_SHIPPED = [_SIDECAR, *sorted((ROOT / "collector/profiles").glob("*.yaml"))]
_BAD = sorted((ROOT / "collector/testdata").glob("bad_*.yaml"))
_WITHOUT_CONTENT_OF_USERS = {"traces/consume"}
"""Pipelines behind one that has redacted already."""

_MAX_REQUEST_BYTES = 33_554_432


def _name(path: Path) -> str:
    return path.name


def _validate(collector: Path, config: Path, state: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "OPIK_URL": "http://127.0.0.1:8080",
        "OTLP_TOKEN": "token",
        "OTLP_BACKEND": "http://127.0.0.1:4318",
        "OTELCOL_STATE": str(state),
    }
    return subprocess.run(
        [collector, "validate", "--config", config],
        env=environment,
        cwd=state,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("config", _SHIPPED, ids=_name)
def test_shipped_configuration_is_valid(config: Path, collector: Path, tmp_path: Path) -> None:
    """The real binary accepts the file."""
    done = _validate(collector, config, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("config", _BAD, ids=_name)
def test_bad_configuration_is_refused(config: Path, collector: Path, tmp_path: Path) -> None:
    """The real binary refuses the file, for the reason in the file's first line."""
    found = re.match(r"# Must fail: (.+)\n", config.read_text())
    assert found, "the first line must say why"
    done = _validate(collector, config, tmp_path)
    assert done.returncode != 0
    assert found[1] in done.stderr


def test_there_is_a_profile_for_each_purpose() -> None:
    """The profiles that the documentation names are there, and some that must fail."""
    names = {path.stem for path in _SHIPPED}
    assert names >= {
        "otel-collector", "stock", "gateway-lb", "gateway-sampler", "kafka", "fanout", "metrics", "debug",
    }  # fmt: skip
    assert len(_BAD) >= 5


@pytest.mark.parametrize("config", _SHIPPED, ids=_name)
def test_shipped_configuration_keeps_our_rules(config: Path) -> None:
    """No rule of `broken_rules` is broken."""
    assert broken_rules(yaml.safe_load(config.read_text()), is_sidecar=config == _SIDECAR) == []


@pytest.mark.parametrize("config", _SHIPPED, ids=_name)
def test_all_go_to_the_same_place(config: Path) -> None:
    """Whatever has our exporter takes address, key, workspace and project from the environment as the sidecar does."""
    opik = yaml.safe_load(config.read_text())["exporters"].get("opik")
    sidecar = yaml.safe_load(_SIDECAR.read_text())["exporters"]["opik"]
    names = ("endpoint", "api_key", "workspace", "project")
    assert opik is None or {name: opik.get(name) for name in names} == {name: sidecar[name] for name in names}


@pytest.mark.parametrize("config", _SHIPPED, ids=_name)
def test_all_mask_the_same(config: Path) -> None:
    """Every configuration looks for the secrets that the sidecar's looks for; ours needs no `transform`."""
    found = yaml.safe_load(config.read_text())["processors"]
    (mine,) = (found[name] for name in ("secrets", "redaction") if name in found)
    sidecar = yaml.safe_load(_SIDECAR.read_text())["processors"]["secrets"]
    assert {key: mine[key] for key in sidecar} == sidecar
    assert config.stem == "stock" or not any(name.startswith("transform") for name in found)


def broken_rules(config: dict[str, Any], *, is_sidecar: bool = False) -> list[str]:
    """What in a configuration would lose or expose spans although the Collector accepts it; one sentence each."""
    broken = [
        f"{name}: the batch processor acknowledges what it may lose" for name in _of_type(config, "processors", "batch")
    ]
    for name, exporter in config.get("exporters", {}).items():
        broken += [f"{name}: {fault}" for fault in _faults_of_exporter(exporter or {})]
    for name, server in _http_servers(config):
        if not {"read_header_timeout", "read_timeout", "write_timeout"} <= server.keys():
            broken.append(f"{name}: an HTTP server without time limits keeps slow clients for ever")
    if is_sidecar and "0.0.0.0" in str(config):
        broken.append("the sidecar listens beyond loopback")
    if not any(name.partition("/")[0] == "health_check" for name in config["service"].get("extensions", [])):
        broken.append("without a health check the probes of the image and of the platforms fail")
    for name in _of_type(config, "processors", "redaction"):
        if not config["processors"][name].get("redact_all_types"):
            broken.append(f"{name}: lists and maps, as messages may be, are not redacted")
    for name, pipeline in config["service"]["pipelines"].items():
        broken += [f"{name}: {fault}" for fault in _faults_of_pipeline(name, pipeline)]
    return broken


def _of_type(config: dict[str, Any], section: str, kind: str) -> list[str]:
    return [name for name in config.get(section, {}) if name.partition("/")[0] == kind]


def _http_servers(config: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    receivers = [config["receivers"][name] for name in _of_type(config, "receivers", "otlp")]
    return [("otlp http", receiver["protocols"]["http"]) for receiver in receivers if "http" in receiver["protocols"]]


def _faults_of_exporter(exporter: dict[str, Any]) -> list[str]:
    queue, retry = exporter.get("sending_queue", {}), exporter.get("retry_on_failure", {})
    faults = []
    if "storage" in queue and not (retry.get("enabled") and retry.get("max_elapsed_time") == 0):
        faults.append("a queue on disk needs retries without end, or it is emptied in an outage")
    if queue.get("enabled", bool(queue)) and queue.get("sizer") != "bytes":
        faults.append("a queue that is not measured in bytes has no bound")
    if 0 < queue.get("batch", {}).get("max_size", 0) < _MAX_REQUEST_BYTES:
        faults.append("a span larger than max_size would be dropped")
    return faults


def _faults_of_pipeline(name: str, pipeline: dict[str, Any]) -> list[str]:
    if not name.startswith("traces"):
        faults = []
        if "signal_to_metrics" in pipeline["receivers"] and "delta_to_cumulative" not in pipeline.get("processors", []):
            faults.append("sums of signal_to_metrics must go through delta_to_cumulative")
        return faults
    processors = pipeline.get("processors", [])
    faults = [] if processors[:1] == ["memory_limiter"] else ["memory_limiter must come first"]
    is_redacted = "secrets" in processors or {"redaction", "transform/secrets"} <= set(processors)
    if not is_redacted and name not in _WITHOUT_CONTENT_OF_USERS:
        faults.append("spans must be redacted, their names as well, before they are kept or sent")
    return faults


_GOOD: dict[str, Any] = {
    "receivers": {"otlp": {"protocols": {"grpc": {}}}},
    "processors": {"memory_limiter": {}, "transform/secrets": {}, "redaction": {"redact_all_types": True}},
    "exporters": {"opik": {}},
    "service": {
        "extensions": ["health_check"],
        "pipelines": {"traces": {"processors": ["memory_limiter", "transform/secrets", "redaction"]}},
    },
}
_HEALTHY = {"extensions": ["health_check"]}


def _traces(*processors: str) -> dict[str, Any]:
    return {"traces": {"processors": list(processors)}}


_STORED = {"storage": "file_storage", "sizer": "bytes"}
_FOR_EVER = {"enabled": True, "max_elapsed_time": 0}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"processors": {"batch": {}}}, "batch processor"),
        ({"exporters": {"opik": {"sending_queue": _STORED}}}, "retries without end"),
        ({"exporters": {"opik": {"sending_queue": {"queue_size": 5}}}}, "no bound"),
        (
            {
                "exporters": {
                    "opik": {"sending_queue": {**_STORED, "batch": {"max_size": 9}}, "retry_on_failure": _FOR_EVER}
                }
            },
            "max_size",
        ),
        ({"receivers": {"otlp": {"protocols": {"http": {}}}}}, "time limits"),
        ({"receivers": {"otlp": {"protocols": {"grpc": {"endpoint": "0.0.0.0:4317"}}}}}, "beyond loopback"),
        ({"service": {**_HEALTHY, "pipelines": _traces("transform/secrets", "redaction")}}, "come first"),
        ({"service": {**_HEALTHY, "pipelines": _traces("memory_limiter", "transform/secrets")}}, "redacted"),
        ({"service": {**_HEALTHY, "pipelines": _traces("memory_limiter", "redaction")}}, "names as well"),
        ({"service": {"pipelines": _traces("memory_limiter", "secrets")}}, "health check"),
        ({"processors": {"redaction": {"redact_all_types": False}}}, "lists and maps"),
        (
            {"service": {**_HEALTHY, "pipelines": {"metrics": {"receivers": ["signal_to_metrics"]}}}},
            "delta_to_cumulative",
        ),
    ],
)
def test_each_rule_can_be_broken(change: dict[str, Any], fault: str) -> None:
    """The lint finds each fault that it is there for, and none in a configuration without."""
    assert broken_rules(_GOOD, is_sidecar=True) == []
    (found,) = broken_rules({**_GOOD, **change}, is_sidecar=True)
    assert fault in found
