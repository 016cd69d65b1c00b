package opikrows

import "strings"

const (
	kindLLM       = "llm"
	kindTool      = "tool"
	kindGeneral   = "general"
	kindGuardrail = "guardrail"
)

// kindNames is an attribute that names a kind of work, and the span type for each of its values in lower case.
type kindNames struct {
	attribute string
	kinds     map[string]string
	// otherwise is the type for a value that the table lacks; "" leaves it to the next attribute.
	otherwise string
}

// byName is asked in order; the first attribute that gives a type decides.
var byName = []kindNames{
	{attrOperation, map[string]string{
		"chat": kindLLM, "text_completion": kindLLM, "generate_content": kindLLM, "embeddings": kindLLM,
		"moderation": kindLLM, "fetch_response": kindLLM,
		"execute_tool": kindTool, "search_memory": kindTool, "create_memory": kindTool, "update_memory": kindTool,
		"upsert_memory": kindTool, "delete_memory": kindTool,
		"invoke_agent": kindGeneral, "invoke_workflow": kindGeneral, "realtime": kindGeneral, "create_agent": kindGeneral, "plan": kindGeneral,
		"guardrail": kindGuardrail, "apply_guardrail": kindGuardrail,
	}, ""},
	{"openinference.span.kind", map[string]string{
		"llm": kindLLM, "embedding": kindLLM, "reranker": kindLLM, "tool": kindTool, "retriever": kindTool,
		"guardrail": kindGuardrail,
	}, kindGeneral},
	{"traceloop.span.kind", map[string]string{"tool": kindTool}, kindGeneral},
	{"llm.request.type", nil, kindLLM},
	{"ai.operationId", map[string]string{
		"ai.generatetext.dogenerate": kindLLM, "ai.streamtext.dostream": kindLLM,
		"ai.generateobject.dogenerate": kindLLM, "ai.streamobject.dostream": kindLLM,
		"ai.embed.doembed": kindLLM, "ai.embedmany.doembed": kindLLM, "ai.toolcall": kindTool,
	}, kindGeneral},
}

var modelAttributes = []string{
	attrResponseModel, attrRequestModel, "llm.model_name", "embedding.model_name", "reranker.model_name",
	"ai.response.model", "ai.model.id",
}

// kindOf is `llm`, `tool`, `guardrail` or `general`.
func kindOf(span attributes) string {
	switch said := span.text(attrOpikSpanType); said {
	case kindLLM, kindTool, kindGeneral, kindGuardrail:
		return said
	}
	if span.text(attrOperation) == "retrieval" {
		if modelOf(span) != "" {
			return kindLLM
		}
		return kindTool
	}
	for _, names := range byName {
		if value := span.text(names.attribute); value != "" {
			kind, known := names.kinds[strings.ToLower(value)]
			if !known {
				kind = names.otherwise
			}
			if kind != "" {
				return kind
			}
		}
	}
	return kindByEvidence(span)
}

// kindByEvidence is for spans that name no operation: a tool's name makes a tool, a model makes a model call.
func kindByEvidence(span attributes) string {
	switch {
	case span.has(attrToolName):
		return kindTool
	case modelOf(span) != "":
		return kindLLM
	default:
		return kindGeneral
	}
}

// modelOf is the model that answered, else the one that was asked for; "" where neither is named.
func modelOf(span attributes) string {
	for _, name := range modelAttributes {
		if model := span.text(name); model != "" {
			return model
		}
	}
	return ""
}
