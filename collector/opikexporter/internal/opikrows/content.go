package opikrows

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// What went into a span and what came out. Each side has an ordered list of sources. The first one that is there wins;
// all attributes of that side are then left out of the metadata, since they say the same in other words.

// content is both sides of a span (nil where it does not tell), and the attributes that they were made of.
type content struct {
	input, output object
	used          []string
}

// keyed is an attribute, and the key its value gets in its side if it is not an object of its own.
type keyed struct{ attribute, key string }

var (
	inputPrefixes   = []string{attrPromptGenA, attrOIInputMessages}
	outputPrefixes  = []string{attrCompletionGenA, attrOIOutputMessages}
	toolPrefixes    = []string{attrOITools, attrTraceloopTools}
	indexedPrefixes = slices.Concat(inputPrefixes, outputPrefixes, toolPrefixes)

	inputMessages = []keyed{
		{attrInputMessages, "messages"},
		{attrLogfireRequest, "messages"},
		{attrVercelMessages, "messages"},
		{attrPydanticMessages, "messages"},
		{attrADKRequest, "messages"},
	}
	outputMessages = []keyed{
		{attrOutputMessages, "messages"},
		{attrLogfireResponse, "messages"},
		{"gcp.vertex.agent.llm_response", "messages"},
	}

	inputValues = []keyed{
		{"gen_ai.tool.call.arguments", "arguments"},
		{"ai.toolCall.args", "arguments"},
		{"tool_arguments", "arguments"},
		{"gcp.vertex.agent.tool_call_args", "arguments"},
		{"gen_ai.retrieval.query.text", "query"},
		{"input.value", "input"},
		{"traceloop.entity.input", "input"},
		{"ai.prompt", "input"},
		{attrPromptGenA, "input"},
		{"input", "input"},
	}
	outputValues = []keyed{
		{"gen_ai.tool.call.result", "result"},
		{"ai.toolCall.result", "result"},
		{"tool_response", "result"},
		{"gcp.vertex.agent.tool_response", "result"},
		{"gen_ai.retrieval.documents", "documents"},
		{"output.value", "output"},
		{"traceloop.entity.output", "output"},
		{"final_result", "output"},
		{"ai.response.object", "output"},
		{attrVercelText, "output"},
		{attrCompletionGenA, "output"},
		{"output", "output"},
	}

	inputNames = namesOf(inputMessages, inputValues,
		attrSystemInstructions, attrToolDefinitions, attrVercelTools, attrOIInputMime)
	outputNames = namesOf(outputMessages, outputValues, attrVercelToolCalls, attrOIOutputMime)
)

func namesOf(messages, values []keyed, others ...string) map[string]bool {
	names := map[string]bool{}
	for _, entry := range slices.Concat(messages, values) {
		names[entry.attribute] = true
	}
	for _, name := range others {
		names[name] = true
	}
	return names
}

// isContentEvent tells whether an event is content, and so is not repeated in the metadata.
func isContentEvent(name string) bool {
	_, isMessage := messageEvents[name]
	return isMessage || name == eventPromptGenA || name == eventCompletionGenA || name == eventChoiceGenA
}

// contentReader reads both sides of one span.
type contentReader struct {
	attributes
	events ptrace.SpanEventSlice
}

func contentOf(span ptrace.Span, said attributes, isLLM bool) content {
	reader := contentReader{said, span.Events()}
	read := content{input: reader.input(), output: reader.output()}
	if isLLM || isList(read.input, "messages") || isList(read.output, "choices") {
		read.input, read.output = asQuestion(read.input), reader.asAnswer(read.output)
	}
	for _, name := range said.order {
		if isIndexed(name) || (read.input != nil && inputNames[name]) || (read.output != nil && outputNames[name]) {
			read.used = append(read.used, name)
		}
	}
	return read
}

// isIndexed tells `gen_ai.prompt.0.role`, which is content, from `gen_ai.prompt.name`, which is not.
func isIndexed(name string) bool {
	for _, prefix := range indexedPrefixes {
		if rest, found := strings.CutPrefix(name, prefix+"."); found && startsWithIndex(rest) {
			return true
		}
	}
	return false
}

func (r contentReader) input() object {
	messages := r.firstMessages(inputMessages, inputPrefixes, "user")
	if len(messages) == 0 {
		messages = r.eventMessages()
	}
	if messages = append(r.systemMessages(), messages...); len(messages) > 0 {
		input := object{"messages": messages}
		if tools := r.tools(); len(tools) > 0 {
			input["tools"] = tools
		}
		return input
	}
	return r.firstValue(inputMessages, inputValues)
}

func (r contentReader) output() object {
	messages := r.firstMessages(outputMessages, outputPrefixes, "assistant")
	if len(messages) == 0 {
		messages = r.vercelAnswer()
	}
	if len(messages) == 0 {
		messages = r.eventChoices()
	}
	if len(messages) > 0 {
		return asChoices(messages, r.values[attrFinishReasons])
	}
	return r.firstValue(outputMessages, outputValues)
}

func isList(side object, key string) bool {
	_, found := side[key].([]any)
	return found
}

func asQuestion(value object) object {
	if text, isText := loneText(value); isText {
		return object{"messages": []any{object{"role": "user", "content": text}}}
	}
	return value
}

func (r contentReader) asAnswer(value object) object {
	if text, isText := loneText(value); isText {
		return asChoices([]any{saidByAssistant(text)}, r.values[attrFinishReasons])
	}
	return value
}

// loneText is the text of a side that is nothing but text: of a model call, and beside a side of messages, it is one
// message. Opik's page draws a conversation only where both sides are messages.
func loneText(value object) (string, bool) {
	if len(value) != 1 {
		return "", false
	}
	for _, key := range []string{"messages", "input", "output"} {
		if text, isText := value[key].(string); isText {
			return text, true
		}
	}
	return "", false
}

