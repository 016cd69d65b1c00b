"""What the store makes of the attributes of a span."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from otel_llm import semconv
from otel_llm.store.money import decimal_text, nano_usd, usd
from otel_llm.store.rows import rows_of
from tests.unit.store.building import call, request_of, span, used


def row_for(attributes: dict[str, Any]) -> dict[str, Any]:
    """The one row that a span with `attributes` becomes."""
    rows = rows_of(request_of(span(attributes)))
    assert len(rows.spans) == 1
    return rows.spans[0]


@pytest.mark.parametrize(
    ("older", "column"),
    [
        ("gen_ai.usage.prompt_tokens", "input_tokens"),
        ("gen_ai.usage.completion_tokens", "output_tokens"),
        ("gen_ai.usage.cache_read_input_tokens", "cache_read_tokens"),
        ("gen_ai.usage.cache_creation_input_tokens", "cache_write_tokens"),
        ("gen_ai.usage.cache_creation.input_tokens", "cache_write_tokens"),
        ("gen_ai.usage.reasoning_tokens", "reasoning_tokens"),
    ],
)
def test_older_names_fill_the_columns_of_today(older: str, column: str) -> None:
    """Token counts of all three generations of the conventions land in the same column."""
    assert row_for({older: 17})[column] == 17


def test_todays_name_wins_over_an_older_one() -> None:
    """A span that carries both spellings is read by today's."""
    assert row_for({"gen_ai.usage.prompt_tokens": 1, semconv.USAGE_INPUT: 2})["input_tokens"] == 2
    assert row_for({"gen_ai.system": "old", semconv.PROVIDER_NAME: "new"})["provider"] == "new"
    assert row_for({"gen_ai.system": "old"})["provider"] == "old"


def test_a_logical_call_is_told_from_an_attempt_and_from_other_work() -> None:
    """Only a model operation that is not an attempt counts as a call."""
    chat = {semconv.OPERATION_NAME: semconv.OP_CHAT}
    assert (row_for(chat)["is_llm"], row_for(chat)["is_call"]) == (1, 1)
    attempt = row_for({**chat, semconv.ATTEMPT: 2})
    assert (attempt["is_llm"], attempt["is_call"], attempt["attempt"]) == (1, 0, 2)
    tool = row_for({semconv.OPERATION_NAME: semconv.OP_EXECUTE_TOOL})
    assert (tool["is_llm"], tool["is_call"]) == (0, 0)


def test_a_span_without_a_tenant_is_filed_under_unknown() -> None:
    """No tenant and an empty tenant both become the agreed word."""
    assert row_for({})["tenant"] == semconv.UNKNOWN_TENANT
    assert row_for({semconv.TENANT_ID: ""})["tenant"] == semconv.UNKNOWN_TENANT


@pytest.mark.parametrize("value", [-1, 1.5, float("nan"), float("inf"), "12", True, 2**62])
def test_what_is_no_count_of_tokens_is_not_stored_as_one(value: Any) -> None:
    """Damaged token counts leave the column empty and stay readable in the attributes."""
    row = row_for({semconv.USAGE_INPUT: value})
    assert row["input_tokens"] is None
    assert semconv.USAGE_INPUT in json.loads(row["attributes"])


def test_a_whole_number_sent_as_a_double_is_a_count() -> None:
    """Some instrumentations know only doubles."""
    assert row_for({semconv.USAGE_OUTPUT: 12.0})["output_tokens"] == 12


def test_every_type_of_value_survives_as_valid_json() -> None:
    """NaN, infinity, bytes, lists, NUL and any script come out of strict JSON again."""
    given = {
        "nan": float("nan"),
        "inf": float("-inf"),
        "raw": b"\x00\xff",
        "list": ["a", 1, True],
        "text": "\x00 ü 雪 🙂",
    }
    row = row_for(given)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    read = json.loads(row["attributes"], parse_constant=refuse)
    assert read == {"nan": "nan", "inf": "-inf", "raw": "AP8=", "list": ["a", 1, True], "text": "\x00 ü 雪 🙂"}


def test_times_beyond_sqlites_integers_are_cut_to_them() -> None:
    """An absurd clock does not make a batch unstorable, and no span lasts less than nothing."""
    made = call()
    made.start_time_unix_nano, made.end_time_unix_nano = 2**64 - 1, 5
    row = rows_of(request_of(made)).spans[0]
    assert row["start_ns"] == 2**63 - 1
    assert row["duration_ns"] == 0


@pytest.mark.parametrize(("trace_id", "span_id"), [(b"", b"12345678"), (b"\0" * 16, b"12345678"), (b"1" * 16, b"123")])
def test_a_span_without_proper_ids_is_rejected_alone(trace_id: bytes, span_id: bytes) -> None:
    """Spans without usable ids are named as rejected; their neighbours are kept."""
    rows = rows_of(request_of(call(), call(trace_id=trace_id, span_id=span_id)))
    assert len(rows.spans) == 1
    assert [(rejection.span_id, rejection.reason) for rejection in rows.rejected] == [(span_id.hex(), "invalid")]


def test_a_conversation_id_serves_as_session_where_there_is_none() -> None:
    """`session.id` wins; the conventions' conversation id stands in for it."""
    assert row_for({semconv.CONVERSATION_ID: "c"})["session"] == "c"
    assert row_for({semconv.CONVERSATION_ID: "c", semconv.SESSION_ID: "s"})["session"] == "s"


def test_a_failed_span_keeps_its_type_status_and_message() -> None:
    """Error type, HTTP status and the status message become columns."""
    row = rows_of(request_of(call(error="RateLimitError", attributes={semconv.HTTP_STATUS_CODE: 429}))).spans[0]
    assert (row["is_error"], row["status"], row["error_type"], row["http_status"]) == (
        1,
        "error",
        "RateLimitError",
        429,
    )
    assert row["status_message"] == "it failed: RateLimitError"


@pytest.mark.parametrize(
    ("amount", "nano"),
    [(0.1, 100_000_000), (0, 0), (3, 3_000_000_000), (1.5e-8, 15), (2.5e-9, 2), (3.5e-9, 4), (0.1 + 0.2, 300_000_000)],
)
def test_money_becomes_the_nearest_whole_nano_usd(amount: float, nano: int) -> None:
    """The decimal that a double prints as is rounded half to even at 1e-9 USD."""
    assert nano_usd(amount) == nano


@pytest.mark.parametrize("amount", [None, "1", True, -0.01, float("nan"), float("inf"), 1e300])
def test_what_is_no_amount_of_money_is_unknown(amount: Any) -> None:
    """Damage is unknown, not zero."""
    assert nano_usd(amount) is None


def test_exact_usd_prints_all_its_digits_and_no_others() -> None:
    """No exponent, no trailing zeros, nothing rounded."""
    assert decimal_text(usd(15)) == "0.000000015"
    assert decimal_text(usd(12_000_000_000)) == "12"
    assert decimal_text(usd(123_456_789_012_345_678)) == "123456789.012345678"
    assert decimal_text(Decimal(0)) == "0"


def test_cost_that_is_absent_is_not_zero() -> None:
    """An unknown cost leaves the column NULL; a free call stores 0."""
    assert row_for(used(1, 1, None))["cost_nano_usd"] is None
    assert row_for(used(1, 1, 0.0))["cost_nano_usd"] == 0
