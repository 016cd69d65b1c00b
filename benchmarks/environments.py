"""A virtual environment for each peer, with what they have in common pinned in `constraints.txt`.

Made with `venv` and pip, once, below the work directory; made again when what it should hold has changed. The code of
this project comes from the checkout that the benchmark lies in, whatever checkout the environment was made from.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent
CONSTRAINTS = HERE / "constraints.txt"

_OTLP = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "opentelemetry-exporter-otlp-proto-grpc")
ENVIRONMENTS: dict[str, tuple[str, ...]] = {
    "otel_llm": ("litellm", "-e", f"{REPOSITORY}[litellm,httpx,aiohttp,grpc]"),
    "stock": ("litellm", *_OTLP),
    "openinference": ("litellm", "openinference-instrumentation-litellm", *_OTLP),
    "openllmetry": ("litellm", "traceloop-sdk"),
    "openlit": ("litellm", "openlit"),
    "logfire": ("litellm", "logfire[litellm]"),
    "langfuse": ("litellm", "langfuse"),
    "opik": ("litellm", "opik"),
}
"""What each is asked for; everything that is not pinned is what pip resolves."""

_HOMES = {
    "bare": "stock",
    "litellm_otel": "stock",
    "sdk_alone": "stock",
    "stock_alone": "stock",
    "stock": "stock",
    "stock_http": "stock",
    "stock_http_gzip": "stock",
    "stock_grpc": "stock",
    "langfuse_callback": "langfuse",
    "langfuse_sdk": "langfuse",
    "opik_callback": "opik",
    "opik_track": "opik",
    "opik_span": "opik",
    "opik_trace_span": "opik",
}
_SHOWN = (
    "litellm",
    "openai",
    "opentelemetry-sdk",
    "openinference-instrumentation-litellm",
    "traceloop-sdk",
    "openlit",
    "logfire",
    "langfuse",
    "opik",
    "grpcio",
    "protobuf",
)


def home_of(peer: str) -> str:
    """The environment that a peer, or a way for raw spans, runs in; ours unless it is somebody else's."""
    return _HOMES.get(peer, peer if peer in ENVIRONMENTS else "otel_llm")


def make_environment(work: Path, name: str) -> Path:
    """The Python of environment `name`, made if it is not there as it should be."""
    home = work / "venvs" / name
    home.parent.mkdir(parents=True, exist_ok=True)
    with (home.parent / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # runs share environments: one makes them, the others wait
        done, wanted = home / ".made-of", _fingerprint(name)
        if not done.exists() or done.read_text() != wanted:
            _make(home, name)
            done.write_text(wanted)
    return home / "bin" / "python"


def _make(home: Path, name: str) -> None:
    print(f"making the environment {name}", file=sys.stderr, flush=True)
    (home / ".made-of").unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
    pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "-U", "pip"], check=True)  # older ones give up on OpenTelemetry's interlocking pre-releases
    subprocess.run([*pip, "-c", str(CONSTRAINTS), *ENVIRONMENTS[name]], check=True)
    # Byte code, so that no start pays for compiling.
    compile_all = [str(home / "bin" / "python"), "-m", "compileall", "-q", str(home / "lib")]
    subprocess.run(compile_all, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def compile_ours() -> None:
    """Byte code of this checkout, for the same reason."""
    for package in ("otel_llm", "benchmarks"):
        compileall.compile_dir(REPOSITORY / package, quiet=2)


def versions(work: Path, name: str) -> dict[str, str]:
    """The versions in environment `name` that matter for the figures."""
    site = next((work / "venvs" / name / "lib").glob("python*/site-packages"), None)
    if site is None:
        return {}
    found = {each.metadata["Name"].lower(): each.version for each in distributions(path=[os.fspath(site)])}
    return {package: found[package] for package in _SHOWN if package in found}


def _fingerprint(name: str) -> str:
    """Changes with what is asked for, with what is pinned, and with this Python; not with the place of the checkout."""
    asked = [entry.replace(str(REPOSITORY), "") for entry in ENVIRONMENTS[name]]
    pins = [line for line in CONSTRAINTS.read_text().splitlines() if line and not line.startswith("#")]
    text = "\n".join([*asked, *pins, sys.version])
    return hashlib.sha256(text.encode()).hexdigest()
