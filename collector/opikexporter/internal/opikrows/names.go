package opikrows

// Attribute names that the mapping reads or writes. The conventions moved twice; "gen A" and "gen B" are the older
// generations, which are still in the field.
const (
	// What was called.
	attrOperation     = "gen_ai.operation.name"
	attrProvider      = "gen_ai.provider.name"
	attrProviderGenA  = "gen_ai.system"
	attrRequestModel  = "gen_ai.request.model"
	attrResponseModel = "gen_ai.response.model"
	attrFinishReasons = "gen_ai.response.finish_reasons"
	attrToolName      = "gen_ai.tool.name"
	attrServerAddress = "server.address"
	attrErrorType     = "error.type"

	// Who and where.
	attrTenant         = "tenant.id"
	attrSession        = "session.id"
	attrConversation   = "gen_ai.conversation.id"
	attrServiceName    = "service.name"
	attrEnvironment    = "deployment.environment.name"
	attrEnvironmentOld = "deployment.environment"

	// Content.
	attrInputMessages      = "gen_ai.input.messages"
	attrOutputMessages     = "gen_ai.output.messages"
	attrSystemInstructions = "gen_ai.system_instructions"
	attrToolDefinitions    = "gen_ai.tool.definitions"
	attrPromptGenA         = "gen_ai.prompt"
	attrCompletionGenA     = "gen_ai.completion"

	// This project's own.
	attrCacheHit = "otel_llm.cache.hit"
	attrTags     = "otel_llm.tags"

	// Records of feedback.
	scopeFeedback   = "otel_llm.feedback"
	attrFeedbackOf  = "otel_llm.feedback.of"
	feedbackOfSpan  = "span"
	attrScoreName   = "gen_ai.evaluation.name"
	attrScoreValue  = "gen_ai.evaluation.score.value"
	attrScoreLabel  = "gen_ai.evaluation.score.label"
	attrScoreReason = "gen_ai.evaluation.explanation"

	// What a program says to this mapping about one span.
	opikMetadataPrefix = "opik.metadata."
	attrOpikProject    = "opik.project"
	attrOpikTags       = "opik.tags"
	attrOpikSpanType   = "opik.span.type"
	attrOpikTraceID    = "opik.trace_id"
	attrOpikSpanID     = "opik.span_id"
	attrOpikParentID   = "opik.parent_span_id"
	attrThreadID       = "thread_id"

	// OpenInference, OpenLLMetry, Logfire, Pydantic AI, Vercel: where more than one place needs the name.
	attrOIInputMessages   = "llm.input_messages"
	attrOIOutputMessages  = "llm.output_messages"
	attrOITools           = "llm.tools"
	attrOIInputMime       = "input.mime_type"
	attrOIOutputMime      = "output.mime_type"
	attrOITags            = "tag.tags"
	attrTraceloopTools    = "llm.request.functions"
	attrTraceloopSession  = "traceloop.association.properties.session_id"
	attrLogfireRequest    = "request_data"
	attrLogfireResponse   = "response_data"
	attrPydanticMessages  = "pydantic_ai.all_messages"
	scopeADK              = "gcp.vertex.agent"
	attrADKRequest        = "gcp.vertex.agent.llm_request"
	attrADKSession        = "gcp.vertex.agent.session_id"
	attrVercelMessages    = "ai.prompt.messages"
	attrVercelTools       = "ai.prompt.tools"
	attrVercelText        = "ai.response.text"
	attrVercelToolCalls   = "ai.response.toolCalls"
	attrVercelProvider    = "ai.model.provider"
	attrVercelTTFTMillis  = "ai.response.msToFirstChunk"
	attrTTFTSeconds       = "gen_ai.response.time_to_first_chunk"
	attrTTFTServerSeconds = "gen_ai.server.time_to_first_token"

	// Events.
	eventException      = "exception"
	eventPromptGenA     = "gen_ai.content.prompt"
	eventCompletionGenA = "gen_ai.content.completion"
	eventChoiceGenA     = "gen_ai.choice"
	attrExceptionType   = "exception.type"
	attrExceptionText   = "exception.message"
	attrHTTPStatus      = "http.response.status_code"
	attrOldHTTPStatus   = "http.status_code"
	attrExceptionStack  = "exception.stacktrace"

	// Keys of the metadata that are not attributes of the span.
	metaScopeName    = "otel.scope.name"
	metaScopeVersion = "otel.scope.version"
	metaTraceID      = "otel.trace_id"
	metaSpanID       = "otel.span_id"
	metaSpanKind     = "otel.span.kind"
	metaStatusCode   = "otel.status_code"
	metaDropped      = "otel.dropped_attributes_count"
	metaLinks        = "otel.links"
	metaEvents       = "otel.events"

	unknownTenant = "unknown"
)

// messageEvents names the role of the message that each gen A event carries.
var messageEvents = map[string]string{
	"gen_ai.system.message":    "system",
	"gen_ai.user.message":      "user",
	"gen_ai.assistant.message": "assistant",
	"gen_ai.tool.message":      "tool",
}
