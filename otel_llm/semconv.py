"""Every attribute name that we read or write, beside the snapshot of the conventions it comes from.

The GenAI conventions live in `open-telemetry/semantic-conventions-genai` and are in development. We write
the newest generation ("gen C", state of November 2026) and read all three that are in the field:

* gen A, up to v1.36: `gen_ai.system`, `gen_ai.usage.prompt_tokens`, `gen_ai.prompt.N.*`
* gen B, v1.37 to v1.41: `gen_ai.provider.name`, `gen_ai.usage.input_tokens`, `gen_ai.input.messages`
* gen C: as gen B, with `gen_ai.usage.cache_write.input_tokens` and new metric names

No other module spells an attribute name; a test holds it.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/gen-ai/1.42.0"
"""The schema URL that the conventions' own repository declares."""
RESOURCE_SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.41.1"
"""Of the core conventions, whose names stand on the resource: the release beside which ours were read."""

# --- what was called -------------------------------------------------------------------------------------
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
UNKNOWN_PROVIDER: Final = "unknown"
"""Where a call ends and nobody said who would have answered it: litellm refuses a model that it does not know."""
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
RESPONSE_ID: Final = "gen_ai.response.id"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
"""Seconds (double) from issuing the request to the first chunk with content; streams only."""
CONVERSATION_ID: Final = "gen_ai.conversation.id"
OUTPUT_TYPE: Final = "gen_ai.output.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
ERROR_TYPE: Final = "error.type"
HTTP_STATUS_CODE: Final = "http.response.status_code"
HTTP_METHOD: Final = "http.request.method"
HTTP_ROUTE: Final = "http.route"
URL_PATH: Final = "url.path"
URL_SCHEME: Final = "url.scheme"
URL_FULL: Final = "url.full"
NETWORK_PEER_ADDRESS: Final = "network.peer.address"
NETWORK_PEER_PORT: Final = "network.peer.port"
NETWORK_PROTOCOL_VERSION: Final = "network.protocol.version"
OLD_HTTP_METHOD: Final = "http.method"
"""This and the next as HTTP spans had them before v1.23, and have still unless `http` is asked for."""
OLD_HTTP_URL: Final = "http.url"
OLD_HTTP_HOST: Final = "http.host"
OLD_HTTP_PORT: Final = "net.peer.port"
OLD_HTTP_STATUS_CODE: Final = "http.status_code"
OLD_HTTP_FLAVOR: Final = "http.flavor"
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
CELERY_TASK: Final = "celery.task_name"
"""As opentelemetry-instrumentation-celery names it; the conventions have no word for a task."""
CELERY_RETRIES: Final = "celery.retries"

# --- operations ------------------------------------------------------------------------------------------
OP_CHAT: Final = "chat"
OP_TEXT_COMPLETION: Final = "text_completion"
OP_GENERATE_CONTENT: Final = "generate_content"
OP_EMBEDDINGS: Final = "embeddings"
OP_RETRIEVAL: Final = "retrieval"
OP_EXECUTE_TOOL: Final = "execute_tool"
OP_INVOKE_AGENT: Final = "invoke_agent"
OP_INVOKE_WORKFLOW: Final = "invoke_workflow"
OP_PLAN: Final = "plan"
OP_MODERATION: Final = "moderation"
OP_REALTIME: Final = "realtime"
"""Ours: a session, whose responses are calls of their own."""
"""Not predefined by the conventions; they allow a system-specific value where none fits."""

LLM_OPERATIONS: Final = frozenset(
    {OP_CHAT, OP_TEXT_COMPLETION, OP_GENERATE_CONTENT, OP_EMBEDDINGS, OP_RETRIEVAL, OP_MODERATION}
)
"""Operations that are calls to a model; the rest are work around such calls."""

