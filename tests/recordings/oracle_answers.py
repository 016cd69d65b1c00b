"""One reader per API: the JSON values of an answer (one, or one per event of a stream) -> what they say."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.recordings.facts import Answer, Message, ToolCall, Usage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["READERS"]

Json = dict[str, Any]

_FINISH_REASONS = {
    # OpenAI and those who answer like it
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    # Anthropic, Bedrock
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_use": "tool_call",
    "guardrail_intervened": "content_filter",
    # Gemini and Vertex; a number is the protobuf enum's
    "STOP": "stop",
    1: "stop",
    "MAX_TOKENS": "length",
    2: "length",
    # Cohere, Titan
    "COMPLETE": "stop",
    "TOOL_CALL": "tool_call",
    "FINISH": "stop",
}
"""The provider's word -> the conventions' (stop, length, content_filter, tool_call). Only what the recordings hold."""


def _parsed(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def _whole(count: float | None) -> int | None:
    return None if count is None else int(count)


@dataclass
class _Draft:
    """A message being put together from the pieces of a stream."""

    text: str = ""
    reasoning: str = ""
    calls: dict[Any, list[str]] = field(default_factory=dict)
    """Key of the call -> [id, name, arguments]."""
    finish_reason: Any = None

    def call(self, key: Any, call_id: str | None, name: str | None, arguments: str) -> None:
        """Add a piece of a tool call."""
        pieces = self.calls.setdefault(key, ["", "", ""])
        for index, piece in enumerate((call_id, name, arguments)):
            pieces[index] += piece or ""

    def message(self) -> Message:
        """The message as far as it came."""
        calls = tuple(ToolCall(name, _parsed(text or "{}"), made or None) for made, name, text in self.calls.values())
        return Message("assistant", self.text, self.reasoning, calls)


def _answer(model: str | None, answer_id: str | None, drafts: Iterable[_Draft], usage: Usage) -> Answer:
    drafts = list(drafts)
    reasons = tuple(_FINISH_REASONS[draft.finish_reason] for draft in drafts if draft.finish_reason is not None)
    return Answer(model or None, answer_id or None, reasons, usage, tuple(draft.message() for draft in drafts))


def _first(events: list[Json], key: str) -> Any:
    return next((event[key] for event in events if event.get(key)), None)


def _last(events: list[Json], key: str) -> Any:
    return next((event[key] for event in reversed(events) if event.get(key)), None)


# --- OpenAI -------------------------------------------------------------------------------------------------


def _openai_usage(raw: Json | None) -> Usage:
    if raw is None:
        return Usage()
    inputs, outputs = raw.get("prompt_tokens_details") or {}, raw.get("completion_tokens_details") or {}
    return Usage(
        input=raw.get("prompt_tokens"),
        output=raw.get("completion_tokens"),
        cache_read=inputs.get("cached_tokens"),
        reasoning=outputs.get("reasoning_tokens"),
        audio_input=inputs.get("audio_tokens"),
        audio_output=outputs.get("audio_tokens"),
    )


def _chat(events: list[Json]) -> Answer:
    drafts: dict[int, _Draft] = {}
    for event in events:
        for choice in event["choices"]:
            draft = drafts.setdefault(choice["index"], _Draft())
            _chat_piece(draft, choice.get("message") or choice.get("delta") or {})
            draft.finish_reason = choice.get("finish_reason") or draft.finish_reason
    ordered = [drafts[index] for index in sorted(drafts)]
    return _answer(_first(events, "model"), _first(events, "id"), ordered, _openai_usage(_last(events, "usage")))


def _chat_piece(draft: _Draft, piece: Json) -> None:
    draft.text += piece.get("content") or ""
    draft.reasoning += piece.get("reasoning") or piece.get("reasoning_content") or ""
    for position, call in enumerate(piece.get("tool_calls") or []):
        made = call["function"]
        draft.call(call.get("index", position), call.get("id"), made.get("name"), made.get("arguments") or "")
    if piece.get("function_call"):
        draft.call("function_call", None, piece["function_call"]["name"], piece["function_call"]["arguments"])


def _text(events: list[Json]) -> Answer:
    drafts: dict[int, _Draft] = {}
    for choice in (choice for event in events for choice in event["choices"]):
        draft = drafts.setdefault(choice.get("index", 0), _Draft())
        draft.text += choice.get("text", "")
        draft.finish_reason = choice.get("finish_reason") or draft.finish_reason
    usage = _openai_usage(_last(events, "usage"))
    return _answer(_first(events, "model"), _first(events, "id"), drafts.values(), usage)


def _responses(events: list[Json]) -> Answer:
    whole = events[-1].get("response", events[-1])
    draft = _Draft()
    for item in whole["output"]:
        _responses_item(draft, item)
    # The API has no finish reason: a completed answer with calls in it waits for their results.
    reasons = {"completed": "tool_calls" if draft.calls else "stop"}
    draft.finish_reason = reasons[whole["status"]]
    usage = whole["usage"]
    inputs, outputs = usage["input_tokens_details"], usage["output_tokens_details"]
    kinds = Usage(
        input=usage["input_tokens"],
        output=usage["output_tokens"],
        cache_read=inputs.get("cached_tokens"),
        cache_write=inputs.get("cache_write_tokens"),
        reasoning=outputs.get("reasoning_tokens"),
    )
    return _answer(whole["model"], whole["id"], [draft], kinds)


def _responses_item(draft: _Draft, item: Json) -> None:
    if item["type"] == "message":
        draft.text += "".join(part.get("text") or part.get("refusal") or "" for part in item["content"])
    elif item["type"] == "reasoning":
        draft.reasoning += "".join(part["text"] for part in item["summary"])
    elif item["type"] == "function_call":
        draft.call(item["call_id"], item["call_id"], item["name"], item["arguments"])


def _embeddings(events: list[Json]) -> Answer:
    usage = events[0]["usage"]
    return Answer(events[0]["model"], events[0].get("id"), usage=Usage(input=usage["prompt_tokens"]))


# --- Anthropic ----------------------------------------------------------------------------------------------


def _anthropic_usage(raw: Json) -> Usage:
    read, written = raw.get("cache_read_input_tokens"), raw.get("cache_creation_input_tokens")
    # Anthropic counts input without what was read from or written to the cache.
    return Usage(
        input=raw["input_tokens"] + (read or 0) + (written or 0),
        output=raw["output_tokens"],
        cache_read=read,
        cache_write=written,
    )


def _anthropic(events: list[Json]) -> Answer:
    if len(events) == 1:
        return _anthropic_whole(events[0])
    start = events[0]["message"]
    draft, usage = _Draft(), dict(start["usage"])
    for event in events[1:]:
        if event["type"] == "content_block_start" and event["content_block"]["type"] == "tool_use":
            draft.call(event["index"], event["content_block"]["id"], event["content_block"]["name"], "")
        elif event["type"] == "content_block_delta":
            _anthropic_delta(draft, event["index"], event["delta"])
        elif event["type"] == "message_delta":
            draft.finish_reason = event["delta"]["stop_reason"]
            usage.update(event["usage"])
    return _answer(start["model"], start["id"], [draft], _anthropic_usage(usage))


def _anthropic_delta(draft: _Draft, index: int, delta: Json) -> None:
    draft.text += delta.get("text", "")
    draft.reasoning += delta.get("thinking", "")
    if "partial_json" in delta:
        draft.call(index, None, None, delta["partial_json"])


def _anthropic_whole(body: Json) -> Answer:
    draft = _Draft(finish_reason=body["stop_reason"])
    for block in body["content"]:
        draft.text += block.get("text", "")
        draft.reasoning += block.get("thinking", "")
        if block["type"] == "tool_use":
            draft.call(block["id"], block["id"], block["name"], json.dumps(block["input"]))
    return _answer(body["model"], body["id"], [draft], _anthropic_usage(body["usage"]))


# --- Gemini and Vertex --------------------------------------------------------------------------------------


def _gemini(events: list[Json]) -> Answer:
    draft = _Draft()
    for event in events:
        for candidate in event.get("candidates", []):
            for part in candidate["content"].get("parts", []):
                _gemini_part(draft, part)
            draft.finish_reason = candidate.get("finishReason") or draft.finish_reason
    usage = _last(events, "usageMetadata")
    return _answer(_first(events, "modelVersion"), _first(events, "responseId"), [draft], _gemini_usage(usage))


def _gemini_part(draft: _Draft, part: Json) -> None:
    if part.get("thought"):
        draft.reasoning += part["text"]
    elif "text" in part:
        draft.text += part["text"]
    elif "functionCall" in part:
        call = part["functionCall"]
        draft.call(len(draft.calls), None, call["name"], json.dumps(call["args"]))


def _gemini_usage(raw: Json) -> Usage:
    def total(*names: str) -> int | None:
        said = [raw[name] for name in names if name in raw]
        return sum(said) if said else None

    # What tools fed back is input too; thoughts are output. `totalTokenCount` is the sum of all four.
    return Usage(
        input=total("promptTokenCount", "toolUsePromptTokenCount"),
        output=total("candidatesTokenCount", "thoughtsTokenCount"),
        cache_read=raw.get("cachedContentTokenCount"),
        reasoning=raw.get("thoughtsTokenCount"),
    )


def _gemini_embeddings(events: list[Json]) -> Answer:
    assert "usageMetadata" not in events[0], "Gemini began to count embeddings: read it"
    return Answer()


# --- Bedrock ------------------------------------------------------------------------------------------------


def _converse_usage(raw: Json) -> Usage:
    read, written = raw.get("cacheReadInputTokens"), raw.get("cacheWriteInputTokens")
    if read is None:
        read, written = raw.get("cacheReadInputTokenCount"), raw.get("cacheWriteInputTokenCount")
    return Usage(
        input=raw["inputTokens"] + (read or 0) + (written or 0),
        output=raw["outputTokens"],
        cache_read=read,
        cache_write=written,
    )


def _converse(events: list[Json]) -> Answer:
    if len(events) == 1:
        return _converse_whole(events[0])
    draft, usage = _Draft(), Usage()
    for event in events:
        ((kind, payload),) = ((kind, event[kind]) for kind in event if not kind.startswith("amazon-"))
        if kind == "contentBlockStart" and "toolUse" in payload.get("start", {}):
            start = payload["start"]["toolUse"]
            draft.call(payload["contentBlockIndex"], start["toolUseId"], start["name"], "")
        elif kind == "contentBlockDelta":
            draft.text += payload["delta"].get("text", "")
            if "toolUse" in payload["delta"]:
                draft.call(payload["contentBlockIndex"], None, None, payload["delta"]["toolUse"]["input"])
        elif kind == "messageStop":
            draft.finish_reason = payload["stopReason"]
        elif kind == "metadata":
            usage = _converse_usage(payload["usage"])
    return _answer(None, None, [draft], usage)


def _converse_whole(body: Json) -> Answer:
    draft = _Draft(finish_reason=body["stopReason"])
    for block in body["output"]["message"]["content"]:
        draft.text += block.get("text", "")
        if "toolUse" in block:
            use = block["toolUse"]
            draft.call(use["toolUseId"], use["toolUseId"], use["name"], json.dumps(use["input"]))
    return _answer(None, None, [draft], _converse_usage(body["usage"]))


def _invoke(events: list[Json]) -> Answer:
    body = events[0]
    if body.get("type") in {"message", "message_start"}:
        return _anthropic(events)
    if "output" in body or "messageStart" in body:
        return _converse(events)
    return _invoke_prompt(body)


def _invoke_prompt(body: Json) -> Answer:
    """Models that take a bare prompt: Titan, Llama, Claude 2, imported ones that answer like OpenAI."""
    if "results" in body:
        result = body["results"][0]
        draft = _Draft(result["outputText"], finish_reason=result["completionReason"])
        usage = Usage(input=_whole(body["inputTextTokenCount"]), output=_whole(result["tokenCount"]))
    elif "generation" in body:
        draft = _Draft(body["generation"], finish_reason=body["stop_reason"])
        usage = Usage(input=body["prompt_token_count"], output=body["generation_token_count"])
    elif "completion" in body:
        draft, usage = _Draft(body["completion"], finish_reason=body["stop_reason"]), Usage()
    else:
        return _text([body])
    return _answer(None, None, [draft], usage)


# --- Cohere and Ollama --------------------------------------------------------------------------------------


def _cohere(events: list[Json]) -> Answer:
    body = events[0]
    assert len(events) == 1, "a stream of Cohere: litellm cannot take it"
    message = body["message"]
    draft = _Draft(finish_reason=body["finish_reason"])
    draft.text = "".join(part["text"] for part in message.get("content") or [])
    # The plan is what the model says to itself before it calls tools.
    draft.reasoning = message.get("tool_plan") or ""
    for call in message.get("tool_calls") or []:
        draft.call(call["id"], call["id"], call["function"]["name"], call["function"]["arguments"])
    # Billed and consumed are both said; the conventions want the billed.
    billed = body["usage"]["billed_units"]
    usage = Usage(input=billed["input_tokens"], output=billed["output_tokens"])
    return _answer(None, body["id"], [draft], usage)


def _rerank(events: list[Json]) -> Answer:
    return Answer(id=events[0]["id"])


def _ollama(events: list[Json]) -> Answer:
    draft, last = _Draft(), events[-1]
    for event in events:
        draft.text += event["message"]["content"] if "message" in event else event["response"]
    draft.finish_reason = last.get("done_reason")
    usage = Usage(input=last.get("prompt_eval_count"), output=last.get("eval_count"))
    return _answer(last["model"], None, [draft], usage)


READERS: dict[str, Callable[[list[Json]], Answer]] = {
    "chat": _chat,
    "text": _text,
    "responses": _responses,
    "embeddings": _embeddings,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "gemini-embeddings": _gemini_embeddings,
    "converse": _converse,
    "invoke": _invoke,
    "cohere": _cohere,
    "rerank": _rerank,
    "ollama": _ollama,
    "ollama-generate": _ollama,
}
"""API -> its reader."""
