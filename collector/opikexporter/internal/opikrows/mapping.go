package opikrows

import (
	"bytes"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Row is one item for Opik's batch endpoints.
type Row struct {
	// ID is the row's Opik id.
	ID string
	Destination
	// SpanID is the OpenTelemetry span (16 hexadecimal digits) that the row was made from.
	SpanID string

	body object
}

// Rows are what one request becomes. Traces are to be sent before spans.
type Rows struct {
	Traces []Row
	Spans  []Row
}

// scopeFeedback is that of records of feedback. They are about a trace that is over, often without a parent in it: a trace
// row made of one would replace the trace's own.
const scopeFeedback = "otel_llm.feedback"

// bareFields are what stays of a trace whose full row Opik refuses.
var bareFields = []string{"id", "project_name", "name", "start_time", "end_time", "source", "last_updated_at"}

// AppendJSON writes the row to `to`.
func (r Row) AppendJSON(to *bytes.Buffer) { writeJSON(to, r.body) }

// Version is the row's `last_updated_at`.
func (r Row) Version() string {
	version, _ := r.body["last_updated_at"].(string)
	return version
}

// Bare is the row with nothing but its name and times.
func (r Row) Bare() Row {
	body := object{}
	copyPresent(body, r.body, bareFields...)
	r.body = body
	return r
}

// Map turns all spans of a request into rows. `memory` carries what earlier requests of the same process told.
func Map(request ptrace.Traces, routing Routing, memory *Memory) Rows {
	turn, leave := memory.line.join()
	defer leave()
	var rows Rows
	var keys []traceKey
	groups := map[traceKey][]mappedSpan{}
	for _, span := range mapSpans(request, routing, memory) {
		rows.Spans = append(rows.Spans, Row{span.row["id"].(string), span.destination, span.spanID, span.row})
		if span.joinsExisting {
			continue
		}
		key := traceKey{span.destination, span.row["trace_id"].(string)}
		if groups[key] == nil {
			keys = append(keys, key)
		}
		groups[key] = append(groups[key], span)
	}
	<-turn
	for _, key := range keys {
		rows.Traces = append(rows.Traces, mapTrace(key, groups[key], memory))
	}
	return rows
}

func mapSpans(request ptrace.Traces, routing Routing, memory *Memory) []mappedSpan {
	var mapped []mappedSpan
	for _, resourceSpans := range request.ResourceSpans().All() {
		resource := attributesOf(resourceSpans.Resource().Attributes())
		for _, scopeSpans := range resourceSpans.ScopeSpans().All() {
			around := surroundingsOf(resource, scopeSpans.Scope())
			for _, span := range scopeSpans.Spans().All() {
				row := mapSpan(span, around, routing, memory)
				row.joinsExisting = row.joinsExisting || scopeSpans.Scope().Name() == scopeFeedback
				mapped = append(mapped, row)
			}
		}
	}
	return mapped
}

func mapTrace(key traceKey, spans []mappedSpan, memory *Memory) Row {
	notes := memory.recall(key)
	gather(spans, notes)
	top := topmost(spans)
	if !top.isRoot {
		memory.keep(key, notes)
	}
	return Row{key.traceID, key.destination, top.spanID, traceRow(top, notes)}
}
