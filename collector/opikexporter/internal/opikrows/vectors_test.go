package opikrows

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

const vectorsPattern = "../../../../tests/vectors/opik/*.json"

// vector is one golden example of a rule; docs/opik.md describes the format.
type vector struct {
	Name   string
	Config struct {
		Project string
		Service string
		Tenants map[string]string
	}
	Earlier  []json.RawMessage
	OTLP     json.RawMessage
	Expected struct {
		Traces          json.RawMessage
		Spans           json.RawMessage
		TraceScores     json.RawMessage `json:"trace_scores"`
		SpanScores      json.RawMessage `json:"span_scores"`
		Rejected        []string
		Workspaces      []*string
		ScoreWorkspaces []*string `json:"score_workspaces"`
	}
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	paths, err := filepath.Glob(vectorsPattern)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 160, "the golden vectors are missing")
	vectors := make([]vector, len(paths))
	for index, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &vectors[index]), path)
	}
	return vectors
}

func request(t testing.TB, otlp []byte) ptrace.Traces {
	t.Helper()
	traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(otlp)
	require.NoError(t, err)
	return traces
}

func (v vector) rows(t testing.TB) Rows {
	routing := Routing{v.Config.Project, v.Config.Service, v.Config.Tenants}
	require.NoError(t, routing.Validate())
	memory := NewMemory()
	for _, earlier := range v.Earlier {
		Map(request(t, earlier), routing, memory)
	}
	return Map(request(t, v.OTLP), routing, memory)
}

func bodyOf(rows []Row) []byte {
	written := bytes.NewBufferString("[")
	for index, row := range rows {
		if index > 0 {
			written.WriteByte(',')
		}
		row.AppendJSON(written)
	}
	written.WriteByte(']')
	return written.Bytes()
}

// exactly reads JSON with its numbers as they are written, whole floats as whole numbers.
func exactly(t testing.TB, text []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	var read any
	require.NoError(t, decoder.Decode(&read), string(text))
	return wholeFloats(read)
}

// wholeFloats compares 1.0 equal to 1, as JSON does, and keeps all digits of large integers.
func wholeFloats(value any) any {
	switch read := value.(type) {
	case json.Number:
		if _, err := read.Int64(); err == nil {
			return read.String()
		}
		number, _ := read.Float64()
		return floatText(number)[:len(floatText(number))-len(wholeSuffix(floatText(number)))]
	case []any:
		for index := range read {
			read[index] = wholeFloats(read[index])
		}
	case map[string]any:
		for key := range read {
			read[key] = wholeFloats(read[key])
		}
	}
	return value
}

func wholeSuffix(number string) string {
	if len(number) > 2 && number[len(number)-2:] == ".0" {
		return ".0"
	}
	return ""
}

func orNone(rows json.RawMessage) json.RawMessage {
	if rows == nil {
		return json.RawMessage("[]")
	}
	return rows
}

func assertWorkspaces(t *testing.T, all []*string, rows []Row) {
	t.Helper()
	for index, row := range rows {
		expected := ""
		if index < len(all) && all[index] != nil {
			expected = *all[index]
		}
		assert.Equal(t, expected, row.Workspace)
	}
}

// Every golden vector becomes exactly the rows that the Python implementation makes of it.
func TestVectors(t *testing.T) {
	for _, example := range readVectors(t) {
		t.Run(example.Name, func(t *testing.T) {
			rows := example.rows(t)
			assert.Equal(t, exactly(t, example.Expected.Traces), exactly(t, bodyOf(rows.Traces)), "traces")
			assert.Equal(t, exactly(t, example.Expected.Spans), exactly(t, bodyOf(rows.Spans)), "spans")
			assert.Equal(t, exactly(t, orNone(example.Expected.TraceScores)), exactly(t, bodyOf(rows.TraceScores)), "trace scores")
			assert.Equal(t, exactly(t, orNone(example.Expected.SpanScores)), exactly(t, bodyOf(rows.SpanScores)), "span scores")
			assertWorkspaces(t, example.Expected.Workspaces, rows.Spans)
			assertWorkspaces(t, example.Expected.ScoreWorkspaces, slices.Concat(rows.TraceScores, rows.SpanScores))
			var rejected []string
			for _, each := range rows.Rejections {
				rejected = append(rejected, each.SpanID)
			}
			assert.ElementsMatch(t, example.Expected.Rejected, rejected)
		})
	}
}

// Mapping a request again, in a process that knows nothing of the first time, gives the same bytes.
func TestVectorsTwice(t *testing.T) {
	for _, example := range readVectors(t) {
		first, second := example.rows(t), example.rows(t)
		assert.Equal(t, bodyOf(first.Traces), bodyOf(second.Traces), example.Name)
		assert.Equal(t, bodyOf(first.Spans), bodyOf(second.Spans), example.Name)
	}
}
