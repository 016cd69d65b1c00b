"""Other vendors in the same program, before us and after: they get what they get without us, and we get LLM work.

Every vendor is the package from PyPI, set up as its documentation says, with its own exporter sending to a server on
loopback. Each case is a process of its own that serves one request with calls and one without, and ends by itself.
"""

from __future__ import annotations

import subprocess
import textwrap
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.interop import interop_table
from tests.interop.cases import AFTER_US, BEFORE_US, MODEL, ORDERS, REFUSED, VENDORS
from tests.interop.compared import compared
from tests.interop.sinks import otlp_records

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.conftest import Bench

pytestmark = pytest.mark.slow

CALLED, FAILED = f"chat {MODEL}", f"chat {REFUSED}"
CALLS = Counter({CALLED: 2, FAILED: 1})
"""A call and one that is refused inside of `answer`, and an async call beside it."""
REQUESTS = Counter({"POST": CALLS.total()})

every_vendor = pytest.mark.parametrize("vendor", VENDORS)
both_orders = pytest.mark.parametrize("order", ORDERS)


@both_orders
@every_vendor
def test_a_vendor_gets_what_it_gets_without_us(
    vendor: str, order: str, bench: Bench, record_property: pytest.RecordProperty
) -> None:
    """Its own spans are the same with us as without: names, parents, attributes; none is missing, none is added."""
    facts, alone, both = VENDORS[vendor], bench.alone(vendor, order), bench.run(vendor, order)
    found = compared(alone.theirs, both.theirs)
    version = bench.versions[facts.distribution]
    interop_table.tell(record_property, facts, version, order, found, both.names)
    assert alone.theirs, "the vendor does not even work without us here"
    assert found.missing == []
    assert found.added == []
    assert bool(found.ours) is facts.joined


@both_orders
@every_vendor
def test_our_backends_get_llm_work_and_its_ancestors(vendor: str, order: str, bench: Bench) -> None:
    """Every call with its HTTP request, and what led to it, each below the right one; of the other spans none."""
    facts, both = VENDORS[vendor], bench.run(vendor, order)
    assert both.names == CALLS + REQUESTS + Counter(facts.ancestors) + Counter(facts.others)
    names = {record.id: record.name for record in both.ours}
    assert [record.name for record in both.ours if record.above and record.above not in names] == []
    answer, request = (name if name in facts.ancestors else "" for name in ("answer", "request"))
    below = Counter((record.name, names.get(record.above, "")) for record in both.ours if record.name in CALLS)
    assert below == Counter([(CALLED, answer), (FAILED, answer), (CALLED, request)])
    assert {record.facts["tenant.id"] for record in both.ours} == {"acme"}


@both_orders
@every_vendor
def test_both_sides_are_in_one_trace(vendor: str, order: str, bench: Bench) -> None:
    """The calls of a request are one trace, and where the vendor speaks OpenTelemetry it is the request's."""
    facts, both = VENDORS[vendor], bench.run(vendor, order)
    too_late = facts.comes_first and order == AFTER_US
    ours = {record.trace for record in both.ours if record.name in CALLS}
    theirs = {record.trace for record in both.theirs if record.name == "request"}
    assert len(ours) == (2 if too_late else facts.traces)
    assert bool(ours & theirs) is (facts.same_trace and not too_late)


@both_orders
@every_vendor
def test_the_program_notices_nothing(vendor: str, order: str, bench: Bench) -> None:
    """It prints what it prints without us, but for our one line; its own requests carry the same headers."""
    alone, both = bench.alone(vendor, order), bench.run(vendor, order)
    assert both.out == alone.out
    assert both.headers == alone.headers
    assert both.calls == alone.calls == CALLS.total()
    added = set(both.err.splitlines()) - set(alone.err.splitlines())
    assert [line for line in added if not line.startswith("otel_llm 0.")] == []


def test_logfire_configured_again_is_joined_again(bench: Bench) -> None:
    """`logfire.configure()` makes a new provider each time; a second one after us loses nothing of ours."""
    both = bench.run("Logfire", BEFORE_US, again=True)
    assert both.names == CALLS + REQUESTS + Counter(VENDORS["Logfire"].ancestors)


ZERO_CODE = """
    import sys
    from opentelemetry import trace
    import litellm

    from tests.interop.vendors import TOOLS, Program
    from tests.interop.cases import Case

    Program(Case(sys.argv[1], "alone", *sys.argv[2:])).run()
"""


@pytest.mark.parametrize("vendor", ["Azure Monitor"])
def test_a_program_that_is_merely_run_by_us(vendor: str, bench: Bench, tmp_path: Path) -> None:
    """Under `otel-llm run` we are there since `import litellm`: the provider that the program sets later takes over."""
    (tmp_path / "app.py").write_text(textwrap.dedent(ZERO_CODE))
    before = len(bench.receiver.requests), len(bench.sink.requests)
    environment = {
        **bench.environment,
        "OTEL_LLM_BACKEND": "otlp",
        "OTEL_LLM_OTLP_ENDPOINT": bench.receiver.url,
        "OTEL_LLM_STATE_DIR": str(tmp_path / "state"),
    }
    arguments = [vendor, bench.provider.openai_base, bench.sink.url, "", str(tmp_path)]
    done = subprocess.run(
        [bench.python, "-m", "otel_llm", "run", "python", str(tmp_path / "app.py"), *arguments],
        env=environment, capture_output=True, text=True, timeout=110, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ours = [record.name for request in bench.receiver.requests[before[0] :] for record in otlp_records(request)]
    assert Counter(ours) == CALLS + REQUESTS + Counter(VENDORS[vendor].ancestors)
    theirs = bench.sink.records(VENDORS[vendor].sink, since=before[1])
    found = compared(bench.alone(vendor, AFTER_US).theirs, theirs)
    assert (found.missing, found.added) == ([], [])
