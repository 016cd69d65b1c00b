package opikexporter

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// recordsOf feedback on the trace of spansNamed: names, and a value for all of them, given so many seconds after the trace.
func recordsOf(value float64, seconds int, names ...string) ptrace.Traces {
	traces := ptrace.NewTraces()
	scope := traces.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
	scope.Scope().SetName("otel_llm.feedback")
	for index, name := range names {
		record := scope.Spans().AppendEmpty()
		record.SetTraceID(pcommon.TraceID{0x01, 0xa2, 0x03, 0x20, 0xa2, 0x00, 0x7a, 0xbc, 0x8d, 15: 1})
		record.SetSpanID(pcommon.SpanID{byte(seconds), 7: byte(index + 1)})
		record.SetParentSpanID(pcommon.SpanID{7: 1})
		record.SetStartTimestamp(pcommon.Timestamp(traceMillis+1000*seconds) * 1_000_000)
		record.Attributes().PutStr("gen_ai.evaluation.name", name)
		record.Attributes().PutDouble("gen_ai.evaluation.score.value", value)
		if name == "of the span" {
			record.Attributes().PutStr("otel_llm.feedback.of", "span")
		}
	}
	return traces
}

func (s *opikServer) score(of kind, name string) any {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for _, row := range s.rows[of] {
		if row["name"] == name {
			return row["value"]
		}
	}
	return nil
}

// Feedback becomes scores of the trace and of the span, after the rows of both, and no rows of its own.
func TestFeedbackBecomesScores(t *testing.T) {
	server := newOpikServer(t)
	opik := startOpik(t, server.URL)
	batch := recordsOf(0.5, 1, "thumbs", "of the span")
	spansNamed("root").ResourceSpans().MoveAndAppendTo(batch.ResourceSpans())
	require.NoError(t, opik.ConsumeTraces(context.Background(), batch))
	var kinds []kind
	for _, each := range server.calls {
		kinds = append(kinds, each.of)
	}
	assert.Equal(t, []kind{kindTraces, kindSpans, kindTraceScores, kindSpanScores}, kinds)
	assert.Equal(t, 0.5, server.score(kindTraceScores, "thumbs"))
	assert.Equal(t, 0.5, server.score(kindSpanScores, "of the span"))
	assert.Equal(t, []string{"root"}, server.names(kindSpans))
}

// One score that Opik refuses, and one that can be none, are counted; the others arrive, and are not sent again by a retry.
func TestRefusedScoresAreCounted(t *testing.T) {
	server := newOpikServer(t)
	failures := 1
	server.reply = func(answer http.ResponseWriter, got call) bool {
		if got.of == kindSpanScores && failures > 0 {
			failures--
			return refuse(answer, http.StatusServiceUnavailable, "later")
		}
		for index, row := range got.rows {
			if row["name"] == "bad" {
				return refuse(answer, http.StatusUnprocessableEntity, "scores["+string(rune('0'+index))+"].name is bad")
			}
		}
		return false
	}
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	opik := startWith(t, server.URL, telemetry)
	batch := recordsOf(1, 1, "good", "bad", "fine", " ", "of the span")
	require.Error(t, opik.ConsumeTraces(context.Background(), batch))
	before := len(server.calls)
	require.NoError(t, opik.ConsumeTraces(context.Background(), batch))
	assert.Len(t, server.calls, before+1)
	assert.ElementsMatch(t, []string{"good", "fine"}, server.names(kindTraceScores))
	assert.ElementsMatch(t, []string{"of the span"}, server.names(kindSpanScores))
	rejected, err := telemetry.GetMetric("otelcol_exporter_opik_rejected_spans")
	require.NoError(t, err)
	points := rejected.Data.(metricdata.Sum[int64]).DataPoints
	require.Len(t, points, 1)
	assert.EqualValues(t, 2, points[0].Value)
	assert.True(t, consumererror.IsPermanent(opik.ConsumeTraces(context.Background(), recordsOf(1, 1, "bad"))))
}

// What was corrected stays so, though what was said first is sent after it, as a retry is.
func TestACorrectedScoreStays(t *testing.T) {
	server := newOpikServer(t)
	opik := startOpik(t, server.URL)
	down := true
	server.reply = func(answer http.ResponseWriter, _ call) bool {
		return down && refuse(answer, http.StatusServiceUnavailable, "later")
	}
	require.Error(t, opik.ConsumeTraces(context.Background(), recordsOf(0, 1, "thumbs")))
	down = false
	require.NoError(t, opik.ConsumeTraces(context.Background(), recordsOf(1, 2, "thumbs")))
	require.NoError(t, opik.ConsumeTraces(context.Background(), recordsOf(0, 1, "thumbs")))
	assert.Equal(t, 1.0, server.score(kindTraceScores, "thumbs"))
}

// What was corrected stays so over a restart of the Collector, though what was said first waits until after it.
func TestACorrectedScoreStaysOverARestart(t *testing.T) {
	server, on := newOpikServer(t), newDisk()
	opik, _, stop := startLanes(t, server.URL, on)
	require.NoError(t, opik.ConsumeTraces(context.Background(), recordsOf(1, 2, "thumbs")))
	require.Eventually(t, func() bool { return server.score(kindTraceScores, "thumbs") == 1.0 }, longEnough, time.Millisecond)
	stop()
	opik, _, _ = startLanes(t, server.URL, on)
	require.NoError(t, opik.ConsumeTraces(context.Background(), recordsOf(0, 1, "thumbs")))
	require.NoError(t, opik.ConsumeTraces(context.Background(), recordsOf(0, 3, "other")))
	require.Eventually(t, func() bool { return server.score(kindTraceScores, "other") == 0.0 }, longEnough, time.Millisecond)
	assert.Equal(t, 1.0, server.score(kindTraceScores, "thumbs"))
}

// Scores go to the workspace of their tenant.
func TestScoresGoToTheirTenant(t *testing.T) {
	server := newOpikServer(t)
	opik := startOpik(t, server.URL, func(cfg *Config) { cfg.Tenants = map[string]string{"acme": "acme-llm @acme"} })
	batch := recordsOf(1, 1, "own", "of acme")
	batch.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(1).Attributes().PutStr("tenant.id", "acme")
	require.NoError(t, opik.ConsumeTraces(context.Background(), batch))
	went := map[any]string{}
	for _, each := range server.calls {
		for _, row := range each.rows {
			went[row["name"]] = each.header.Get("Comet-Workspace")
		}
	}
	assert.Equal(t, map[any]string{"own": "default", "of acme": "acme"}, went)
}