# --- request parameters ----------------------------------------------------------------------------------
REQUEST_STREAM: Final = "gen_ai.request.stream"
REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
REQUEST_TOP_P: Final = "gen_ai.request.top_p"
REQUEST_TOP_K: Final = "gen_ai.request.top_k"
REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
REQUEST_STOP_SEQUENCES: Final = "gen_ai.request.stop_sequences"
REQUEST_SEED: Final = "gen_ai.request.seed"
REQUEST_CHOICE_COUNT: Final = "gen_ai.request.choice.count"
REQUEST_FREQUENCY_PENALTY: Final = "gen_ai.request.frequency_penalty"
REQUEST_PRESENCE_PENALTY: Final = "gen_ai.request.presence_penalty"
REQUEST_REASONING_LEVEL: Final = "gen_ai.request.reasoning.level"
REQUEST_PREVIOUS_RESPONSE_ID: Final = "gen_ai.request.previous_response.id"
REQUEST_ENCODING_FORMATS: Final = "gen_ai.request.encoding_formats"
EMBEDDINGS_DIMENSION_COUNT: Final = "gen_ai.embeddings.dimension.count"
RETRIEVAL_TOP_K: Final = "gen_ai.retrieval.top_k"
RETRIEVAL_QUERY_TEXT: Final = "gen_ai.retrieval.query.text"
RETRIEVAL_DOCUMENTS: Final = "gen_ai.retrieval.documents"
OPENAI_REQUEST_SERVICE_TIER: Final = "openai.request.service_tier"
OPENAI_RESPONSE_SERVICE_TIER: Final = "openai.response.service_tier"
OPENAI_SYSTEM_FINGERPRINT: Final = "openai.response.system_fingerprint"
OPENAI_API_TYPE: Final = "openai.api.type"

# --- usage (tokens, int) ---------------------------------------------------------------------------------
USAGE_INPUT: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT: Final = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_WRITE: Final = "gen_ai.usage.cache_write.input_tokens"
USAGE_REASONING: Final = "gen_ai.usage.reasoning.output_tokens"
USAGE_TEXT_INPUT: Final = "gen_ai.usage.text.input_tokens"
USAGE_IMAGE_INPUT: Final = "gen_ai.usage.image.input_tokens"
USAGE_AUDIO_INPUT: Final = "gen_ai.usage.audio.input_tokens"
USAGE_TEXT_OUTPUT: Final = "gen_ai.usage.text.output_tokens"
USAGE_IMAGE_OUTPUT: Final = "gen_ai.usage.image.output_tokens"
USAGE_AUDIO_OUTPUT: Final = "gen_ai.usage.audio.output_tokens"
USAGE_AUDIO_CACHE_READ: Final = "gen_ai.usage.audio.cache_read.input_tokens"

# --- content (opt-in) ------------------------------------------------------------------------------------
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
TOOL_DEFINITIONS: Final = "gen_ai.tool.definitions"

CONTENT_ATTRIBUTES: Final = frozenset(
    {INPUT_MESSAGES, OUTPUT_MESSAGES, SYSTEM_INSTRUCTIONS, TOOL_DEFINITIONS, RETRIEVAL_QUERY_TEXT, RETRIEVAL_DOCUMENTS}
)
"""Attributes that can hold what a person wrote or a model answered."""

# --- who -------------------------------------------------------------------------------------------------
USER_ID: Final = "user.id"
SESSION_ID: Final = "session.id"
TENANT_ID: Final = "tenant.id"
"""Ours: the conventions have no tenant. `unknown` when none was set."""
UNKNOWN_TENANT: Final = "unknown"

# --- ours, where the conventions are silent (DESIGN section 4) ---------------------------------------------
COST: Final = "gen_ai.usage.cost"
"""USD (double), as Opik and others read it today. Absent when the price is unknown."""
COST_STATUS: Final = "otel_llm.cost.status"
COST_SAVED: Final = "otel_llm.cost.saved"
"""USD (double) that the call would have cost, had it not been answered from the response cache."""
SAVED_INPUT: Final = "otel_llm.usage.saved.input_tokens"
"""Input tokens of what the response cache answered: nobody was billed for them."""
SAVED_OUTPUT: Final = "otel_llm.usage.saved.output_tokens"
CACHE_HIT: Final = "otel_llm.cache.hit"
ATTEMPT: Final = "otel_llm.attempt"
"""1-based number of an attempt under a logical call that needed more than one; absent elsewhere."""
ATTEMPTS: Final = "otel_llm.attempts"
"""On the logical span: how many attempts it took; absent when one was enough."""
FALLBACK: Final = "otel_llm.fallback"
"""True on an attempt (and its logical span) that went to another model than the one asked for."""
USAGE_ESTIMATED: Final = "otel_llm.usage.estimated"
"""True when the provider sent no usage and tokens were counted by us."""
STREAM_END: Final = "otel_llm.stream.end"
"""How a stream ended when not by being read to its end: `closed`, `cancelled`, `abandoned`, `error`."""
TAGS: Final = "otel_llm.tags"
"""String list: `metadata.tags` of the call."""
METADATA_PREFIX: Final = "otel_llm.metadata."
"""Prefix of the call's own scalar `metadata` entries."""
REPLACED: Final = "otel_llm.replaced"
"""String list of attribute keys whose values could not be recorded as given and were replaced."""
TRUNCATED: Final = "otel_llm.truncated"
"""String list of attribute keys whose values were shortened to keep the span within its size limits."""
TRUNCATED_BYTES: Final = "otel_llm.truncated.original_bytes"
"""Int list beside `otel_llm.truncated`: the length in bytes that each of those values had."""
REPEATS: Final = "otel_llm.repeats"
"""True on another instrumentation's span around a call that has a span of its own, which has the usage and the cost."""
DOCTOR: Final = "otel_llm.doctor"
"""On the one span that `otel-llm doctor` sends: a random mark."""
OPERATION_DETAIL: Final = "otel_llm.litellm.call"
"""The litellm function that was called, for example `acompletion`."""

