package opikrows

import "strings"

// The parts of one message, in whatever shape: content of the chat format, tools' calls, their answers, and reasoning.
// Known are the parts of the GenAI conventions, the content blocks of OpenAI's and Anthropic's clients, and the parts
// without a type of Google's and Bedrock's.

var (
	audioFormats = map[string]string{"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav"}
	urlItems     = map[string]string{"image": "image_url", "video": "video_url", "audio": "audio_url"}

	// callParts are the types of parts that call a tool, and their key for what the tool is given.
	callParts = map[string]string{
		"tool_call":        "arguments",
		"server_tool_call": "server_tool_call",
		"tool_use":         "input",
		"server_tool_use":  "input",
	}
)

// partsRead is what the parts of a message become.
type partsRead struct {
	content, calls, answers []any
	reasoning               []string
}

// onlyAnswers tells whether there is nothing but tools' answers.
func (r *partsRead) onlyAnswers() bool {
	return len(r.answers) > 0 && len(r.content)+len(r.calls)+len(r.reasoning) == 0
}

func (r *partsRead) add(part any) {
	fields, isObject := part.(object)
	if !isObject {
		r.content = append(r.content, textItem(part))
		return
	}
	fields = typed(fields)
	kind, _ := fields["type"].(string)
	if given, isCall := callParts[kind]; isCall {
		r.calls = append(r.calls, newCall(fields["id"], fields["name"], fields[given]))
		return
	}
	switch kind {
	case "tool_call_response", "tool_result":
		r.answers = append(r.answers, toolAnswer(fields))
	case "reasoning", "thinking":
		r.reasoning = append(r.reasoning, textOf(firstOf(fields, "content", "thinking", "text")))
	default:
		r.content = append(r.content, contentItem(fields))
	}
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
	kind, isTyped := part["type"].(string)
	modality := textOf(part["modality"])
	source, hasSource := part["source"].(object)
	address, hasAddress := part["image_url"].(string)
	switch {
	case kind == "text", kind == "compaction", kind == "input_text", kind == "output_text", kind == "refusal":
		return textItem(firstOf(part, "content", "text", "refusal"))
	case kind == "uri":
		return urlItem(modality, textOf(part["uri"]))
	case kind == "blob":
		return blobItem(part, modality)
	case kind == "file" && !hasAny(part, "file"):
		return object{"type": "file", "file": object{"file_id": textOf(part["file_id"])}}
	case kind == "input_image" && hasAddress:
		return urlItem("image", address)
	case kind == "image" && hasSource:
		return imageOfSource(source)
	case isTyped:
		return part
	default:
		return textItem(compactJSON(part))
	}
}

func textItem(value any) object { return object{"type": "text", "text": textOf(value)} }

func urlItem(modality, url string) object {
	if kind, known := urlItems[modality]; known {
		return object{"type": kind, kind: object{"url": url}}
	}
	return object{"type": "file", "file": object{"file_url": url}}
}

// imageOfSource reads Anthropic's: an address, or the type and the bytes.
func imageOfSource(source object) object {
	if url, isText := source["url"].(string); isText {
		return urlItem("image", url)
	}
	return blobItem(object{"mime_type": source["media_type"], "content": source["data"]}, "image")
}

func blobItem(part object, modality string) object {
	mimeType, data := textOf(part["mime_type"]), textOf(part["content"])
	if data == "" || data[0] == '<' || data[0] == '[' { // what stands in place of bytes
		kind := mimeType
		if kind == "" {
			kind = modality
		}
		return textItem(outline(part, kind, data))
	}
	if format, known := audioFormats[mimeType]; known && modality == "audio" {
		return object{"type": "input_audio", "input_audio": object{"data": data, "format": format}}
	}
	if mimeType == "" {
		mimeType = "application/octet-stream"
	}
	url := "data:" + mimeType + ";base64," + data
	if _, known := urlItems[modality]; known {
		return urlItem(modality, url)
	}
	return object{"type": "file", "file": object{"file_data": url}}
}

