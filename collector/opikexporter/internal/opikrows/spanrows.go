package opikrows

import (
	"regexp"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// maxEnvironment is the longest name that Opik takes; the whole one stays in the metadata.
const maxEnvironment = 150

// spanKinds are those worth telling; internal and unspecified are the rule.
var spanKinds = map[ptrace.SpanKind]string{
	ptrace.SpanKindServer:   "server",
	ptrace.SpanKindClient:   "client",
	ptrace.SpanKindProducer: "producer",
	ptrace.SpanKindConsumer: "consumer",
}

// directives speak to this mapping and say nothing about the span.
var directives = map[string]bool{
	attrOpikProject: true, attrOpikTags: true, attrOpikSpanType: true,
	attrOpikTraceID: true, attrOpikSpanID: true, attrOpikParentID: true,
}

// surroundings are what all spans of one scope share.
type surroundings struct {
	resource    attributes
	environment string
	// metadata holds the resource's attributes, and the scope's name and version.
	metadata object
	// repeatsCalls: spans `call_llm` of Google ADK say the tokens of a call that has a span of its own inside.
	repeatsCalls bool
}

// mappedSpan is a span's row, with what the trace's row is made of.
type mappedSpan struct {
	row         object
	destination Destination
	traceMillis int64
	start, end  pcommon.Timestamp
	spanID      string
	isRoot      bool
	// joinsExisting means that somebody else writes the trace's row (`opik.trace_id`).
	joinsExisting bool
	threadID      string
	// isLLM: its content is that of a call to a model.
	isLLM bool
}

func surroundingsOf(resource attributes, scope pcommon.InstrumentationScope) surroundings {
	metadata := make(object, len(resource.values)+2)
	for key, value := range resource.values {
		metadata[key] = value
	}
	putText(metadata, metaScopeName, scope.Name())
	putText(metadata, metaScopeVersion, scope.Version())
	named := orElse(resource.values[attrEnvironment], resource.values[attrEnvironmentOld])
	environment := firstLetters(strip(textOf(named)), maxEnvironment)
	return surroundings{resource, environment, metadata, scope.Name() == scopeADK && hasInnerSpans(scope.Version())}
}

// adkVersion is the beginning of a version of Google ADK.
var adkVersion = regexp.MustCompile(`^([0-9]{1,6})\.([0-9]{1,6})`)

// hasInnerSpans tells whether it is one that makes a span of the conventions inside of each `call_llm`: 1.24 or later.
func hasInnerSpans(version string) bool {
	found := adkVersion.FindStringSubmatch(version)
	if found == nil {
		return false
	}
	major, _ := strconv.Atoi(found[1])
	minor, _ := strconv.Atoi(found[2])
	return major > 1 || (major == 1 && minor >= 24)
}

// putText sets a field that has something to say.
func putText(fields object, key, text string) {
	if text != "" {
		fields[key] = text
	}
}

func mapSpan(span ptrace.Span, around surroundings, routing Routing, memory *Memory) mappedSpan {
	said := attributesOf(span.Attributes())
	start, end := span.StartTimestamp(), span.EndTimestamp()
	if start == 0 {
		start = end
	}
	position := positionOf(span, said, start, memory)
	destination := routing.destination(said, around.resource)
	kind := kindOf(said)
	isLLM := kind == kindLLM
	sides := contentOf(span, said, isLLM)
	if around.repeatsCalls && said.text(attrProviderGenA) == scopeADK && !said.has(attrOperation) {
		kind = kindGeneral // what counts, the span inside says; what was said, this one
	}
	row := object{
		"id":           position.spanID,
		"project_name": destination.Project,
		"trace_id":     position.traceID,
		"name":         orText(span.Name(), "unnamed span"),
		"type":         kind,
		"start_time":   timestamp(start),
		"metadata":     metadataOf(span, said, sides.used, around),
		"source":       "sdk",
	}
	putText(row, "parent_span_id", position.parentID)
	putText(row, "environment", around.environment)
	putObject(row, "input", sides.input)
	putObject(row, "output", sides.output)
	putObject(row, "error_info", errorInfoOf(span, said))
	if tags := tagsOf(said); len(tags) > 0 {
		row["tags"] = tags
	}
	putEnd(row, start, end)
	if kind == kindLLM {
		putModelCall(row, said)
	}
	return mappedSpan{
		row, destination, uuidMillis(position.traceID), start, end, span.SpanID().String(),
		position.isRoot, position.joinsExisting, threadOf(said), isLLM,
	}
}

func putObject(fields object, key string, value object) {
	if value != nil {
		fields[key] = value
	}
}

// putEnd sets the end, and the version of the row: the later of both times, however early. Without one the server says "now".
func putEnd(row object, start, end pcommon.Timestamp) {
	if end != 0 {
		row["end_time"] = timestamp(end)
	}
	row["last_updated_at"] = timestamp(max(start, end))
}

// putModelCall sets what Opik bills and counts by; only model calls have it, or a trace would sum it twice.
func putModelCall(row object, said attributes) {
	model := modelOf(said)
	provider := providerOf(said, model)
	putText(row, "model", model)
	putText(row, "provider", provider)
	putObject(row, "usage", usageOf(said, provider))
	if cost := costOf(said); cost != nil {
		row["total_estimated_cost"] = cost
	}
	if ttft := ttftMillisOf(said); ttft != nil {
		row["ttft"] = ttft
	}
}

// position is where a span stands in its trace, in Opik's ids.
type position struct {
	traceID, spanID, parentID string
	isRoot, joinsExisting     bool
}

func positionOf(span ptrace.Span, said attributes, start pcommon.Timestamp, memory *Memory) position {
	told := readStamp(span.TraceState().AsRaw())
	if joined := uuid7OrNone(said.values[attrOpikTraceID]); joined != "" {
		// Stamped by Opik's own OpikSpanProcessor, or joined to opik.track: it hangs where the stamp says, whatever its
		// parent is. If the trace is the one that the span's own id means, its row is ours to write.
		own := orText(uuid7OrNone(said.values[attrOpikSpanID]), opikSpanID(joined, span.TraceID(), span.SpanID()))
		return position{joined, own, uuid7OrNone(said.values[attrOpikParentID]), false, joined != saidTraceID(span, told, start)}
	}
	trace := saidTraceID(span, told, start)
	if trace == "" {
		trace = foreignTraceID(span.TraceID(), memory.settle(span.TraceID(), foreignMillis(start)))
	}
	found := position{traceID: trace, spanID: opikSpanID(trace, span.TraceID(), span.SpanID())}
	parent := span.ParentSpanID()
	found.isRoot = parent.IsEmpty()
	parentIsForeign := told != nil && told.foreignParent == parent.String()
	if !found.isRoot && !parentIsForeign {
		found.parentID = opikSpanID(trace, span.TraceID(), parent)
	}
	return found
}

// saidTraceID is the Opik trace id that the span's ids and its tracestate mean; empty where they do not say.
func saidTraceID(span ptrace.Span, told *stamp, start pcommon.Timestamp) string {
	if own := ownTraceID(span.TraceID(), start); own != "" {
		return own
	}
	if told != nil {
		return foreignTraceID(span.TraceID(), told.millis)
	}
	return ""
}

// tagsOf is the tenant first, then the call's own tags, none twice.
func tagsOf(said attributes) []any {
	var tags []any
	known := map[string]bool{"": true}
	add := func(tag string) {
		if !known[tag] {
			known[tag] = true
			tags = append(tags, tag)
		}
	}
	if tenant := said.text(attrTenant); tenant != unknownTenant {
		add(tenant)
	}
	for _, name := range []string{attrTags, attrOpikTags, attrOITags} {
		switch value := parsed(said.values[name]).(type) {
		case string:
			for tag := range strings.SplitSeq(value, ",") {
				add(strip(tag))
			}
		case []any:
			for _, tag := range value {
				add(strip(textOf(tag)))
			}
		}
	}
	return tags
}

func threadOf(said attributes) string {
	for _, name := range []string{attrThreadID, attrSession, attrConversation, attrTraceloopSession, attrADKSession} {
		if thread := strip(textOf(said.values[name])); thread != "" {
			return thread
		}
	}
	return ""
}

// metadataOf is everything else that the span says, under its own names. Of equal names the span's beats the resource's.
func metadataOf(span ptrace.Span, said attributes, used []string, around surroundings) object {
	metadata := make(object, len(around.metadata)+len(said.values)+4)
	for key, value := range around.metadata {
		metadata[key] = value
	}
	metadata[metaTraceID] = span.TraceID().String()
	metadata[metaSpanID] = span.SpanID().String()
	putText(metadata, metaSpanKind, spanKinds[span.Kind()])
	if span.Status().Code() == ptrace.StatusCodeOk {
		metadata[metaStatusCode] = "OK"
	}
	if dropped := span.DroppedAttributesCount(); dropped > 0 {
		metadata[metaDropped] = int64(dropped)
	}
	for key, value := range said.values {
		metadata[key] = value
	}
	for _, name := range used {
		delete(metadata, name)
	}
	for _, name := range said.order {
		obey(name, metadata)
	}
	if links := linksOf(span.Links()); len(links) > 0 {
		metadata[metaLinks] = links
	}
	if events := eventsOf(span.Events()); len(events) > 0 {
		metadata[metaEvents] = events
	}
	return metadata
}

// obey takes directives out of the metadata, and the prefix from what wants to be there.
func obey(name string, metadata object) {
	if directives[name] {
		delete(metadata, name)
		return
	}
	if wanted, found := strings.CutPrefix(name, opikMetadataPrefix); found && wanted != "" {
		metadata[wanted] = metadata[name]
		delete(metadata, name)
	}
}

func linksOf(links ptrace.SpanLinkSlice) []any {
	told := make([]any, 0, links.Len())
	for _, link := range links.All() {
		fields := object{"trace_id": link.TraceID().String(), "span_id": link.SpanID().String()}
		if link.Attributes().Len() > 0 {
			fields["attributes"] = attributesOf(link.Attributes()).values
		}
		told = append(told, fields)
	}
	return told
}

func eventsOf(events ptrace.SpanEventSlice) []any {
	var told []any
	for _, event := range events.All() {
		if isContentEvent(event.Name()) {
			continue
		}
		fields := object{"name": event.Name(), "time": timestamp(event.Timestamp())}
		if event.Attributes().Len() > 0 {
			fields["attributes"] = attributesOf(event.Attributes()).values
		}
		told = append(told, fields)
	}
	return told
}
