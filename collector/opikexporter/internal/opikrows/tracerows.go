package opikrows

import (
	"cmp"
	"strconv"
)

// Opik keeps, of several rows with one id, the one with the newest `last_updated_at`, whole. So that field is a version
// number: it says how good a row is, not when it was sent. Resending changes nothing, and a worse row never replaces a
// better one, in whatever order they arrive. docs/decisions/0040-opik-trace-row-version.md has the reasons.

const (
	grades              = 10
	ownInputGrade       = grades - 1
	rootAdvantageMicros = 1000
)

// copiedFields are what the trace's row takes from the topmost span's as it is.
var copiedFields = []string{
	"project_name", "name", "start_time", "end_time", "input", "output", "metadata", "error_info", "ttft",
	"environment", "source",
}

// topmost is the span whose row describes the trace best: the root, else the one that began first.
func topmost(spans []mappedSpan) mappedSpan {
	best := spans[0]
	for _, span := range spans[1:] {
		if cmp.Or(cmp.Compare(rankMicros(span), rankMicros(best)), cmp.Compare(span.spanID, best.spanID)) > 0 {
			best = span
		}
	}
	return best
}

// gather adds to the notes what these spans tell.
func gather(spans []mappedSpan, notes *traceNotes) {
	for _, span := range spans {
		tags, _ := span.row["tags"].([]any)
		for _, tag := range tags {
			notes.tags[tag.(string)] = true
		}
		if span.threadID != "" {
			notes.thread = notes.thread.earlier(&note{span.start, span.spanID, span.threadID})
		}
		if !span.isLLM {
			continue
		}
		if input, told := span.row["input"]; told {
			notes.firstInput = notes.firstInput.earlier(&note{span.start, span.spanID, input})
		}
		if output, told := span.row["output"]; told {
			notes.lastOutput = notes.lastOutput.later(&note{span.end, span.spanID, output})
		}
	}
}

// traceRow is the row of the trace that `top` is the topmost known span of.
func traceRow(top mappedSpan, notes *traceNotes) object {
	row := object{"id": top.row["trace_id"]}
	copyPresent(row, top.row, copiedFields...)
	if row["input"] == nil && notes.firstInput != nil {
		row["input"] = notes.firstInput.value
	}
	if row["output"] == nil && notes.lastOutput != nil {
		row["output"] = notes.lastOutput.value
	}
	if len(notes.tags) > 0 {
		row["tags"] = notes.sortedTags()
	}
	if top.threadID != "" {
		row["thread_id"] = top.threadID
	} else if notes.thread != nil {
		row["thread_id"] = notes.thread.value
	}
	row["last_updated_at"] = timestampMicros(rankMicros(top) + grade(top, notes))
	return row
}

// rankMicros is how well a span stands for its trace. A root: its end, at least a millisecond after the trace's own time.
// Any other: ten microseconds before that time for each that passed until it began, so what began earlier (a parent)
// wins, and never against a root.
func rankMicros(span mappedSpan) int64 {
	trace := span.traceMillis * 1000
	if span.isRoot {
		return max(int64(span.end/1000), trace+rootAdvantageMicros) //nolint:gosec // far below 2^63
	}
	return trace - grades*max(0, int64(span.start/1000)-trace) //nolint:gosec // far below 2^63
}

// grade is 0 to 9: how much is known of the trace's input. 9 its own; 8 to 1 an LLM call's, the earlier the better.
func grade(top mappedSpan, notes *traceNotes) int64 {
	if _, told := top.row["input"]; told {
		return ownInputGrade
	}
	if notes.firstInput == nil {
		return 0
	}
	offset := max(0, millisOf(notes.firstInput.moment)-top.traceMillis)
	return max(1, ownInputGrade-int64(len(strconv.FormatInt(offset, 10))))
}
