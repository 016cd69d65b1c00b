"""The shipped alerts over a real Prometheus: it scrapes a real program whose backend goes down and comes back."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pytest
import requests
import yaml

from tests.fakes.http_server import Reply, closed_port
from tests.fakes.otlp_receiver import OtlpReceiver
from tests.tools import tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "otel_llm.rules.yml"
DASHBOARD = DEPLOY / "grafana" / "otel_llm.json"

TAKES = Reply(200, {"Content-Type": "application/x-protobuf"})
PATIENCE = 40.0
"""Seconds in which an alert must fire or clear."""

PROGRAM = """
    import select, sys, time
    import otel_llm
    from opentelemetry import trace
    from otel_llm import semconv
    from otel_llm.control import running

    CALM = {semconv.REQUEST_MODEL: "m", semconv.USAGE_INPUT: 10, semconv.USAGE_OUTPUT: 5, semconv.COST: 0.001,
            semconv.USAGE_CACHE_READ: 4, semconv.USAGE_CACHE_WRITE: 2, semconv.USAGE_REASONING: 1,
            semconv.TIME_TO_FIRST_CHUNK: 0.3}
    TROUBLED = {semconv.REQUEST_MODEL: "m", semconv.USAGE_INPUT: 10, semconv.ERROR_TYPE: "RateLimitError",
                semconv.TIME_TO_FIRST_CHUNK: 20.0}
    DEAR = {semconv.REQUEST_MODEL: "big", semconv.COST: 3.0}

    print(otel_llm.configure(backend="otlp", health_port=0, batch_queue_size=256, batch_size=8).health_url, flush=True)
    tracer = trace.get_tracer("app")
    calls = [CALM]

    def call(attributes):
        with otel_llm.tenant("acme"):
            tracer.start_span("chat m", attributes={semconv.OPERATION_NAME: "chat", **attributes}).end()

    while True:
        for attributes in calls:
            call(attributes)
        if select.select([sys.stdin], [], [], 0.05)[0]:
            word = sys.stdin.readline().strip()
            if word == "trouble":
                calls = [CALM, TROUBLED, DEAR]
            elif word == "calm":
                calls = [CALM]
            elif word == "burst":
                with running.current_pipeline().channels[0].gate.at_rest(10):  # as while a disk stalls
                    for _ in range(20_000):
                        tracer.start_span("work").end()
            elif word == "flush":
                otel_llm.flush(1)
            else:
                break
"""


def needed(name: str) -> str:
    """The path of a program of Prometheus; without it the test is skipped, in CI it fails."""
    return tool(name, "prometheus (Debian: apt-get install prometheus)")


def test_prometheus_takes_the_rules() -> None:
    """`promtool check rules` finds no fault."""
    done = subprocess.run([needed("promtool"), "check", "rules", RULES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stdout


def test_the_rules_fire_and_clear_over_series_made_up() -> None:
    """`promtool test rules`: the shipped thresholds and durations, minute by minute."""
    cases = RULES.with_suffix(".test.yml")
    done = subprocess.run(
        [needed("promtool"), "test", "rules", cases.name], cwd=cases.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_and_is_explained() -> None:
    """Each alert is fired by the rule tests and stands in docs/health.md."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule]
    cases = yaml.safe_load(RULES.with_suffix(".test.yml").read_text())["tests"]
    fired = {test["alertname"] for case in cases for test in case["alert_rule_test"] if test["exp_alerts"]}
    guide = (DEPLOY.parent / "docs" / "health.md").read_text()
    assert set(alerts) == fired
    assert [alert for alert in alerts if alert not in guide] == []


def test_prometheus_takes_the_queries_of_every_panel(tmp_path: Path) -> None:
    """Each query of the dashboard, its variables filled in as Grafana does, is PromQL."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    variables = {"$job": ".*", "$__rate_interval": "1m", "$__range": "6h"}
    rules = []
    for panel in panels:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in variables.items():
                query = query.replace(name, value)
            rules.append({"record": f"panel:{panel['id']}:{target['refId']}", "expr": query})
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    command = [needed("promtool"), "check", "rules", str(tmp_path / "panels.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
    assert len(places) == len(set(places))


def test_rules_and_dashboard_ask_only_for_metrics_that_exist(program: Program) -> None:
    """Every metric that is named in a rule or a panel is on the page of a running program."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    queries = [rule["expr"] for group in groups for rule in group["rules"]]
    panels = json.loads(DASHBOARD.read_text())["panels"]
    queries += [target["expr"] for panel in panels for target in panel.get("targets", [])]
    asked = {name for query in queries for name in re.findall(r"\b(?:otel_llm|otel_sdk|gen_ai_client)_[a-z_]+", query)}
    # There only while something waits, once something of ours went wrong, and while a workspace is closed.
    now_and_then = {"otel_llm_oldest_waiting_timestamp_seconds", "otel_llm_fault_total", "otel_llm_workspace_closed"}
    expected = asked - now_and_then
    assert any(name.startswith("gen_ai_client_inference_") for name in expected)
    assert wait_for(lambda: expected <= set(re.findall(r"^\w+", program.metrics(), re.MULTILINE)))


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_alerts_fire_when_the_backend_goes_down_and_clear_when_it_is_back(
    program: Program, receiver: OtlpReceiver, tmp_path: Path
) -> None:
    """The alerts on delivery, losses, errors, cost, price and latency each fire for their cause and clear after it."""
    with Prometheus(tmp_path, program.url) as prometheus:
        assert prometheus.comes("up == 1"), "Prometheus never scraped the program"
        assert prometheus.comes('increase(otel_sdk_exporter_span_exported_total{error_type=""}[5s]) > 0')
        assert wait_for(lambda: prometheus.firing() == set()), prometheus.firing()

        receiver.always(Reply(503))
        away = {"OtelLlmNoDelivery", "OtelLlmBackendFailing", "OtelLlmQueueGrowing", "OtelLlmOldestWaiting"}
        assert prometheus.fires(away), prometheus.firing()
        receiver.always(TAKES)
        program.say("flush")
        assert prometheus.clears(away), prometheus.firing()

        program.say("burst")
        assert prometheus.fires({"OtelLlmSpansDropped"}), prometheus.firing()
        receiver.always(Reply(400, {}, b"bad span"))
        assert prometheus.fires({"OtelLlmSpansRejected"}), prometheus.firing()
        receiver.always(TAKES)
        assert prometheus.clears({"OtelLlmSpansDropped", "OtelLlmSpansRejected"}), prometheus.firing()

        program.say("trouble")
        calls = {"OtelLlmErrorRate", "OtelLlmTenantCost", "OtelLlmUnknownPrice", "OtelLlmSlowFirstChunk"}
        assert prometheus.fires(calls), prometheus.firing()
        program.say("calm")
        assert prometheus.clears(calls), prometheus.firing()


