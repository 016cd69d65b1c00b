package opikrows

import "strings"

// Messages of any generation become OpenAI's chat format, which is what Opik's chat view draws. A message of the GenAI
// conventions has a role and parts; the chat format has a role, content (text or a list of items), `tool_calls`, and one
// message of its own for each tool's answer.

// drawnRoles are those that Opik's page knows: one message of any other, and it draws none of the conversation.
var drawnRoles = map[string]bool{"system": true, "user": true, "assistant": true, "tool": true, "function": true}

var otherRoles = map[string]string{
	"developer": "system",
	"model":     "assistant",
	"ai":        "assistant",
	"bot":       "assistant",
	"chatbot":   "assistant",
	"human":     "user",
}

// chatKeys of a message are taken over where they have a value.
var chatKeys = []string{"name", "tool_call_id", "reasoning_content", "refusal", "function_call", "finish_reason"}

// asMessages reads chat messages from a list of messages in any known shape; nil if the value is not such a list.
func asMessages(value any, defaultRole string) []any {
	value = parsed(value)
	if wrapper, isObject := value.(object); isObject {
		value = unwrapped(wrapper)
	}
	items, _ := value.([]any)
	var messages []any
	for _, item := range items {
		fields, isObject := item.(object)
		if !isObject {
			return nil
		}
		found := fromMessage(fields, defaultRole)
		if found == nil {
			return nil
		}
		messages = append(messages, found...)
	}
	return messages
}

// unwrapped are the messages of a request, or the one of an answer: `messages`, or Google's `contents` and `content`.
func unwrapped(value object) []any {
	if messages, isList := value["messages"].([]any); isList {
		return messages
	}
	if contents, isList := value["contents"].([]any); isList && !hasAny(value, "role") {
		if system, _ := asObject(value["config"])["system_instruction"].(string); system != "" {
			return append([]any{object{"role": "system", "content": system}}, contents...)
		}
		return contents
	}
	content := asObject(value["content"])
	if _, isList := content["parts"].([]any); !isList {
		return []any{value}
	}
	if reason, isText := value["finish_reason"].(string); isText {
		content = without(content, "finish_reason")
		content["finish_reason"] = strings.ToLower(reason)
	}
	return []any{content}
}

// asChoices makes `{"choices": [...]}` of answers, one per message, with the span's finish reasons where they have none.
func asChoices(messages []any, finishReasons any) object {
	reasons, _ := finishReasons.([]any)
	choices := make([]any, 0, len(messages))
	for index, message := range messages {
		said, _ := message.(object)
		reason := said["finish_reason"]
		if reason == nil && index < len(reasons) {
			reason = reasons[index]
		}
		choice := object{"index": int64(index), "message": without(said, "finish_reason")}
		if word, isText := reason.(string); isText && word != "" {
			choice["finish_reason"] = finishReason(word)
		}
		choices = append(choices, choice)
	}
	return object{"choices": choices}
}

// finishReason is the chat format's word for the conventions'.
func finishReason(reason string) string {
	if reason == "tool_call" {
		return "tool_calls"
	}
	return reason
}

// without is a copy of the object that lacks one key.
func without(fields object, key string) object {
	rest := make(object, len(fields))
	for name, value := range fields {
		if name != key {
			rest[name] = value
		}
	}
	return rest
}

func fromMessage(item object, defaultRole string) []any {
	if inner, wrapped := item["message"].(object); wrapped { // OpenInference and `choices` wrap the message once more
		item = without(item, "message")
		for key, value := range inner {
			item[key] = value
		}
	}
	if parts, isList := item["parts"].([]any); isList {
		return fromParts(item, parts, defaultRole)
	}
	if !hasAny(item, "role", "content", "contents", "tool_calls") {
		return nil
	}
	if blocks := blocksOf(item); blocks != nil {
		return fromParts(item, blocks, defaultRole)
	}
	message := whose(item, defaultRole)
	message["content"] = item["content"]
	return []any{finished(message, item, nil)}
}

// hasAny tells whether one of the keys is there, be it with an empty value.
func hasAny(fields object, keys ...string) bool {
	for _, key := range keys {
		if _, found := fields[key]; found {
			return true
		}
	}
	return false
}

