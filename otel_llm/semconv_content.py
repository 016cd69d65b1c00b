"""Names under which other instrumentations record prompts and answers: what the content policy holds back.

Like `semconv.py`, whose second half this is, it is the one place where these names are spelt.
"""

from __future__ import annotations

from typing import Final

from otel_llm import semconv

FOREIGN_CONTENT: Final = frozenset(
    {
        semconv.GEN_A_PROMPT,
        semconv.GEN_A_COMPLETION,
        semconv.GEN_A_PROMPT_EVENT,
        semconv.GEN_A_COMPLETION_EVENT,
        semconv.PLAIN_INPUT,
        semconv.PLAIN_OUTPUT,
        semconv.LOGFIRE_REQUEST,
        semconv.LOGFIRE_RESPONSE,
        semconv.PYDANTIC_AI_MESSAGES,
        semconv.PYDANTIC_AI_RESULT,
        "all_messages_events",
        "events",
        semconv.OI_FUNCTION_CALL,
        semconv.OI_PARAMETERS,
        semconv.OI_EMBEDDING_PARAMETERS,
        "llm.request.functions",
        "model_request_parameters",
        "reranker.query",
        "traceloop.prompt.template",
        # Google ADK, which writes them unless ADK_CAPTURE_MESSAGE_CONTENT_IN_SPANS says no
        semconv.ADK_LLM_REQUEST,
        semconv.ADK_LLM_RESPONSE,
        "gcp.vertex.agent.data",
        # OpenLIT, beside the conventions' names
        "gen_ai.agent.actual_output",
        "gen_ai.agent.context",
        "gen_ai.agent.expected_output",
        "gen_ai.agent.finish.output",
        "gen_ai.agent.human_input",
        "gen_ai.agent.instructions",
        "gen_ai.browser.task.description",
        "gen_ai.extraction.instruction",
        "gen_ai.request.speech.prompt",
        "gen_ai.response.speech.diarized_transcript",
        "gen_ai.retrieval.query",
        "gen_ai.workflow.input",
        "gen_ai.workflow.output",
        # LiveKit
        "lk.chat_ctx",
        "lk.input_text",
        "lk.instructions",
        "lk.user_input",
        "lk.user_transcript",
    }
)
"""Attributes of other instrumentations that hold prompts or answers, wholly or among other things."""
FOREIGN_CONTENT_PREFIXES: Final = (
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "ai.prompt",
    "ai.response.object",
    "ai.response.reasoning",
    "ai.response.text",
    "ai.response.toolCalls",
    "ai.value",
    "embedding.embeddings",
    "embedding.text",
    "gen_ai.content.",
    "gen_ai.framework.pipeline.input_data",
    "gen_ai.framework.pipeline.output_data",
    "haystack.component.input",
    "haystack.component.output",
    "haystack.pipeline.input_data",
    "haystack.pipeline.output_data",
    "input.value",
    "langfuse.observation.input",
    "langfuse.observation.output",
    "langfuse.trace.input",
    "langfuse.trace.output",
    "llm.choices",
    "llm.completions",
    "llm.input_messages",
    "llm.output_messages",
    "llm.prompt_template",
    "llm.prompts",
    "llm.request.functions.",
    "lk.response.",
    "message.content",
    "mlflow.spanInputs",
    "mlflow.spanOutputs",
    "output.value",
    "reranker.input_documents",
    "reranker.output_documents",
    "retrieval.documents",
    "traceloop.entity.input",
    "traceloop.entity.output",
    "traceloop.prompt.template_variables",
)
"""Beginnings of such attributes where they are numbered or have variants."""