# --- the program ------------------------------------------------------------------------------------------------


class Program:
    """A program that records calls and answers health checks, in a process of its own."""

    def __init__(self, script: Path, environment: dict[str, str]) -> None:
        script.write_text(textwrap.dedent(PROGRAM))
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **environment},
        )
        self.url = _stream(self.process.stdout).readline().strip()

    def say(self, word: str) -> None:
        """Give the program a word of command."""
        stdin = _stream(self.process.stdin)
        stdin.write(f"{word}\n")
        stdin.flush()

    def metrics(self) -> str:
        """Its page for Prometheus."""
        return requests.get(f"{self.url}/metrics", timeout=10).text

    def end(self) -> None:
        """Let it end by itself; kill it if it does not."""
        try:
            self.process.communicate("end\n", timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    """The backend."""
    with OtlpReceiver() as server:
        yield server


@pytest.fixture
def program(receiver: OtlpReceiver, tmp_path: Path) -> Iterator[Program]:
    """A program that records about twenty calls a second."""
    running = Program(
        tmp_path / "service.py",
        {"OTEL_LLM_OTLP_ENDPOINT": receiver.url, "OTEL_LLM_STATE_DIR": str(tmp_path / "state")},
    )
    running.say("trouble")  # so that every metric is there once
    assert wait_for(lambda: "first_chunk_seconds_bucket" in running.metrics() and 'model="big"' in running.metrics())
    running.say("calm")
    try:
        yield running
    finally:
        running.end()


# --- Prometheus ---------------------------------------------------------------------------------------------------


class Prometheus:
    """A Prometheus server over the shipped rules, with its minutes turned into seconds and smaller thresholds."""

    def __init__(self, directory: Path, target: str) -> None:
        self._directory = directory
        self._url = f"http://127.0.0.1:{closed_port()}"
        rules = RULES.read_text()
        rules = re.sub(r"for: \d+m", "for: 1s", rules)
        rules = re.sub(r"(\[|offset )(?:\d+m|1h)\b", r"\g<1>5s", rules)
        rules = rules.replace("> 1000  # ADJUST", "> 10").replace("> 600  # ADJUST", "> 2")
        (directory / "rules.yml").write_text(rules)
        config = {
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [{"job_name": "app", "static_configs": [{"targets": [target.removeprefix("http://")]}]}],
        }
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config))

    def __enter__(self) -> Self:
        self._log = (self._directory / "prometheus.log").open("w")
        self._process = subprocess.Popen(
            [
                needed("prometheus"),
                f"--config.file={self._directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={self._directory / 'tsdb'}",
                f"--web.listen-address={self._url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=self._log,
        )
        assert wait_for(self._ready), (self._directory / "prometheus.log").read_text()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()

    def firing(self) -> set[str]:
        """Names of the alerts that fire now."""
        alerts = self._get("/api/v1/alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def fires(self, alerts: set[str]) -> bool:
        """Whether all of `alerts` come to fire together."""
        return wait_for(lambda: alerts <= self.firing())

    def clears(self, alerts: set[str]) -> bool:
        """Whether all of `alerts` come to rest."""
        return wait_for(lambda: not alerts & self.firing())

    def comes(self, query: str) -> bool:
        """Whether the query comes to have a result."""
        return wait_for(lambda: self._get("/api/v1/query", query=query)["result"])

    def _ready(self) -> bool:
        try:
            return requests.get(f"{self._url}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    def _get(self, path: str, **parameters: str) -> Any:
        answer = requests.get(self._url + path, params=parameters, timeout=10).json()
        assert answer["status"] == "success", answer
        return answer["data"]


def wait_for(condition: Callable[[], object]) -> bool:
    """Poll until `condition()` is true; False if it is not within our patience."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True
