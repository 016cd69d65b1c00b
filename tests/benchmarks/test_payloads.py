"""What arrived is read in every wire form, and a call counts only when all its texts are there word for word."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import conversation
from benchmarks.payloads import Arrivals

PROTOBUF = "application/x-protobuf"


def conventions(number: int, size: int = 2000) -> dict[str, str]:
    """The texts as the GenAI conventions have them (ours, OpenLLMetry, OpenLIT, Logfire)."""
    asked = [
        {"role": message["role"], "parts": [{"type": "text", "content": message["content"]}]}
        for message in conversation.messages(number, size)
    ]
    reply = {"role": "assistant", "parts": [{"type": "text", "content": conversation.answer(number, size)}]}
    return {"gen_ai.input.messages": json.dumps(asked), "gen_ai.output.messages": json.dumps([reply])}


def openinference(number: int) -> dict[str, str]:
    """The texts in attributes of their own, and once more as JSON."""
    attributes = {
        f"llm.input_messages.{place}.message.content": message["content"]
        for place, message in enumerate(conversation.messages(number))
    }
    attributes["input.value"] = json.dumps({"messages": conversation.messages(number)})
    attributes["llm.output_messages.0.message.content"] = conversation.answer(number)
    return attributes


def langfuse(number: int) -> dict[str, str]:
    """Input and output as JSON, the input with the call's other arguments."""
    asked = json.dumps({"args": [], "kwargs": {"messages": conversation.messages(number)}})
    reply = json.dumps({"choices": [{"message": {"content": conversation.answer(number)}}]})
    return {"langfuse.observation.input": asked, "langfuse.observation.output": reply}


def otlp(*spans: dict[str, str], trace: int = 1) -> bytes:
    """A request with these spans' attributes."""
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for place, attributes in enumerate(spans):
        span = scope.spans.add(trace_id=trace.to_bytes(16, "big"), span_id=(place + 1).to_bytes(8, "big"), name="chat")
        for key, value in attributes.items():
            span.attributes.add(key=key).value.string_value = value
    return request.SerializeToString()


def opik_row(number: int, **more: Any) -> dict[str, Any]:
    """A row as Opik's SDK and our backend write it."""
    output = {"choices": [{"message": {"content": conversation.answer(number)}}]}
    return {"id": f"row {number}", "input": {"messages": conversation.messages(number)}, "output": output, **more}


@pytest.mark.parametrize("form", [conventions, openinference, langfuse])
def test_spans_over_otlp_are_whole_in_every_peers_form(form: Any) -> None:
    """Attributes of the conventions, of OpenInference and of Langfuse carry the same texts."""
    arrivals = Arrivals()
    arrivals.take("/api/public/otel/v1/traces", "", PROTOBUF, otlp(form(7), form(8)))
    assert list(arrivals.whole) == [7, 8]
    assert arrivals.counts()["spans"] == 2
    assert arrivals.counts()["raw"] == arrivals.counts()["wire"] > 4000


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_bodies_count_before_and_after(encoding: str, pack: Any) -> None:
    """`raw` is what a peer wrote, `wire` what it sent."""
    arrivals = Arrivals()
    arrivals.take("/v1/traces", encoding, PROTOBUF, pack(otlp(conventions(7))))
    assert list(arrivals.whole) == [7]
    assert arrivals.raw > 2 * arrivals.wire


def test_otlp_as_json_is_read() -> None:
    """JSON with hexadecimal ids, as OTLP has it."""
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in conventions(7).items()]
    span = {"traceId": "AB" * 16, "spanId": "cd" * 8, "attributes": attributes}
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}
    arrivals = Arrivals()
    arrivals.take("/v1/traces", "", "application/json", json.dumps(document).encode())
    assert list(arrivals.whole) == [7]
    assert arrivals.spans == {"ab" * 16 + "cd" * 8}


def test_content_in_log_records_counts() -> None:
    """OpenLIT sends events with the content beside its spans."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    for key, value in conventions(7).items():
        record.attributes.add(key=key).value.string_value = value
    arrivals = Arrivals()
    arrivals.take("/v1/logs", "", PROTOBUF, request.SerializeToString())
    assert list(arrivals.whole) == [7]
    assert arrivals.counts()["received"] == {"log": 1}
    assert not arrivals.spans


def test_rows_of_opik_are_read_batch_by_batch_and_one_by_one() -> None:
    """Batches of traces and spans, a single row, and a correction; a trace's row is no span."""
    arrivals = Arrivals()
    batch = gzip.compress(json.dumps({"spans": [opik_row(1), opik_row(2)]}).encode())
    arrivals.take("/api/v1/private/spans/batch", "gzip", "application/json", batch)
    traces = json.dumps({"traces": [opik_row(3)]}).encode()
    arrivals.take("/api/v1/private/traces/batch", "", "application/json", traces)
    arrivals.take("/api/v1/private/spans", "", "application/json", json.dumps(opik_row(4)).encode())
    later = {name: value for name, value in opik_row(5).items() if name != "id"}
    arrivals.take("/api/v1/private/spans/row%205", "", "application/json", json.dumps(later).encode())
    assert list(arrivals.whole) == [1, 2, 3, 4, 5]
    assert arrivals.counts()["received"] == {"span": 4, "trace": 1}
    assert arrivals.counts()["spans"] == 4


