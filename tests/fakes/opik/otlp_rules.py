"""Which span attribute Opik 2.1.24 reads as what: its rule tables (opik.md section 2.4) as data.

The first rule that matches wins; families stand in the server's own order. An attribute that no rule knows lies in the
span's `input` afterwards, which is why these tables matter to a sender. Left out: the rules for spans named
`claude_code.*` and for the Elastic Inference Service, which we never send.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Outcome", "Rule", "rule_for"]


class Outcome(Enum):
    """Where an attribute's value goes."""

    INPUT = "input"
    OUTPUT = "output"
    METADATA = "metadata"
    MODEL = "model"
    PROVIDER = "provider"
    USAGE = "usage"
    COST = "cost"
    THREAD = "thread_id"
    TAGS = "tags"
    DROP = "drop"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a rule table."""

    key: str
    outcome: Outcome
    is_prefix: bool = False
    span_type: str | None = None
    """The type that the span gets because it carries such an attribute."""


UNKNOWN = Rule("", Outcome.INPUT, is_prefix=True)


def rule_for(attribute: str) -> Rule:
    """The first rule that matches the attribute's name."""
    for rule in _RULES:
        if attribute == rule.key or (rule.is_prefix and attribute.startswith(rule.key)):
            return rule
    return UNKNOWN


def _table(outcome: Outcome, keys: str, span_type: str | None = None) -> Iterator[Rule]:
    """Rules of one outcome from a list of names; a trailing `*` makes a prefix."""
    for key in keys.split():
        yield Rule(key.rstrip("*"), outcome, key.endswith("*"), span_type)


_LOGFIRE = (
    *_table(Outcome.METADATA, "agent_name model_name"),
    *_table(Outcome.INPUT, "all_messages params tools tool_arguments"),
    *_table(Outcome.INPUT, "prompt", "llm"),
    *_table(Outcome.OUTPUT, "response result tool_responses tool_response final_result"),
    *_table(Outcome.USAGE, "usage", "llm"),
    *_table(Outcome.DROP, "logfire.span_type logfire.metrics"),
)
_GENAI = (
    *_table(Outcome.INPUT, "gen_ai.prompt"),
    *_table(Outcome.OUTPUT, "gen_ai.completion"),
    *_table(
        Outcome.MODEL,
        "gen_ai.request_model gen_ai.response_model gen_ai.request.model gen_ai.response.model",
        "llm",
    ),
    *_table(Outcome.METADATA, "gen_ai.request.temperature gen_ai.response.id", "llm"),
    *_table(Outcome.METADATA, "gen_ai.response.finish_reasons"),
    *_table(Outcome.PROVIDER, "gen_ai.system", "llm"),
    *_table(Outcome.COST, "gen_ai.usage.cost", "llm"),
    *_table(Outcome.USAGE, "gen_ai.usage.*", "llm"),
    *_table(Outcome.INPUT, "gen_ai.input.*", "llm"),
    *_table(Outcome.OUTPUT, "gen_ai.output.*", "llm"),
    *_table(Outcome.INPUT, "gen_ai.system_instructions", "llm"),
    *_table(Outcome.METADATA, "gen_ai.cost.*", "llm"),
    *_table(Outcome.INPUT, "gen_ai.tool.call.arguments"),
    *_table(Outcome.OUTPUT, "gen_ai.tool.call.result"),
    *_table(
        Outcome.METADATA,
        "gen_ai.tool.* gen_ai.agent.* gen_ai.token.type gen_ai.framework gen_ai.operation.name",
    ),
    *_table(Outcome.INPUT, "gen_ai.request.*"),
    *_table(Outcome.OUTPUT, "gen_ai.response*"),
    *_table(Outcome.THREAD, "gen_ai.conversation.id"),
)
_OPENINFERENCE = (
    *_table(Outcome.MODEL, "llm.model_name", "llm"),
    *_table(Outcome.USAGE, "llm.token_count.*", "llm"),
)
_LIVEKIT = (
    *_table(Outcome.INPUT, "lk.input_text lk.chat_ctx lk.function_tools lk.user_input lk.user_transcript"),
    *_table(Outcome.OUTPUT, "lk.response.text lk.response.function_calls"),
    *_table(Outcome.METADATA, "lk.function_tool.name lk.function_tool.is_error", "tool"),
    *_table(Outcome.INPUT, "lk.function_tool.arguments", "tool"),
    *_table(Outcome.OUTPUT, "lk.function_tool.output", "tool"),
    *_table(
        Outcome.METADATA,
        "livekit.session.id lk.agent_label lk.speech_id lk.interrupted lk.retry_count lk.llm_metrics lk.tts_metrics "
        "lk.tts.streaming lk.tts.label lk.transcript_confidence lk.transcription_delay lk.end_of_turn_delay "
        "lk.eou.probability lk.eou.unlikely_threshold lk.eou.endpointing_delay lk.eou.language",
    ),
)
_PYDANTIC = (
    *_table(Outcome.METADATA, "logfire.msg"),
    *_table(Outcome.DROP, "logfire.msg_template logfire.json_schema logfire.level_num"),
    *_table(Outcome.METADATA, "code.*"),
)
_LITELLM = _table(Outcome.METADATA, "llm.is_streaming llm.user hidden_params llm.request.* llm.response.* metadata.*")
_GENERAL = (
    *_table(Outcome.INPUT, "input*"),
    *_table(Outcome.METADATA, "server.address"),
    *_table(Outcome.OUTPUT, "output*"),
    *_table(Outcome.THREAD, "thread_id"),
    *_table(Outcome.TAGS, "opik.tags"),
    *_table(Outcome.METADATA, "opik.metadata*"),
    *_table(Outcome.DROP, "opik.trace_id opik.parent_span_id opik.span_id"),
)
_OTHERS = (
    *_table(Outcome.METADATA, "smolagents.*"),
    *_table(Outcome.METADATA, "langfuse.observation.completion_start_time", "llm"),
)
_RULES = (*_LOGFIRE, *_GENAI, *_OPENINFERENCE, *_LIVEKIT, *_PYDANTIC, *_LITELLM, *_GENERAL, *_OTHERS)