SAMPLING_RATE: Final = "otel_llm.sampling.rate"
"""Double, 0 to 1: the probability with which a span like this one is kept. Absent where nothing is sampled."""
SAMPLING_REASON: Final = "otel_llm.sampling.reason"
"""Why the span was kept: `ratio`, `error`, `slow`, `expensive`, or `trace` (another span of its trace was)."""
SAMPLING_CONTENT_LEFT_OUT: Final = "otel_llm.sampling.content_left_out"
"""True where the span was kept and its content was not."""
SAMPLING_LEFT_OUT: Final = "otel_llm.sampling.left_out"
"""On what the local store alone gets of a span that was left out: `sampled` (by us), `not_sampled` (by the program)."""

OWN_SCOPE: Final = "otel_llm"
"""Instrumentation scope of the spans that this package starts; those of its parts have names below it."""
FEEDBACK_SCOPE: Final = "otel_llm.feedback"
"""Instrumentation scope of the records that `otel_llm.add_feedback` makes."""
FEEDBACK_OF: Final = "otel_llm.feedback.of"
"""What a record of feedback is about: its `trace`, or the `span` that is its parent."""
FEEDBACK_OF_TRACE: Final = "trace"
FEEDBACK_OF_SPAN: Final = "span"

# --- evaluation (the conventions' event gen_ai.evaluation.result) ------------------------------------------
EVALUATION_NAME: Final = "gen_ai.evaluation.name"
EVALUATION_SCORE: Final = "gen_ai.evaluation.score.value"
EVALUATION_LABEL: Final = "gen_ai.evaluation.score.label"
EVALUATION_EXPLANATION: Final = "gen_ai.evaluation.explanation"

CLIENT_MODEL: Final = "otel_llm.client.model"
"""On the span of `LLMClient.generate`: the model as the program names it."""
CLIENT_WAITED: Final = "otel_llm.client.wait.duration"
"""Seconds that the call waited for its tenant's rate limit."""

COST_PRICED: Final = "priced"
COST_OVERRIDDEN: Final = "overridden"
COST_FREE: Final = "free"
COST_CACHE_HIT: Final = "cache_hit"
COST_ESTIMATED: Final = "estimated"
COST_UNKNOWN: Final = "unknown"