def test_question_and_answer_may_lie_in_two_spans() -> None:
    """The callbacks of litellm make two spans of a call; together they are whole."""
    asked, answered = conventions(7)["gen_ai.input.messages"], conventions(7)["gen_ai.output.messages"]
    arrivals = Arrivals()
    arrivals.take("/v1/traces", "", PROTOBUF, otlp({"a": asked}), at=1.0)
    assert not arrivals.whole
    arrivals.take("/v1/traces", "", PROTOBUF, otlp({"b": answered}, trace=2), at=2.0)
    assert arrivals.whole == {7: 2.0}


def test_what_comes_twice_counts_once_and_at_its_first_time() -> None:
    """A resend changes neither the calls nor the spans, only what was received."""
    arrivals = Arrivals()
    for at in (5.0, 6.0):
        arrivals.take("/v1/traces", "", PROTOBUF, otlp(conventions(7)), at=at)
    assert arrivals.whole == {7: 5.0}
    assert (arrivals.counts()["spans"], arrivals.counts()["received"]) == (1, {"span": 2})


def cut(text: str) -> str:
    """Without a piece in the middle, marks and all else as they were."""
    return text.replace(conversation.question_text(7)[400:500], "")


def altered(text: str) -> str:
    """With other words in the middle, as many."""
    middle = conversation.question_text(7)[400:500]
    return text.replace(middle, middle.upper())


def shortened(text: str) -> str:
    """Ending before the mark at the end."""
    return text[: text.rindex(">q")] + '"}]}]'


def without_system(text: str) -> str:
    """Without the system prompt."""
    return text.replace(conversation.system_text(), "")


@pytest.mark.parametrize("spoil", [cut, altered, shortened, without_system])
def test_a_call_that_is_not_as_it_was_is_not_whole(spoil: Any) -> None:
    """Cut in the middle, cut at the end, changed, without its system prompt: none of these counts."""
    good = conventions(7)
    spoilt = {**good, "gen_ai.input.messages": spoil(good["gen_ai.input.messages"])}
    assert spoilt != good
    arrivals = Arrivals()
    arrivals.take("/v1/traces", "", PROTOBUF, otlp(spoilt))
    assert not arrivals.whole
    assert arrivals.counts()["answers"] == 1


def test_escaped_brackets_are_the_same_text() -> None:
    """Some JSON writers escape `<` and `>`."""
    escaped = json.dumps({"spans": [opik_row(7)]}).replace("<", "\\u003c").replace(">", "\\u003e").encode()
    arrivals = Arrivals()
    arrivals.take("/api/v1/private/spans/batch", "", "application/json", escaped)
    assert list(arrivals.whole) == [7]


def test_the_length_of_the_content_is_the_scenes() -> None:
    """Texts of 64 kB are not those of 2 kB."""
    body = otlp(conventions(7, 64_000))
    arrivals, small = Arrivals(64_000), Arrivals()
    for each in (arrivals, small):
        each.take("/v1/traces", "", PROTOBUF, body)
    assert list(arrivals.whole) == [7]
    assert not small.whole


def test_what_cannot_be_read_is_counted() -> None:
    """A body that is no OTLP, and metrics, which hold no content, break nothing."""
    arrivals = Arrivals()
    arrivals.take("/v1/traces", "", PROTOBUF, b"\xff\xff\xff")
    arrivals.take("/v1/traces", "gzip", PROTOBUF, b"no gzip")
    arrivals.take("/v1/metrics", "", PROTOBUF, b"\xff")
    assert arrivals.counts()["unreadable"] == 2
    assert arrivals.counts()["paths"] == {"/v1/traces": 2, "/v1/metrics": 1}


@pytest.mark.parametrize("size", [2_000, 64_000, 1_000_000])
def test_a_conversation_has_the_size_it_says(size: int) -> None:
    """System prompt, question and answer together are as long as asked for, and differ from call to call."""
    whole = sum(len(message["content"]) for message in conversation.messages(3, size))
    whole += len(conversation.answer(3, size))
    assert abs(whole - size) <= 2
    assert conversation.question(3, size) != conversation.question(4, size)
