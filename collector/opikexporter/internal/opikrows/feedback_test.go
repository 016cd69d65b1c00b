package opikrows

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// A record of feedback on a trace has no parent and is newer than the trace's root: it is a span of the trace, and the
// trace's row stays what the root made it.
func TestFeedbackLeavesTheRowOfItsTraceAlone(t *testing.T) {
	request := ptrace.NewTraces()
	spans := request.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
	spans.Scope().SetName("otel_llm.feedback")
	record := spans.Spans().AppendEmpty()
	record.SetTraceID([16]byte{0x01, 0xa2, 0x03, 0x20, 0xa2, 0x00, 0x7a, 0xbc, 0x8d, 0xef, 1, 2, 3, 4, 5, 6})
	record.SetSpanID([8]byte{1})
	record.SetName("feedback thumbs")
	record.SetStartTimestamp(1795348900000000000)
	record.SetEndTimestamp(1795348900000000000)

	rows := Map(request, Routing{Service: "shop"}, NewMemory())

	assert.Empty(t, rows.Traces)
	require.Len(t, rows.Spans, 1)
	assert.Equal(t, "01a20320-a200-7abc-8def-010203040506", rows.Spans[0].body["trace_id"])
}