# --- Temporal ------------------------------------------------------------------------------------------------
TEMPORAL_WORKFLOW_ID: Final = "temporalWorkflowID"
TEMPORAL_RUN_ID: Final = "temporalRunID"
"""These two as Temporal's own interceptors spell them; the rest is ours: the conventions have none."""
TEMPORAL_WORKFLOW_TYPE: Final = "temporal.workflow.type"
TEMPORAL_PARENT_WORKFLOW_ID: Final = "temporal.workflow.parent_id"
TEMPORAL_RUN_TIMEOUT: Final = "temporal.workflow.run_timeout"
"""Seconds (double), like all timeouts here."""
TEMPORAL_SCHEDULE_ID: Final = "temporal.schedule.id"
TEMPORAL_ACTIVITY_TYPE: Final = "temporal.activity.type"
TEMPORAL_LOCAL: Final = "temporal.activity.local"
TEMPORAL_RESUMED: Final = "temporal.activity.resumed"
"""Whether an earlier attempt left heartbeat details to go on from."""
TEMPORAL_HEARTBEATS: Final = "temporal.activity.heartbeats"
"""Number of heartbeats of this attempt; absent where there was none."""
TEMPORAL_HEARTBEAT_EVENT: Final = "temporal.heartbeat"
TEMPORAL_CANCELLATION: Final = "temporal.activity.cancellation"
"""String list: why Temporal asked the activity to stop."""
TEMPORAL_START_TO_CLOSE: Final = "temporal.activity.start_to_close_timeout"
TEMPORAL_SCHEDULE_TO_CLOSE: Final = "temporal.activity.schedule_to_close_timeout"
TEMPORAL_SCHEDULE_TO_START: Final = "temporal.activity.schedule_to_start_timeout"
TEMPORAL_HEARTBEAT_TIMEOUT: Final = "temporal.activity.heartbeat_timeout"
TEMPORAL_TASK_QUEUE: Final = "temporal.task_queue"
TEMPORAL_NAMESPACE: Final = "temporal.namespace"
TEMPORAL_ATTEMPT: Final = "temporal.attempt"
"""1-based, of an activity or a workflow; an attempt is a span of its own."""
TEMPORAL_RETRY: Final = "temporal.retry"
"""Whether this is not the first attempt."""
TEMPORAL_OUTCOME: Final = "temporal.outcome"
"""`completed`, `failed`, `cancelled`, `timed_out`, `continued_as_new`, `abandoned` and others."""
TEMPORAL_TIMEOUT_TYPE: Final = "temporal.timeout.type"
TEMPORAL_RETRY_STATE: Final = "temporal.retry_state"
"""Why Temporal gave an activity or a child workflow up."""

# --- resource --------------------------------------------------------------------------------------------
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
DEPLOYMENT_ENVIRONMENT: Final = "deployment.environment.name"

# --- exception events ------------------------------------------------------------------------------------
EXCEPTION_EVENT: Final = "exception"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"

# --- metrics -------------------------------------------------------------------------------------------------
METRIC_INFERENCE_DURATION: Final = "gen_ai.client.inference.duration"
METRIC_INFERENCE_FIRST_CHUNK: Final = "gen_ai.client.inference.time_to_first_chunk"
METRIC_USAGE_INPUT: Final = "gen_ai.client.inference.usage.input_tokens"
METRIC_USAGE_OUTPUT: Final = "gen_ai.client.inference.usage.output_tokens"
METRIC_USAGE_CACHE_READ: Final = "gen_ai.client.inference.usage.cache_read.input_tokens"
METRIC_USAGE_CACHE_WRITE: Final = "gen_ai.client.inference.usage.cache_write.input_tokens"
METRIC_USAGE_REASONING: Final = "gen_ai.client.inference.usage.reasoning.output_tokens"
METRIC_OPERATION_INPUT: Final = "gen_ai.client.inference.operation.input_tokens"
METRIC_OPERATION_OUTPUT: Final = "gen_ai.client.inference.operation.output_tokens"
METRIC_OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
"""gen B; in gen C of operations that are no inference."""
METRIC_OPERATION_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"
"""gen B."""
METRIC_TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105  (tokens of a model, none of a key)
"""gen B; what every library emits in November 2026."""
METRIC_COST: Final = "otel_llm.cost"
"""Ours: USD. The conventions have no cost yet."""
METRIC_COST_SAVED: Final = "otel_llm.cost.saved"
METRIC_COST_UNKNOWN: Final = "otel_llm.cost.unknown"
"""Ours: calls whose price is not known."""
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105
TOKEN_MODALITY: Final = "gen_ai.token.modality"  # noqa: S105
METRIC_OVERFLOW: Final = "otel.metric.overflow"

INFERENCE_OPERATIONS: Final = frozenset({OP_CHAT, OP_TEXT_COMPLETION, OP_GENERATE_CONTENT})
"""Operations that the conventions' inference metrics are about."""