func (r contentReader) firstMessages(sources []keyed, prefixes []string, role string) []any {
	for _, source := range sources {
		if messages := asMessages(r.values[source.attribute], role); len(messages) > 0 {
			return messages
		}
	}
	for _, prefix := range prefixes {
		if messages := asMessages(indexedList(r.attributes, prefix), role); len(messages) > 0 {
			return messages
		}
	}
	return nil
}

// firstValue is the first source that is there: an object as it is, anything else under the source's key.
func (r contentReader) firstValue(messages, values []keyed) object {
	for _, source := range slices.Concat(messages, values) {
		switch value := parsed(r.values[source.attribute]).(type) {
		case nil:
		case object:
			if len(value) > 0 {
				return value
			}
		case string:
			if value != "" {
				return object{source.key: value}
			}
		case []any:
			if len(value) > 0 {
				return object{source.key: value}
			}
		default:
			return object{source.key: value}
		}
	}
	return nil
}

// systemMessages reads `gen_ai.system_instructions` (a list of parts, or text), which stands before all messages.
func (r contentReader) systemMessages() []any {
	switch instructions := parsed(r.values[attrSystemInstructions]).(type) {
	case []any:
		if len(instructions) > 0 {
			return asMessages([]any{object{"role": "system", "parts": instructions}}, "user")
		}
	case string:
		if instructions != "" {
			return []any{object{"role": "system", "content": instructions}}
		}
	}
	return nil
}

// eventMessages reads gen A's events, one per message of the prompt.
func (r contentReader) eventMessages() []any {
	var messages []any
	for _, event := range r.events.All() {
		role, isMessage := messageEvents[event.Name()]
		if !isMessage && event.Name() != eventPromptGenA {
			continue
		}
		body := attributesOf(event.Attributes())
		if isMessage {
			messages = append(messages, asMessages([]any{messageOf(body, role)}, role)...)
			continue
		}
		found := asMessages(body.values[attrPromptGenA], "user")
		if len(found) == 0 {
			found = []any{object{"role": "user", "content": textOf(body.values[attrPromptGenA])}}
		}
		messages = append(messages, found...)
	}
	return messages
}

// messageOf is an event's body as a message of the role that the event's name tells, unless the body says otherwise.
func messageOf(body attributes, role string) object {
	message := object{"role": role}
	for key, value := range body.values {
		if value != nil {
			message[key] = parsed(value)
		}
	}
	return message
}

// eventChoices reads gen A's events, one per choice of the answer.
func (r contentReader) eventChoices() []any {
	var messages []any
	for _, event := range r.events.All() {
		body := attributesOf(event.Attributes()).values
		for key, value := range body {
			body[key] = parsed(value)
		}
		switch event.Name() {
		case eventChoiceGenA:
			messages = append(messages, asMessages([]any{body}, "assistant")...)
		case eventCompletionGenA:
			found := asMessages(body[attrCompletionGenA], "assistant")
			if len(found) == 0 {
				found = []any{saidByAssistant(textOf(body[attrCompletionGenA]))}
			}
			messages = append(messages, found...)
		}
	}
	return messages
}

func saidByAssistant(text string) object { return object{"role": "assistant", "content": text} }

func (r contentReader) vercelAnswer() []any {
	calls, _ := parsed(r.values[attrVercelToolCalls]).([]any)
	if len(calls) == 0 {
		return nil
	}
	answer := object{"role": "assistant", "content": r.values[attrVercelText], "tool_calls": calls}
	return asMessages([]any{answer}, "user")
}

// tools are the definitions of tools in the chat format, whoever wrote them.
func (r contentReader) tools() []any {
	for _, name := range []string{attrToolDefinitions, attrVercelTools} {
		if tools, _ := parsed(r.values[name]).([]any); len(tools) > 0 {
			return asTools(tools)
		}
	}
	if request, isObject := parsed(r.values[attrLogfireRequest]).(object); isObject {
		if tools, isList := request["tools"].([]any); isList {
			return asTools(tools)
		}
	}
	for _, prefix := range toolPrefixes {
		if tools := indexedList(r.attributes, prefix); len(tools) > 0 {
			return asTools(tools)
		}
	}
	return asTools(r.declared())
}

// declared are Google's: functions are declared in groups, in the request's configuration.
func (r contentReader) declared() []any {
	request := asObject(parsed(r.values[attrADKRequest]))
	groups, _ := asObject(request["config"])["tools"].([]any)
	var tools []any
	for _, group := range groups {
		found, _ := asObject(group)["function_declarations"].([]any)
		tools = append(tools, found...)
	}
	return tools
}

func asTools(tools []any) []any {
	read := make([]any, len(tools))
	for index, tool := range tools {
		read[index] = asTool(tool)
	}
	return read
}

func asTool(value any) any {
	value = parsed(value)
	if inner, wrapped := asObject(value)["tool"].(object); wrapped { // OpenInference: llm.tools.N.tool.json_schema
		value = inner
		if schema, found := inner["json_schema"]; found {
			value = parsed(schema)
		}
	}
	fields := asObject(value)
	_, isChatFormat := fields["function"]
	name, isNamed := fields["name"]
	if isChatFormat || !isNamed {
		return value
	}
	function := object{}
	copyPresent(function, object{
		"name":        name,
		"description": fields["description"],
		"parameters":  parsed(firstOf(fields, "parameters", "inputSchema")),
	}, "name", "description", "parameters")
	return object{"type": "function", "function": function}
}

// asObject is the value if it is an object, else nil.
func asObject(value any) object {
	fields, _ := value.(object)
	return fields
}
