package opikexporter

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/metadata"
)

type jsonRow = map[string]any

// call is one request as the server saw it.
type call struct {
	of     kind
	header http.Header
	rows   []jsonRow
}

// opikServer takes rows as Opik does; `reply` may answer a call otherwise, by returning true.
type opikServer struct {
	*httptest.Server
	reply func(answer http.ResponseWriter, got call) bool

	mutex sync.Mutex
	calls []call
	rows  map[kind]map[string]jsonRow // scores by the id and the name
}

func newOpikServer(t *testing.T) *opikServer {
	server := &opikServer{rows: map[kind]map[string]jsonRow{kindTraces: {}, kindSpans: {}, kindTraceScores: {}, kindSpanScores: {}}}
	server.Server = httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		got := readCall(t, request)
		server.mutex.Lock()
		defer server.mutex.Unlock()
		server.calls = append(server.calls, got)
		if server.reply != nil && server.reply(answer, got) {
			return
		}
		for _, row := range got.rows {
			key := row["id"].(string)
			if got.of.isScores() {
				key += " " + row["name"].(string)
			}
			server.rows[got.of][key] = row
		}
		answer.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(server.Close)
	return server
}

func readCall(t *testing.T, request *http.Request) call {
	body := io.Reader(request.Body)
	if request.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(request.Body)
		assert.NoError(t, err)
		body = unpacked
	}
	var document map[string][]jsonRow
	assert.NoError(t, json.NewDecoder(body).Decode(&document))
	for of, each := range endpoints {
		if each.method == request.Method && each.path == request.URL.Path {
			return call{of, request.Header, document[each.list]}
		}
	}
	assert.Fail(t, "there is no such endpoint", "%s %s", request.Method, request.URL)
	return call{}
}

// refuse answers with a status and Opik's shape of an error.
func refuse(answer http.ResponseWriter, status int, words string) bool {
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(status)
	_ = json.NewEncoder(answer).Encode(map[string]any{"errors": []string{words}})
	return true
}

// startOpik runs an exporter without queue and retry, so that a test sees the outcome of each attempt.
func startOpik(t *testing.T, endpoint string, change ...func(*Config)) exporter.Traces {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.ClientConfig.Endpoint = endpoint
	cfg.QueueConfig = configoptional.None[exporterhelper.QueueBatchConfig]()
	cfg.RetryConfig.Enabled = false
	for _, each := range change {
		each(cfg)
	}
	started, err := NewFactory().CreateTraces(context.Background(), exportertest.NewNopSettings(metadata.Type), cfg)
	require.NoError(t, err)
	require.NoError(t, started.Start(context.Background(), componenttest.NewNopHost()))
	t.Cleanup(func() { assert.NoError(t, started.Shutdown(context.Background())) })
	return started
}

const traceMillis = 0x01a20320a200

// spansNamed is one trace with a root and a child for every other name.
func spansNamed(names ...string) ptrace.Traces {
	traces := ptrace.NewTraces()
	spans := traces.ResourceSpans().AppendEmpty()
	spans.Resource().Attributes().PutStr("service.name", "shop")
	scope := spans.ScopeSpans().AppendEmpty()
	for index, name := range names {
		span := scope.Spans().AppendEmpty()
		span.SetTraceID(pcommon.TraceID{0x01, 0xa2, 0x03, 0x20, 0xa2, 0x00, 0x7a, 0xbc, 0x8d, 15: 1})
		span.SetSpanID(pcommon.SpanID{6: byte((index + 1) >> 8), 7: byte(index + 1)})
		span.SetName(name)
		span.SetStartTimestamp(traceMillis * 1_000_000)
		span.SetEndTimestamp(traceMillis*1_000_000 + 1_000_000_000)
		if index > 0 {
			span.SetParentSpanID(pcommon.SpanID{7: 1})
		}
	}
	return traces
}

func (s *opikServer) names(of kind) []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var names []string
	for _, row := range s.rows[of] {
		names = append(names, row["name"].(string))
	}
	return names
}
