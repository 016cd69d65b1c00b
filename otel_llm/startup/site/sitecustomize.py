"""Imported by every Python that `otel-llm run` starts; hands on to the `sitecustomize` it stands before, if any."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _next_sitecustomize() -> None:
    """Run the program's own `sitecustomize`, which Python would have found without us."""
    elsewhere = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _start() -> None:
    """Begin to wait for litellm; an interpreter without otel_llm is left alone, the program's own with a word."""
    try:
        from otel_llm.startup.bootstrap import start_when_needed  # noqa: PLC0415  (may be absent here)
    except ImportError:
        if os.environ.get("_OTEL_LLM_RUN_PID") == str(os.getpid()):
            sys.stderr.write(
                f"otel_llm: nothing is recorded: {sys.executable} has no otel_llm. Install it in the program's own "
                "environment, or run the program with the Python that otel-llm is installed in.\n"
            )
        return
    start_when_needed()


_start()
_next_sitecustomize()