// whose is the message's role in the chat format's words; one that it lacks becomes the name of who spoke.
func whose(item object, defaultRole string) object {
	said := strip(textOf(item["role"]))
	role := strings.ToLower(said)
	if other, known := otherRoles[role]; known {
		role = other
	}
	switch {
	case drawnRoles[role]:
		return object{"role": role}
	case said != "":
		return object{"role": defaultRole, "name": said}
	default:
		return object{"role": defaultRole}
	}
}

// finished is the message with the calls of tools and whatever else the item says in the chat format already.
func finished(message, item object, calls []any) object {
	copyPresent(message, item, chatKeys...)
	said, _ := item["tool_calls"].([]any)
	for _, call := range said {
		if fields, isObject := call.(object); isObject {
			calls = append(calls, toolCall(fields))
		}
	}
	if len(calls) > 0 {
		message["tool_calls"] = calls
	}
	return message
}

// copyPresent copies the keys that have a value.
func copyPresent(to, from object, keys ...string) {
	for _, key := range keys {
		if from[key] != nil {
			to[key] = from[key]
		}
	}
}

// blocksOf is content that is a list of typed blocks, or of OpenInference's; nil for text and all else. Text is taken for
// blocks only where all of them have a type: a program may well ask about JSON.
func blocksOf(item object) []any {
	if contents, isList := item["contents"].([]any); isList {
		items := make([]any, 0, len(contents))
		for _, content := range contents {
			if fields, isObject := content.(object); isObject {
				items = append(items, openInferenceItem(fields))
			}
		}
		return items
	}
	known := isPart
	if _, isText := item["content"].(string); isText {
		known = isTyped
	}
	blocks, _ := parsed(item["content"]).([]any)
	for _, block := range blocks {
		if fields, isObject := block.(object); !isObject || !known(fields) {
			return nil
		}
	}
	if len(blocks) == 0 {
		return nil
	}
	return blocks
}

func openInferenceItem(content object) any {
	var entry any = content
	if inner, wrapped := content["message_content"]; wrapped {
		entry = inner
	}
	fields, isObject := entry.(object)
	if !isObject {
		return textItem(entry)
	}
	if image, isImage := fields["image"].(object); isImage {
		return urlItem("image", textOf(imageURL(image)))
	}
	kind := fields["type"]
	if text, isText := fields["text"]; isText && kind != "reasoning" && kind != "thinking" {
		return textItem(text)
	}
	return fields
}

func imageURL(image object) any {
	inner, wrapped := image["image"]
	if !wrapped {
		return image["url"]
	}
	if fields, isObject := inner.(object); isObject {
		return fields["url"]
	}
	return inner
}

// toolCall reads one tool call: the chat format's, OpenInference's `tool_call.*` or OpenLLMetry's flat one.
func toolCall(call object) object {
	if inner, wrapped := call["tool_call"].(object); wrapped {
		call = inner
	}
	function, nested := call["function"].(object)
	if !nested {
		function = call
	}
	name := firstOf(function, "name", "toolName")
	arguments := firstOf(function, "arguments", "args", "input")
	return newCall(firstOf(call, "id", "toolCallId"), name, arguments)
}

// firstOf is the value of the first key that is there, be it empty.
func firstOf(fields object, keys ...string) any {
	for _, key := range keys {
		if value, found := fields[key]; found {
			return value
		}
	}
	return nil
}

// fromParts is the message itself, unless it holds nothing but tools' answers, then a message for each of those. Answers
// that a user's message holds are to the calls before it, and come first.
func fromParts(item object, parts []any, defaultRole string) []any {
	var read partsRead
	for _, part := range parts {
		read.add(part)
	}
	if read.onlyAnswers() {
		return read.answers
	}
	message := whose(item, defaultRole)
	message["content"] = collapse(read.content)
	if len(read.reasoning) > 0 {
		message["reasoning_content"] = strings.Join(read.reasoning, "\n")
	}
	message = finished(message, item, read.calls)
	if message["role"] == "user" {
		return append(read.answers, message)
	}
	return append([]any{message}, read.answers...)
}
