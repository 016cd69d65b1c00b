"""Small programs in processes of their own, and what they recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otel_llm.testing import FakeProvider

__all__ = ["Told", "run_program"]

_BEGIN = """
import json, os, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter


class Told(SpanExporter):
    def export(self, spans):
        for span in spans:
            print("SPAN", span.to_json(indent=None), flush=True)


base = os.environ["BASE"]
messages = [{"role": "user", "content": "x"}]
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(Told()))
from otel_llm.instrumentation.litellm import LitellmInstrumentor
LitellmInstrumentor().instrument(tracer_provider=provider)
"""


@dataclass(frozen=True)
class Told:
    """What a program recorded and said."""

    spans: list[dict[str, Any]]
    stdout: str
    stderr: str


def run_program(
    text: str, provider: FakeProvider, *, python: str = sys.executable, begin: str = _BEGIN, import_litellm: bool = True
) -> Told:
    """Run `text` after `begin` in a new process, with `base` as the provider's address; it must end well."""
    imports = "import litellm\nlitellm.suppress_debug_info = True" if import_litellm else ""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    done = subprocess.run(
        [python, "-c", f"{begin}\n{imports}\n{textwrap.dedent(text)}"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={
            **environment,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PYTHONPATH": os.getcwd(),
            "PYTHONWARNINGS": "ignore",
            "BASE": provider.openai_base,
        },
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    spans = [json.loads(line.removeprefix("SPAN ")) for line in lines if line.startswith("SPAN ")]
    return Told(spans, "\n".join(line for line in lines if not line.startswith("SPAN ")), done.stderr)
