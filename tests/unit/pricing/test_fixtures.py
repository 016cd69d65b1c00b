"""Every cost fixture through a real call: the same total in the span, in the local store and in Opik's row."""

from __future__ import annotations

import importlib.util
import sqlite3
from contextlib import nullcontext
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import litellm
import pytest
from litellm.caching.caching import Cache
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel_llm import semconv
from otel_llm.backends.local import LocalBackend
from otel_llm.backends.opik.mapping import map_request
from otel_llm.backends.opik.routing import Routing
from otel_llm.context import tenant
from otel_llm.contracts import Delivered
from otel_llm.delivery.codec import encode
from otel_llm.pricing import Billed, Rates, cost_of
from tests.unit.instrumentation.recorded import Spans, attributes, until
from tests.unit.pricing.cases import CASES, DIRECT, LITELLM, LOST, WIRE, computed, run, script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from opentelemetry.sdk.trace import ReadableSpan

    from otel_llm.testing import FakeProvider

EXACT = Decimal("1e-9")


def close(found: object, expected: Decimal) -> bool:
    """Whether an amount of money agrees to 1e-9 USD."""
    return isinstance(found, (int, float)) and abs(Decimal(repr(found)) - expected) <= EXACT


def store_row(span: ReadableSpan, path: Path) -> tuple[Any, ...]:
    """(nano-USD, status, saved nano-USD) of a span as the local store keeps it."""
    backend = LocalBackend(path / "store.db", min_free_bytes=0)
    try:
        assert isinstance(backend.send(encode([span])[0], timeout=10), Delivered)
    finally:
        backend.close()
    with sqlite3.connect(path / "store.db") as connection:
        row = connection.execute("SELECT cost_nano_usd, cost_status, saved_nano_usd FROM spans").fetchone()
    connection.close()
    return tuple(row)


def opik_cost(span: ReadableSpan) -> object:
    """`total_estimated_cost` of a span's row in Opik; None where the row has none."""
    request = ExportTraceServiceRequest.FromString(encode([span])[0].payload)
    return map_request(request, Routing(project="p")).spans[0].body.get("total_estimated_cost")


@pytest.fixture
def call(
    provider: FakeProvider, spans: Spans, agree: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> Callable[[dict[str, Any]], ReadableSpan]:
    """Makes a case's call and answers its span; a case about the response cache calls twice."""

    def made(case: dict[str, Any]) -> ReadableSpan:
        script(provider, case)
        agree(case.get("prices"), case.get("aliases"), case.get("environment"))
        cached = case["status"] == "cache_hit"
        if cached:
            monkeypatch.setattr(litellm, "cache", Cache(type="local"))
            if importlib.util.find_spec("fastapi") is None:
                # From 1.105 on a hit asks this, which imports litellm's proxy; of a plain answer it says False.
                function = "litellm.caching.caching_handler._should_defer_streaming_cache_hit_callbacks"
                monkeypatch.setattr(function, lambda **_: False, raising=False)
        with tenant(case["tenant"]) if "tenant" in case else nullcontext():
            run(provider, case)
            if cached:
                spans.clear()
                run(provider, case)
        until(lambda: spans.llm)
        return spans.only

    return made


class AsARouterLeavesIt(dict[str, Any]):
    """A price table whose rows have every name that any row has, most of them for None."""

    def __init__(self, table: dict[str, Any]) -> None:
        super().__init__(table)
        self._names = dict.fromkeys(name for row in table.values() for name in row if "cost" in name or name in _LOOSE)

    def __getitem__(self, model: str) -> Any:
        return {**self._names, **super().__getitem__(model)}

    def get(self, model: str, otherwise: Any = None) -> Any:
        row = super().get(model)
        return otherwise if row is None else {**self._names, **row}


_LOOSE: Final = {"off_peak_pricing", "tiered_pricing", "regional_endpoint_uplift_multiplier"}


def test_there_are_enough_cases() -> None:
    """At least forty cases go through a real call; each names its rule and a date, and has its file's name."""
    assert len(WIRE) >= 40
    assert all(
        case["rule"] and case["date"] and case["source"] and case["case"] == name for name, case in CASES.items()
    )
    assert all(CASES[name]["not_over_the_wire"] for name in DIRECT)


@pytest.mark.parametrize("name", CASES)
def test_the_arithmetic_is_shown(name: str) -> None:
    """A case's total (for a cache hit: what was saved) is what the arithmetic that it shows comes to."""
    case = CASES[name]
    total = case.get("saved_usd") or case["usd"]
    assert total is None or computed(case["arithmetic"]) == Decimal(total)


@pytest.mark.parametrize("routed", [False, True], ids=["plain", "after-a-router"])
@pytest.mark.parametrize("name", WIRE)
def test_the_cost_of_a_call(
    name: str,
    routed: bool,
    call: Callable[[dict[str, Any]], ReadableSpan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Span, store and Opik's row agree with the hand-made total to 1e-9 USD, and all say how it is known.

    They do too where a Router has been made for the model, which fills litellm's row of it up with names for None.
    """
    if name in LOST and LITELLM < (1, 85):
        pytest.skip(f"litellm before 1.85 {LOST[name]}")
    case = CASES[name]
    if routed:
        monkeypatch.setattr(litellm, "model_cost", AsARouterLeavesIt(litellm.model_cost))
    span = call(case)
    facts = attributes(span)
    nano, status, saved = store_row(span, tmp_path)
    assert facts[semconv.COST_STATUS] == status == case["status"]
    if case["usd"] is None:
        assert (facts.get(semconv.COST), nano, opik_cost(span)) == (None, None, None)
        return
    expected = Decimal(case["usd"])
    assert close(facts[semconv.COST], expected), (facts[semconv.COST], expected)
    assert close(nano / 1e9, expected), (nano, expected)
    assert close(opik_cost(span), expected), (opik_cost(span), expected)
    if "saved_usd" in case:
        assert close(facts[semconv.COST_SAVED], Decimal(case["saved_usd"]))
        assert close(saved / 1e9, Decimal(case["saved_usd"]))


@pytest.mark.parametrize("name", DIRECT)
def test_the_cost_of_quantities(name: str) -> None:
    """What cannot come over the wire is priced by the calculation itself, from the table's row."""
    case = CASES[name]
    billed = Billed(**case["quantities"])
    row = litellm.model_cost[case["model"]]
    assert cost_of(billed, Rates(row, tokens=billed.input, tier=case["tier"])) == Decimal(case["usd"])
