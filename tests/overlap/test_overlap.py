"""One call, one count: every other instrumentation beside ours, alone and in pairs, each really installed.

Per case a sync and an async call are made over HTTP in each of three ways: plain, streamed, failed. Our backends must
hold one LLM span per call and the right totals; the other tools must have what they have without us.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.overlap.conftest import USAGE
from tests.overlap.outcomes import MODELS, PER_MODE, Case
from tests.overlap.tools import TOOLS

if TYPE_CHECKING:
    from tests.overlap.conftest import Elsewhere

pytestmark = pytest.mark.slow

HTTP_SCOPES = {"opentelemetry.instrumentation.httpx", "opentelemetry.instrumentation.aiohttp_client"}
CALLS = PER_MODE * len(MODELS)
ANSWERED = 2 * PER_MODE
NANO_USD = {"gpt-4o-mini": 12 * 150 + 3 * 600, "gpt-4.1": 12 * 2000 + 3 * 8000}
"""OpenAI's price list of 2025: 0.15 / 0.60 and 2.00 / 8.00 USD per million tokens."""
PAIRS = list(itertools.combinations(TOOLS, 2))


def _counted_once(answer: dict[str, Any], *tools: str) -> None:
    """Our backends hold one LLM span per call, its HTTP request below it, and nothing else that counts."""
    spans = answer["spans"]
    ours = [span for span in spans if span["scope"] == "otel_llm"]
    models = Counter(span["attributes"]["gen_ai.request.model"] for span in ours)
    assert models == {model.rpartition("/")[2]: PER_MODE for model in MODELS.values()}
    others = [span for span in spans if span not in ours]
    assert {span["scope"] for span in others} <= HTTP_SCOPES
    if not any(TOOLS[tool].silences_http for tool in tools):
        posted = [span for span in others if span["name"] == "POST"]  # litellm GETs Langfuse's health when it begins
        assert sorted(span["parent"] for span in posted) == sorted(span["id"] for span in ours)
    counting = [span for span in spans if any("usage" in key or "token" in key for key in span["attributes"])]
    assert len(counting) == ANSWERED
    assert all(span in ours for span in counting)


def _totals_are_right(answer: dict[str, Any]) -> None:
    """`otel-llm usage` has each call once, by what the provider said and the price list."""
    totals = answer["usage"]["totals"]
    assert (totals["calls"], totals["errors"]) == (CALLS, PER_MODE)
    assert (totals["input_tokens"], totals["output_tokens"]) == (
        ANSWERED * USAGE.input_tokens,
        ANSWERED * USAGE.output_tokens,
    )
    assert totals["cost_nano_usd"] == PER_MODE * sum(NANO_USD.values())
    for row in answer["usage"]["rows"]:
        assert row["calls"] == PER_MODE
        price = NANO_USD.get(row["model"])
        assert row["cost_nano_usd"] == (None if price is None else PER_MODE * price)  # a failed call has no known cost


def test_nothing_else_is_active(elsewhere: Elsewhere) -> None:
    """The matrix' own ground: without any other tool each call is there once."""
    answer = elsewhere.run(Case(()))
    _counted_once(answer)
    _totals_are_right(answer)


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
@pytest.mark.parametrize("layout", ["shared", "separate"])
@pytest.mark.parametrize("tool", TOOLS)
def test_one_tool(tool: str, layout: str, ours_first: bool, elsewhere: Elsewhere) -> None:
    """Beside one other tool each call counts once with us, and the tool gets exactly what it gets without us."""
    case = Case((tool,), layout=layout, ours_first=ours_first)
    answer = elsewhere.run(case)
    _counted_once(answer, tool)
    _totals_are_right(answer)
    alone = elsewhere.run(Case((tool,), ours=False))["theirs"][tool]
    assert _enough(alone, tool, elsewhere), "the tool does not even work without us here"
    got = answer["theirs"][tool]
    if TOOLS[tool].silent_inside_ours:
        assert got == {}
    elif TOOLS[tool].in_the_call:
        assert got == alone
    else:
        assert _enough(got, tool, elsewhere)


@pytest.mark.parametrize("pair", PAIRS, ids=" + ".join)
def test_two_tools(pair: tuple[str, str], elsewhere: Elsewhere) -> None:
    """Beside two other tools each call counts once with us, and both tools get their records."""
    clash = frozenset(pair) in CLASHES
    patience = 3.0 if clash else 60.0
    answer = elsewhere.run(Case(pair, ours_first=PAIRS.index(pair) % 2 == 0, patience=patience))
    _counted_once(answer, *pair)
    _totals_are_right(answer)
    without = elsewhere.run(Case(pair, ours=False, patience=patience))["theirs"] if clash else {}
    for tool in pair:
        if clash:
            assert _enough(answer["theirs"][tool], tool, elsewhere) == _enough(without[tool], tool, elsewhere)
        elif not TOOLS[tool].silent_inside_ours:
            assert _enough(answer["theirs"][tool], tool, elsewhere)


@pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "theirs first"])
def test_all_tools_at_once(ours_first: bool, elsewhere: Elsewhere) -> None:
    """With everything installed and active at the same time, each call still counts once with us, at its price."""
    answer = elsewhere.run(Case(tuple(TOOLS), ours_first=ours_first, patience=3.0))
    _counted_once(answer, *TOOLS)
    _totals_are_right(answer)


CLASHES = {
    frozenset({"openinference-openai", "logfire-openai"}),
    frozenset({"openllmetry-litellm", "openllmetry-openai"}),
}
"""Pairs of which one leaves nothing to the other, with or without us."""


def _enough(got: dict[str, int], tool: str, elsewhere: Elsewhere) -> bool:
    expected = TOOLS[tool].expects(creates=elsewhere.creates)
    return all(got.get(mode, 0) >= count for mode, count in expected.items())


def test_the_doctor_names_the_overlap(elsewhere: Elsewhere, tmp_path: Any) -> None:
    """`otel-llm doctor` names every installed tool that records the same calls."""
    environment = {**elsewhere.environment, "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(
        [elsewhere.python, "-m", "otel_llm", "doctor", "--json"],
        env=environment, capture_output=True, text=True, timeout=110, check=False, cwd=tmp_path,
    )  # fmt: skip
    said = json.dumps(json.loads(done.stdout))
    assert [tool.distribution for tool in TOOLS.values() if tool.distribution and tool.distribution not in said] == []