# --- older names that we read, never write -----------------------------------------------------------------
OLDER_NAMES: Final[dict[str, str]] = {
    "gen_ai.system": PROVIDER_NAME,
    "gen_ai.usage.prompt_tokens": USAGE_INPUT,
    "gen_ai.usage.completion_tokens": USAGE_OUTPUT,
    "gen_ai.usage.cache_read_input_tokens": USAGE_CACHE_READ,
    "gen_ai.usage.cache_creation_input_tokens": USAGE_CACHE_WRITE,
    "gen_ai.usage.cache_creation.input_tokens": USAGE_CACHE_WRITE,
    "gen_ai.usage.reasoning_tokens": USAGE_REASONING,
}
"""gen A and gen B name -> the name of today."""

# --- Opik: what a program may say to the Opik backend about one span (never sent as an attribute) ------------
OPIK_PREFIX: Final = "opik."
OPIK_PROJECT: Final = "opik.project"
"""Name of the Opik project for this span; beats the tenant's and the configured one."""
OPIK_TAGS: Final = "opik.tags"
OPIK_SPAN_TYPE: Final = "opik.span.type"
"""`general`, `tool`, `llm` or `guardrail`; beats what the mapping would conclude."""
OPIK_METADATA_PREFIX: Final = "opik.metadata."
OPIK_TRACE_ID: Final = "opik.trace_id"
"""UUIDv7 of an existing Opik trace to join, as Opik's own `OpikSpanProcessor` stamps it."""
OPIK_SPAN_ID: Final = "opik.span_id"
OPIK_PARENT_SPAN_ID: Final = "opik.parent_span_id"
OPIK_THREAD_ID: Final = "thread_id"
PLAIN_INPUT: Final = "input"
PLAIN_OUTPUT: Final = "output"
"""Opik's OTLP route takes these two, so programs written for it set them."""

# --- groups of the registry, for the check of conformance ------------------------------------------------------
USAGE_PREFIX: Final = "gen_ai.usage."
AGENT_PREFIX: Final = "gen_ai.agent."
EVALUATION_PREFIX: Final = "gen_ai.evaluation."
PROMPT_VARIABLE_PREFIX: Final = "gen_ai.prompt.variable."
SPAN_INFERENCE: Final = "gen_ai.client.inference"
"""Type of a span, not an attribute."""

# --- not of the GenAI conventions, but on many spans ---------------------------------------------------------
DEPLOYMENT_ENVIRONMENT_OLD: Final = "deployment.environment"
SCOPE_NAME: Final = "otel.scope.name"
SCOPE_VERSION: Final = "otel.scope.version"
OTEL_TRACE_ID: Final = "otel.trace_id"
OTEL_SPAN_ID: Final = "otel.span_id"
OTEL_SPAN_KIND: Final = "otel.span.kind"
OTEL_STATUS_CODE: Final = "otel.status_code"
OTEL_DROPPED_ATTRIBUTES: Final = "otel.dropped_attributes_count"
OTEL_LINKS: Final = "otel.links"
OTEL_EVENTS: Final = "otel.events"
GEN_AI_PREFIX: Final = "gen_ai."
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
"""`function`, `extension` or `datastore`."""
AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
WORKFLOW_NAME: Final = "gen_ai.workflow.name"
TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"

# --- gen A, read only: content and counts that have no one-to-one name of today -------------------------------
GEN_A_PROVIDER: Final = "gen_ai.system"
GEN_A_PROMPT: Final = "gen_ai.prompt"
GEN_A_COMPLETION: Final = "gen_ai.completion"
GEN_A_TOTAL_TOKENS: Final = "gen_ai.usage.total_tokens"
GEN_A_PROMPT_EVENT: Final = "gen_ai.content.prompt"
GEN_A_COMPLETION_EVENT: Final = "gen_ai.content.completion"
GEN_A_CHOICE_EVENT: Final = "gen_ai.choice"
GEN_A_MESSAGE_EVENTS: Final[dict[str, str]] = {
    "gen_ai.system.message": "system",
    "gen_ai.user.message": "user",
    "gen_ai.assistant.message": "assistant",
    "gen_ai.tool.message": "tool",
}
"""Event name -> role of the message that it carries."""
SERVER_TTFT: Final = "gen_ai.server.time_to_first_token"
"""Seconds, as OpenLIT writes it on spans."""
LITELLM_TOTAL_COST: Final = "gen_ai.cost.total_cost"
"""USD, as litellm's `otel` callback writes it."""

