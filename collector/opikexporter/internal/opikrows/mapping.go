package opikrows

import (
	"bytes"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Row is one item for Opik's batch endpoints.
type Row struct {
	// ID is Opik's id of the trace or span that it is about.
	ID string
	Destination
	// SpanID is the OpenTelemetry span (16 hexadecimal digits) that the row was made from.
	SpanID string

	body object
	// moment is when the span began, or the score was given.
	moment pcommon.Timestamp
}

// Rows are what one request becomes. Traces are to be sent before spans, and both before scores.
type Rows struct {
	Traces      []Row
	Spans       []Row
	TraceScores []Row
	SpanScores  []Row
	Rejections  []Rejection
}

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
	for _, span := range rows.addSpans(request, routing, memory) {
		rows.Spans = append(rows.Spans, Row{span.row["id"].(string), span.destination, span.spanID, span.row, span.start})
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

// addSpans maps all spans but the records of feedback, which become scores.
func (r *Rows) addSpans(request ptrace.Traces, routing Routing, memory *Memory) []mappedSpan {
	var mapped []mappedSpan
	for _, resourceSpans := range request.ResourceSpans().All() {
		resource := attributesOf(resourceSpans.Resource().Attributes())
		for _, scopeSpans := range resourceSpans.ScopeSpans().All() {
			around := surroundingsOf(resource, scopeSpans.Scope())
			for _, span := range scopeSpans.Spans().All() {
				if scopeSpans.Scope().Name() == scopeFeedback {
					r.addScore(span, resource, routing, memory)
				} else {
					mapped = append(mapped, mapSpan(span, around, routing, memory))
				}
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
	return Row{key.traceID, key.destination, top.spanID, traceRow(top, notes), top.start}
}
