package opikrows

import "strings"

// Messages of any generation become OpenAI's chat format, which is what Opik's chat view draws. A message of the GenAI
// conventions has a role and parts; the chat format has a role, content (text or a list of items), `tool_calls`, and one
// message of its own for each tool's answer.

var audioFormats = map[string]string{"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav"}

var urlItems = map[string]string{"image": "image_url", "video": "video_url", "audio": "audio_url"}

// asMessages reads chat messages from a list of messages in any known shape; nil if the value is not such a list.
func asMessages(value any, defaultRole string) []any {
	value = parsed(value)
	if wrapper, isObject := value.(object); isObject {
		value = []any{wrapper}
		if inner, isList := wrapper["messages"].([]any); isList {
			value = inner
		}
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
	for _, key := range []string{"role", "content", "contents", "tool_calls"} {
		if _, found := item[key]; found {
			return []any{fromChat(item, defaultRole)}
		}
	}
	return nil
}

// fromChat takes a message that is (nearly) in the chat format already.
func fromChat(item object, defaultRole string) object {
	message := object{"role": orElse(item["role"], defaultRole), "content": chatContent(item)}
	copyPresent(message, item, "name", "tool_call_id", "reasoning_content", "refusal", "function_call", "finish_reason")
	if calls, isList := item["tool_calls"].([]any); isList && len(calls) > 0 {
		read := make([]any, 0, len(calls))
		for _, call := range calls {
			if fields, isObject := call.(object); isObject {
				read = append(read, toolCall(fields))
			}
		}
		message["tool_calls"] = read
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

func chatContent(item object) any {
	if contents, isList := item["contents"].([]any); isList {
		items := make([]any, 0, len(contents))
		for _, content := range contents {
			if fields, isObject := content.(object); isObject {
				items = append(items, openInferenceItem(fields))
			}
		}
		return collapse(items)
	}
	if content := parsed(item["content"]); isItemList(content) {
		return content
	}
	return item["content"]
}

// isItemList tells whether the value is a list of the chat format's content items.
func isItemList(value any) bool {
	items, _ := value.([]any)
	for _, item := range items {
		fields, isObject := item.(object)
		if _, typed := fields["type"]; !isObject || !typed {
			return false
		}
	}
	return len(items) > 0
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
	if text, isText := fields["text"]; isText {
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

func newCall(id, name, arguments any) object {
	call := object{
		"type":     "function",
		"function": object{"name": textOf(name), "arguments": textOf(arguments)},
	}
	if id != nil {
		call["id"] = textOf(id)
	}
	return call
}

// partsRead is a message's parts, sorted by what they become.
type partsRead struct {
	content, calls, answers []any
	reasoning               []string
}

func (r *partsRead) add(part any) {
	fields, isObject := part.(object)
	if !isObject {
		r.content = append(r.content, textItem(part))
		return
	}
	switch kind, _ := fields["type"].(string); kind {
	case "tool_call":
		r.calls = append(r.calls, newCall(fields["id"], fields["name"], fields["arguments"]))
	case "server_tool_call":
		r.calls = append(r.calls, newCall(fields["id"], fields["name"], fields["server_tool_call"]))
	case "tool_call_response":
		r.answers = append(r.answers, toolAnswer(fields))
	case "reasoning", "thinking":
		r.reasoning = append(r.reasoning, textOf(fields["content"]))
	default:
		r.content = append(r.content, contentItem(fields))
	}
}

// fromParts is the message itself, unless it holds nothing but tools' answers, then a message for each of those.
func fromParts(item object, parts []any, defaultRole string) []any {
	var read partsRead
	for _, part := range parts {
		read.add(part)
	}
	if len(read.content)+len(read.calls)+len(read.reasoning) == 0 && len(read.answers) > 0 {
		return read.answers
	}
	message := object{"role": orElse(item["role"], defaultRole), "content": collapse(read.content)}
	if len(read.reasoning) > 0 {
		message["reasoning_content"] = strings.Join(read.reasoning, "\n")
	}
	if len(read.calls) > 0 {
		message["tool_calls"] = read.calls
	}
	copyPresent(message, item, "name", "finish_reason")
	return append([]any{message}, read.answers...)
}

func toolAnswer(part object) object {
	answer := object{"role": "tool", "content": textOf(firstOf(part, "response", "result"))}
	if part["id"] != nil {
		answer["tool_call_id"] = textOf(part["id"])
	}
	return answer
}

// collapse makes nil of nothing and plain text of a single text; anything else stays a list of items.
func collapse(items []any) any {
	if len(items) == 0 {
		return nil
	}
	if only, _ := items[0].(object); len(items) == 1 && only["type"] == "text" {
		return only["text"]
	}
	return items
}

func contentItem(part object) object {
	kind, typed := part["type"].(string)
	modality := textOf(orElse(part["modality"], ""))
	switch kind {
	case "text", "compaction":
		return textItem(firstOf(part, "content", "text"))
	case "uri":
		return urlItem(modality, textOf(part["uri"]))
	case "blob":
		return blobItem(modality, textOf(orElse(part["mime_type"], "")), textOf(part["content"]))
	case "file":
		return object{"type": "file", "file": object{"file_id": textOf(part["file_id"])}}
	}
	if typed {
		return part
	}
	return object{"type": "text", "text": compactJSON(part)}
}

func textItem(value any) object { return object{"type": "text", "text": textOf(value)} }

func urlItem(modality, url string) object {
	if kind, known := urlItems[modality]; known {
		return object{"type": kind, kind: object{"url": url}}
	}
	return object{"type": "file", "file": object{"file_url": url}}
}

func blobItem(modality, mimeType, base64Text string) object {
	if format, known := audioFormats[mimeType]; known && modality == "audio" {
		return object{"type": "input_audio", "input_audio": object{"data": base64Text, "format": format}}
	}
	if mimeType == "" {
		mimeType = "application/octet-stream"
	}
	url := "data:" + mimeType + ";base64," + base64Text
	if _, known := urlItems[modality]; known {
		return urlItem(modality, url)
	}
	return object{"type": "file", "file": object{"file_data": url}}
}