# --- OpenInference, read only ----------------------------------------------------------------------------------
OI_SPAN_KIND: Final = "openinference.span.kind"
OI_PROVIDER: Final = "llm.provider"
OI_SYSTEM: Final = "llm.system"
OI_MODEL: Final = "llm.model_name"
OI_EMBEDDING_MODEL: Final = "embedding.model_name"
OI_RERANKER_MODEL: Final = "reranker.model_name"
OI_INPUT_MESSAGES: Final = "llm.input_messages"
OI_OUTPUT_MESSAGES: Final = "llm.output_messages"
OI_TOOLS: Final = "llm.tools"
OI_INPUT_VALUE: Final = "input.value"
OI_INPUT_MIME_TYPE: Final = "input.mime_type"
OI_OUTPUT_VALUE: Final = "output.value"
OI_OUTPUT_MIME_TYPE: Final = "output.mime_type"
OI_TOKENS_PROMPT: Final = "llm.token_count.prompt"
OI_TOKENS_COMPLETION: Final = "llm.token_count.completion"
OI_TOKENS_TOTAL: Final = "llm.token_count.total"
OI_TOKENS_CACHE_READ: Final = "llm.token_count.prompt_details.cache_read"
OI_TOKENS_CACHE_WRITE: Final = "llm.token_count.prompt_details.cache_write"
OI_TOKENS_AUDIO_INPUT: Final = "llm.token_count.prompt_details.audio"
OI_TOKENS_AUDIO_OUTPUT: Final = "llm.token_count.completion_details.audio"
OI_TOKENS_REASONING: Final = "llm.token_count.completion_details.reasoning"
OI_COST: Final = "llm.cost.total"
OI_TAGS: Final = "tag.tags"
OI_REQUEST_MODEL: Final = "llm.request.model_name"
OI_RESPONSE_MODEL: Final = "llm.response.model_name"
OI_FINISH_REASON: Final = "llm.finish_reason"
OI_PARAMETERS: Final = "llm.invocation_parameters"
OI_EMBEDDING_PARAMETERS: Final = "embedding.invocation_parameters"
OI_EMBEDDINGS: Final = "embedding.embeddings"
OI_FUNCTION_CALL: Final = "llm.function_call"
OI_PROMPTS: Final = "llm.prompts"
OI_CHOICES: Final = "llm.choices"
OI_TOOL_NAME: Final = "tool.name"
OI_AGENT_NAME: Final = "agent.name"
OI_FIRST_TOKEN_EVENT: Final = "First Token Stream Event"  # noqa: S105  (tokens of a model)

# --- OpenLLMetry (Traceloop), read only ------------------------------------------------------------------------
TRACELOOP_SPAN_KIND: Final = "traceloop.span.kind"
TRACELOOP_INPUT: Final = "traceloop.entity.input"
TRACELOOP_OUTPUT: Final = "traceloop.entity.output"
TRACELOOP_SESSION: Final = "traceloop.association.properties.session_id"
TRACELOOP_REQUEST_TYPE: Final = "llm.request.type"
TRACELOOP_FUNCTIONS: Final = "llm.request.functions"
TRACELOOP_TOTAL_TOKENS: Final = "llm.usage.total_tokens"
TRACELOOP_USER: Final = "traceloop.association.properties.user_id"
TRACELOOP_ENTITY: Final = "traceloop.entity.name"
TRACELOOP_STREAMING: Final = ("gen_ai.is_streaming", "llm.is_streaming")
TRACELOOP_REASONING_LEVEL: Final = "gen_ai.request.reasoning_effort"
TRACELOOP_FINGERPRINT: Final = "gen_ai.openai.response.system_fingerprint"
TRACELOOP_API_BASE: Final = "gen_ai.openai.api_base"
TRACELOOP_CHUNK_EVENT: Final = "gen_ai.content.completion.chunk"
"""One per chunk of a stream, without any attribute: the first says when the answer began."""

ANTHROPIC_STOP_REASON: Final = "anthropic.message.stop_reason"
"""In the record that Anthropic's library makes of itself."""

# --- Logfire and Pydantic AI, read only --------------------------------------------------------------------------
LOGFIRE_REQUEST: Final = "request_data"
LOGFIRE_RESPONSE: Final = "response_data"
LOGFIRE_COST: Final = "operation.cost"
PYDANTIC_AI_MESSAGES: Final = "pydantic_ai.all_messages"
PYDANTIC_AI_RESULT: Final = "final_result"
PYDANTIC_AI_TOOL_ARGUMENTS: Final = "tool_arguments"
PYDANTIC_AI_TOOL_RESULT: Final = "tool_response"

