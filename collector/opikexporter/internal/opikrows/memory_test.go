package opikrows

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// piece is so many spans of one trace: the root, or model calls with a thread, tags and content of their own.
func piece(root bool, first, count int) ptrace.Traces {
	traces := ptrace.NewTraces()
	spans := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty().Spans()
	for number := first; number < first+count; number++ {
		span := spans.AppendEmpty()
		span.SetTraceID(pcommon.TraceID{0x01, 0xa2, 0x03, 0x20, 0xa2, 0x00, 0x7a, 0xbc, 0x8d, 15: 1})
		span.SetSpanID(pcommon.SpanID{6: byte(number >> 8), 7: byte(number)})
		span.SetStartTimestamp(pcommon.Timestamp(0x01a20320a200+number) * 1_000_000)
		span.SetEndTimestamp(pcommon.Timestamp(0x01a20320a200+number) * 1_000_000)
		if root {
			continue
		}
		span.SetParentSpanID(pcommon.SpanID{7: 1})
		span.Attributes().PutStr("gen_ai.operation.name", "chat")
		span.Attributes().PutStr("gen_ai.input.messages", fmt.Sprintf(`[{"role":"user","content":"question %d"}]`, number))
		span.Attributes().PutStr("gen_ai.conversation.id", "thread")
		span.Attributes().PutStr("otel_llm.tags", fmt.Sprintf(`["tag %d"]`, number))
	}
	return traces
}

// The root's row has what a batch of its children told that came before it and is still being mapped.
func TestARootWaitsForWhatCameBefore(t *testing.T) {
	memory := NewMemory()
	_, leave := memory.line.join() // a batch that is not yet through
	last := memory.line.last
	mapped := make(chan Rows)
	go func() { mapped <- Map(piece(true, 1, 1), Routing{}, memory) }()
	require.Eventually(t, func() bool {
		memory.line.mutex.Lock()
		defer memory.line.mutex.Unlock()
		return memory.line.last != last // the root has its place behind
	}, time.Minute, time.Millisecond)
	child := piece(false, 2, 1)
	spans := new(Rows).addSpans(child, Routing{}, memory)
	mapTrace(traceKey{spans[0].destination, spans[0].row["trace_id"].(string)}, spans, memory)
	leave()
	row := (<-mapped).Traces[0]
	assert.Equal(t, "thread", row.body["thread_id"])
	assert.Equal(t, "question 2", row.body["input"].(object)["messages"].([]any)[0].(object)["content"])
}

// Batches of one trace that are mapped at once lose nothing of what each of them told.
func TestNothingNotedIsLost(t *testing.T) {
	memory := NewMemory()
	var all sync.WaitGroup
	const batches = 400
	for batch := range batches {
		all.Go(func() { Map(piece(false, 2+batch, 1), Routing{}, memory) })
	}
	all.Wait()
	rows := Map(piece(true, 1, 1), Routing{}, memory)
	require.Len(t, rows.Traces, 1)
	assert.Len(t, rows.Traces[0].body["tags"], batches)
}
