"""`otel_llm.testing.capturing`: recording in memory, without pytest's help."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
import textwrap

import otel_llm.testing


def test_no_public_name_is_that_of_a_module() -> None:
    """Or it would mean the module as soon as anything has imported that, and the function no more."""
    modules = {found.name for found in pkgutil.iter_modules(otel_llm.testing.__path__)}
    assert modules & set(otel_llm.testing.__all__) == set()
    for name in modules:
        importlib.import_module(f"otel_llm.testing.{name}")
    assert callable(otel_llm.testing.capturing)


def test_spans_are_kept_and_nothing_runs_afterwards() -> None:
    """In a program that records nothing: what ends in the block is there after it, under the program's own name."""
    source = """
        import otel_llm, otel_llm.testing
        with otel_llm.testing.capturing() as captured:
            with otel_llm.tenant("acme"), otel_llm.span("work"):
                pass
        (span,) = captured.spans
        print(span.name, span.attributes["tenant.id"], span.resource.attributes["service.name"])
        print(otel_llm.status().running)
    """
    program = textwrap.dedent(source)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["work", "acme", "unknown_service", "False"]