# --- Google ADK, read only ----------------------------------------------------------------------------------------
ADK_SCOPE: Final = "gcp.vertex.agent"
"""Its instrumentation scope, and what it calls the provider of a span around a call."""
ADK_LLM_REQUEST: Final = "gcp.vertex.agent.llm_request"
ADK_LLM_RESPONSE: Final = "gcp.vertex.agent.llm_response"
ADK_TOOL_ARGUMENTS: Final = "gcp.vertex.agent.tool_call_args"
ADK_TOOL_RESULT: Final = "gcp.vertex.agent.tool_response"
ADK_SESSION: Final = "gcp.vertex.agent.session_id"

# --- Langfuse, read only ------------------------------------------------------------------------------------------
LANGFUSE_TYPE: Final = "langfuse.observation.type"

# --- Vercel AI SDK, read only ------------------------------------------------------------------------------------
VERCEL_OPERATION: Final = "ai.operationId"
VERCEL_PROVIDER: Final = "ai.model.provider"
VERCEL_MODEL: Final = "ai.model.id"
VERCEL_RESPONSE_MODEL: Final = "ai.response.model"
VERCEL_MESSAGES: Final = "ai.prompt.messages"
VERCEL_PROMPT: Final = "ai.prompt"
VERCEL_TOOLS: Final = "ai.prompt.tools"
VERCEL_TEXT: Final = "ai.response.text"
VERCEL_OBJECT: Final = "ai.response.object"
VERCEL_TOOL_CALLS: Final = "ai.response.toolCalls"
VERCEL_TOOL_ARGUMENTS: Final = "ai.toolCall.args"
VERCEL_TOOL_RESULT: Final = "ai.toolCall.result"
VERCEL_TOKENS_INPUT: Final = "ai.usage.inputTokens"
VERCEL_TOKENS_INPUT_OLD: Final = "ai.usage.promptTokens"
VERCEL_TOKENS_OUTPUT: Final = "ai.usage.outputTokens"
VERCEL_TOKENS_OUTPUT_OLD: Final = "ai.usage.completionTokens"
VERCEL_TOKENS_CACHED: Final = "ai.usage.cachedInputTokens"
VERCEL_TOKENS_REASONING: Final = "ai.usage.reasoningTokens"
VERCEL_TIME_TO_FIRST_CHUNK_MS: Final = "ai.response.msToFirstChunk"

# --- content under other names, which the content policy holds back (more of it: semconv_content.py) -----------
PROMPT_NAME: Final = "gen_ai.prompt.name"
"""The name of a prompt template, which is none of its words."""
TOOL_CONTENT: Final = frozenset(
    {
        TOOL_DEFINITIONS,
        TOOL_CALL_ARGUMENTS,
        TOOL_CALL_RESULT,
        PYDANTIC_AI_TOOL_ARGUMENTS,
        PYDANTIC_AI_TOOL_RESULT,
        VERCEL_TOOL_ARGUMENTS,
        VERCEL_TOOL_RESULT,
        ADK_TOOL_ARGUMENTS,
        ADK_TOOL_RESULT,
        "gen_ai.agent.action.tool_input",
        "gen_ai.agent.tool_results",
        "gen_ai.response.tool_calls",
        "gen_ai.tool.args",
        "gen_ai.tool.input",
        "gen_ai.tool.output",
        "lk.function_tool.arguments",
        "lk.function_tool.output",
        "tool.json_schema",
        "tool.parameters",
        "tool_call.function.arguments",
    }
)
"""What tools are, what they are given and what they answer, under any name."""
TOOL_CONTENT_PREFIXES: Final = ("llm.tools",)
CONTENT_EVENTS: Final = frozenset(
    {*GEN_A_MESSAGE_EVENTS, GEN_A_CHOICE_EVENT, GEN_A_PROMPT_EVENT, GEN_A_COMPLETION_EVENT}
)
"""Events whose attributes are a message, whatever these are called."""
CONTENT_EVENT_FACTS: Final = frozenset({GEN_A_PROVIDER, PROVIDER_NAME, "role", "index", "finish_reason"})
"""Attributes of such an event that are not content."""
