"""What of the content stays on a span, by mode, tenant, operation and part."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import Event

from otel_llm import semconv
from otel_llm.config import load
from otel_llm.conformance.messages import problem_with
from otel_llm.processors.content_policy import ContentPolicy
from otel_llm.processors.draft import SpanDraft
from tests.fakes.spans import make_span

MESSAGES = [
    {"role": "system", "parts": [{"type": "text", "content": "canary system"}]},
    {
        "role": "user",
        "parts": [
            {"type": "text", "content": "canary"},
            {"type": "uri", "modality": "image", "uri": "https://canary"},
        ],
    },
    {"role": "assistant", "parts": [{"type": "tool_call", "name": "find", "arguments": {"q": "canary"}}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "response": "canary"}]},
]
OURS = {
    semconv.INPUT_MESSAGES: json.dumps(MESSAGES),
    semconv.SYSTEM_INSTRUCTIONS: json.dumps([{"type": "text", "content": "canary"}]),
    semconv.TOOL_DEFINITIONS: json.dumps([{"type": "function", "name": "find", "description": "canary"}]),
    semconv.RETRIEVAL_QUERY_TEXT: "canary",
}
FOREIGN = dict.fromkeys(
    [
        *("llm.input_messages.0.message.content", "llm.output_messages.0.message.content", "input.value"),
        *("output.value", "gen_ai.prompt.0.content", "gen_ai.completion.0.content", "traceloop.entity.input"),
        *("traceloop.entity.output", "ai.prompt.messages", "ai.response.text", "request_data", "tool_arguments"),
        *("pydantic_ai.all_messages", "langfuse.trace.input", semconv.TOOL_CALL_ARGUMENTS, semconv.TOOL_CALL_RESULT),
        *("gcp.vertex.agent.llm_request", "gcp.vertex.agent.llm_response", "gcp.vertex.agent.tool_response"),
        *("gcp.vertex.agent.tool_call_args", "gcp.vertex.agent.data", "gen_ai.content.reasoning"),
        *("gen_ai.content.revised_prompt", "gen_ai.workflow.input", "gen_ai.workflow.output", "gen_ai.tool.args"),
        *("gen_ai.response.tool_calls", "gen_ai.retrieval.query", "lk.chat_ctx", "lk.user_transcript"),
        *("lk.response.text", "lk.function_tool.arguments", "haystack.component.input"),
    ],
    "canary",
)
FACTS: dict[str, Any] = {semconv.TENANT_ID: "acme", semconv.OPERATION_NAME: "chat", semconv.USAGE_INPUT: 3}
EVENTS = (
    Event("gen_ai.user.message", {"content": "canary", "role": "user"}, 5),
    Event("other", {semconv.OUTPUT_MESSAGES: "canary", "n": 1}, 6),
)


def after(**settings: Any) -> SpanDraft:
    """A span full of content, after the policy of these settings."""
    draft = SpanDraft(make_span(attributes={**OURS, **FOREIGN, **FACTS}, events=EVENTS))
    return ContentPolicy.of(load(settings, environ={}))(draft)


def test_off_leaves_nothing_of_anybodys_content() -> None:
    """By default no message, argument or answer is on the span, under no name of any instrumentation; facts stay."""
    draft = after()
    assert draft.attributes == FACTS
    assert [(event.name, dict(event.attributes or {}), event.timestamp) for event in draft.events] == [
        ("gen_ai.user.message", {"role": "user"}, 5),
        ("other", {"n": 1}, 6),
    ]


def test_on_leaves_everything() -> None:
    """With content on, the span is as it was."""
    draft = after(content="on")
    assert draft.attributes == {**OURS, **FOREIGN, **FACTS}
    assert draft.events == EVENTS


def test_metadata_leaves_roles_names_and_lengths() -> None:
    """No word that anybody said is left, and one sees who said how much."""
    draft = after(content="metadata")
    assert "canary" not in repr((draft.attributes, [event.attributes for event in draft.events]))
    assert json.loads(draft.attributes[semconv.INPUT_MESSAGES]) == [
        {"role": "system", "parts": [{"type": "text", "length": 13, "content": "<13 characters>"}]},
        {
            "role": "user",
            "parts": [
                {"type": "text", "length": 6, "content": "<6 characters>"},
                {"type": "uri", "modality": "image", "uri": "<14 characters>"},
            ],
        },
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "find", "length": 15}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "length": 6, "response": "<6 characters>"}]},
    ]
    (instruction,) = json.loads(draft.attributes[semconv.SYSTEM_INSTRUCTIONS])
    assert instruction == {"type": "text", "length": 6, "content": "<6 characters>"}
    (tool,) = json.loads(draft.attributes[semconv.TOOL_DEFINITIONS])
    assert (tool["name"], set(tool)) == ("find", {"type", "name", "length"})
    assert draft.attributes["input.value"] == "<6 characters>"


EVERY_PART = [
    {"type": "text", "content": "canary"},
    {"type": "reasoning", "content": "canary"},
    {"type": "blob", "modality": "image", "content": "", "byte_count": 9, "base64_sha256": "canary"},
    {"type": "uri", "modality": "video", "uri": "https://x/canary"},
    {"type": "file", "modality": "document", "file_id": "canary"},
    {"type": "tool_call", "name": "find", "id": "1", "arguments": {"word": "canary"}},
    {"type": "tool_call_response", "id": "1", "response": {"word": "canary"}},
    {"type": "server_tool_call", "name": "search", "server_tool_call": {"type": "search", "query": "canary"}},
    {"type": "server_tool_call_response", "server_tool_call_response": {"type": "search", "found": "canary"}},
    {"type": "compaction", "content": "canary"},
    {"type": "of_the_future", "said": "canary"},
]
SCHEMATIC = {
    semconv.INPUT_MESSAGES: [{"role": "user", "parts": EVERY_PART}],
    semconv.OUTPUT_MESSAGES: [{"role": "assistant", "parts": EVERY_PART, "finish_reason": "stop"}],
    semconv.SYSTEM_INSTRUCTIONS: EVERY_PART,
    semconv.TOOL_DEFINITIONS: [{"type": "function", "name": "find", "description": "canary", "parameters": {}}],
    semconv.RETRIEVAL_DOCUMENTS: [{"id": "canary", "score": 0.5}, {"content": "canary"}],
    semconv.TOOL_CALL_ARGUMENTS: {"word": "canary"},
    semconv.TOOL_CALL_RESULT: {"word": "canary"},
}


@pytest.mark.parametrize("attribute", SCHEMATIC)
def test_metadata_fits_the_schemas_that_content_fits(attribute: str) -> None:
    """Lengths stand where words stood, so that whoever reads by the conventions' schemas can read on."""
    value = json.dumps(SCHEMATIC[attribute])
    assert problem_with(attribute, value) is None
    policy = ContentPolicy.of(load({"content": "metadata"}, environ={}))
    kept = policy(SpanDraft(make_span(attributes={attribute: value}))).attributes[attribute]
    assert problem_with(attribute, kept) is None, kept
    assert "canary" not in kept
    assert "length" in kept


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"content_tenants": {"acme": "on"}}, True),
        ({"content_tenants": {"other": "on"}}, False),
        ({"content": "on", "content_tenants": {"acme": "off"}}, False),
        ({"content_operations": {"chat": "on"}}, True),
        ({"content_tenants": {"acme": "on"}, "content_operations": {"chat": "off"}}, False),
        ({"content": "on", "content_operations": {"embeddings": "off"}}, True),
    ],
)
def test_tenants_and_operations_override_and_the_stricter_wins(settings: dict[str, Any], kept: bool) -> None:
    """What is said of the span's own tenant or operation beats the default; of both, the stricter."""
    assert (semconv.INPUT_MESSAGES in after(**settings).attributes) is kept