// outline is what is known of media whose bytes are not on the span, for a reader: an empty image would be a broken one.
func outline(part object, kind, instead string) string {
	if kind == "" {
		kind = "data"
	}
	said := []string{kind}
	if part["byte_count"] != nil {
		said = append(said, textOf(part["byte_count"])+" bytes")
	}
	if part["base64_sha256"] != nil {
		said = append(said, "base64_sha256 "+textOf(part["base64_sha256"]))
	}
	if instead != "" {
		said = append(said, instead)
	}
	return "[" + strings.Join(said, ", ") + "]"
}

// newCall is a call of the chat format: arguments are text.
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

func toolAnswer(part object) object {
	answer := object{"role": "tool", "content": answered(firstOf(part, "response", "result", "content"))}
	if id := firstOf(part, "id", "tool_use_id"); id != nil {
		answer["tool_call_id"] = textOf(id)
	}
	if name, _ := part["name"].(string); name != "" {
		answer["name"] = name
	}
	return answer
}

// answered is a tool's answer as text; of blocks that are all text, their text.
func answered(content any) string {
	blocks, _ := content.([]any)
	texts := make([]string, 0, len(blocks))
	for _, block := range blocks {
		if text, isText := asObject(block)["text"].(string); isText {
			texts = append(texts, text)
		}
	}
	if len(blocks) > 0 && len(texts) == len(blocks) {
		return strings.Join(texts, "\n")
	}
	return textOf(content)
}

// Parts of Google, Bedrock and Vercel: most have no type, which key they have says what they are.

// untyped are the keys that tell, in the order asked.
var untyped = []struct {
	key  string
	read func(object) object
}{
	{"function_call", called},
	{"functionCall", called},
	{"toolUse", called},
	{"function_response", responded},
	{"functionResponse", responded},
	{"toolResult", responded},
	{"inline_data", inline},
	{"inlineData", inline},
	{"file_data", elsewhere},
	{"fileData", elsewhere},
}

// isTyped tells whether a block says what kind of part it is.
func isTyped(block object) bool { return hasAny(block, "type") }

// isPart tells whether it is a part of a message, be it one without a type.
func isPart(block object) bool {
	if hasAny(block, "type", "text") {
		return true
	}
	for _, shape := range untyped {
		if hasAny(block, shape.key) {
			return true
		}
	}
	return false
}

// typed is a part of theirs in the conventions' shape; any other as it is.
func typed(part object) object {
	if kind, isTyped := part["type"].(string); isTyped {
		switch kind {
		case "tool-call":
			return called(part)
		case "tool-result":
			return responded(part)
		}
		return part
	}
	for _, shape := range untyped {
		if inner, isObject := part[shape.key].(object); isObject {
			return shape.read(inner)
		}
	}
	if text, isText := part["text"].(string); isText {
		if thought, _ := part["thought"].(bool); thought {
			return object{"type": "reasoning", "content": text}
		}
		return object{"type": "text", "content": text}
	}
	return part
}

func called(inner object) object {
	return object{
		"type":      "tool_call",
		"id":        firstOf(inner, "id", "toolUseId", "toolCallId"),
		"name":      firstOf(inner, "name", "toolName"),
		"arguments": firstOf(inner, "args", "input"),
	}
}

func responded(inner object) object {
	return object{
		"type":     "tool_call_response",
		"id":       firstOf(inner, "id", "toolUseId", "toolCallId"),
		"name":     firstOf(inner, "name", "toolName"),
		"response": firstOf(inner, "response", "content", "output", "result"),
	}
}

func inline(inner object) object {
	mimeType := textOf(firstOf(inner, "mime_type", "mimeType"))
	return object{"type": "blob", "modality": modalityOf(mimeType), "mime_type": mimeType, "content": inner["data"]}
}

func elsewhere(inner object) object {
	mimeType := textOf(firstOf(inner, "mime_type", "mimeType"))
	return object{"type": "uri", "modality": modalityOf(mimeType), "uri": firstOf(inner, "file_uri", "fileUri")}
}

func modalityOf(mimeType string) string {
	modality, _, _ := strings.Cut(mimeType, "/")
	return modality
}
