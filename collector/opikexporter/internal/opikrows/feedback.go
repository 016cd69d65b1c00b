package opikrows

import (
	"slices"

	"go.opentelemetry.io/collector/pdata/ptrace"
)

// A record of feedback is a span of the scope `otel_llm.feedback` (docs/feedback.md). It rides in batches like any other, so
// that it is as durable, and becomes a score of its trace or of its parent instead of a row of its own. Opik replaces a score
// of the same name, so sending again is safe.

// Rejection is a record of feedback that cannot be told to Opik.
type Rejection struct {
	// SpanID is that of the record, 16 hexadecimal digits.
	SpanID string
	Words  string
}

const (
	wordsStrange = "the trace began elsewhere, and its id alone does not tell its Opik id: give feedback with the span, or with the trace's id in Opik"
	wordsNoScore = "a record of feedback needs a name and a number"
)

// addScore puts the score that a record tells to the others, or why there can be none.
func (r *Rows) addScore(record ptrace.Span, resource attributes, routing Routing, memory *Memory) {
	said, spanID := attributesOf(record.Attributes()), record.SpanID().String()
	trace := scoredTrace(record, said, memory)
	if trace == "" {
		r.Rejections = append(r.Rejections, Rejection{spanID, wordsStrange})
		return
	}
	name := strip(textOf(said.values[attrScoreName]))
	value := said.values[attrScoreValue]
	if name == "" || !isNumber(value) {
		r.Rejections = append(r.Rejections, Rejection{spanID, wordsNoScore})
		return
	}
	to, id := &r.TraceScores, trace
	if said.text(attrFeedbackOf) == feedbackOfSpan && !record.ParentSpanID().IsEmpty() {
		to, id = &r.SpanScores, opikSpanID(trace, record.TraceID(), record.ParentSpanID())
	}
	destination := routing.destination(said, resource)
	score := object{"id": id, "project_name": destination.Project, "name": name, "value": value, "source": "sdk"}
	putText(score, "reason", textOf(said.values[attrScoreReason]))
	putText(score, "category_name", textOf(said.values[attrScoreLabel]))
	*to = append(*to, Row{id, destination, spanID, score, record.StartTimestamp()})
}

func isNumber(value any) bool {
	switch value.(type) {
	case int64, float64:
		return true
	}
	return false
}

// scoredTrace is the Opik id of the trace that a record is about; empty where nothing tells it. The record's own time does not:
// it is written when the trace is over.
func scoredTrace(record ptrace.Span, said attributes, memory *Memory) string {
	named := orText(uuid7OrNone(said.values[attrOpikTraceID]),
		saidTraceID(record, readStamp(record.TraceState().AsRaw()), record.StartTimestamp()))
	if named != "" {
		return named
	}
	if millis, known := memory.settled(record.TraceID()); known {
		return foreignTraceID(record.TraceID(), millis)
	}
	return ""
}

// scoreKey is what a score of Opik's is replaced by.
type scoreKey struct {
	destination Destination
	id          string
	name        string
}

// Newest are the scores without those that were replaced by a later one, in whatever order they come: a score has no version
// in Opik, and what waited, or is sent again, would put back what was corrected since. Safe for concurrent use, bounded.
func (m *Memory) Newest(scores []Row) []Row {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return slices.DeleteFunc(slices.Clone(scores), func(score Row) bool {
		name, _ := score.body["name"].(string)
		key := scoreKey{score.Destination, score.ID, name}
		if latest, known := m.scores.get(key); known && latest > score.moment {
			return true
		}
		m.scores.put(key, score.moment)
		if m.scores.len() > maxRememberedScores {
			m.scores.forget()
		}
		return false
	})
}