@pytest.mark.parametrize(
    ("setting", "roles", "types"),
    [
        ("content_system", ["user", "assistant", "tool"], ["text", "uri", "tool_call", "tool_call_response"]),
        ("content_tools", ["system", "user", "assistant"], ["text", "text", "uri"]),
        (
            "content_images",
            ["system", "user", "assistant", "tool"],
            ["text", "text", "tool_call", "tool_call_response"],
        ),
    ],
)
def test_parts_are_held_back_apart(setting: str, roles: list[str], types: list[str]) -> None:
    """One kind of part goes and the others stay; where parts cannot be told apart, everything goes."""
    draft = after(content="on", **{setting: "off"})
    messages = json.loads(draft.attributes[semconv.INPUT_MESSAGES])
    assert [message["role"] for message in messages] == roles
    assert [part["type"] for message in messages for part in message["parts"]] == types
    assert "input.value" not in draft.attributes
    assert (semconv.SYSTEM_INSTRUCTIONS in draft.attributes) is (setting != "content_system")
    assert (semconv.TOOL_DEFINITIONS in draft.attributes) is (setting != "content_tools")


def test_messages_that_cannot_be_read_are_left_out() -> None:
    """Half a JSON text may hold anything, so metadata of it is nothing."""
    policy = ContentPolicy.of(load({"content": "metadata"}, environ={}))
    draft = policy(SpanDraft(make_span(attributes={semconv.INPUT_MESSAGES: '[{"role": "canary'})))
    assert draft.attributes == {}
