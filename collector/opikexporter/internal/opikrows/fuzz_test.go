package opikrows

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/ptrace"
)

// Whatever an OTLP request holds, the mapping gives one row or rejection per span and valid JSON, and the same again the second time.
func FuzzMap(f *testing.F) {
	marshaler := &ptrace.ProtoMarshaler{}
	for _, example := range readVectors(f) {
		encoded, err := marshaler.MarshalTraces(request(f, example.OTLP))
		require.NoError(f, err)
		f.Add(encoded)
	}
	f.Fuzz(func(t *testing.T, encoded []byte) {
		traces, err := (&ptrace.ProtoUnmarshaler{}).UnmarshalTraces(encoded)
		if err != nil {
			t.Skip()
		}
		rows := Map(traces, Routing{Project: "{service}-{tenant}"}, NewMemory())
		require.Equal(t, traces.SpanCount(), len(rows.Spans)+len(rows.TraceScores)+len(rows.SpanScores)+len(rows.Rejections))
		for _, body := range [][]byte{bodyOf(rows.Spans), bodyOf(rows.Traces), bodyOf(rows.TraceScores), bodyOf(rows.SpanScores)} {
			require.True(t, json.Valid(body), "%s", body)
		}
		again := Map(traces, Routing{Project: "{service}-{tenant}"}, NewMemory())
		require.Equal(t, bodyOf(rows.Spans), bodyOf(again.Spans))
		require.Equal(t, bodyOf(rows.Traces), bodyOf(again.Traces))
	})
}

// Text inside of rows is written as the Python implementation writes it.
func TestCompactJSON(t *testing.T) {
	for text, expected := range map[string]string{
		`{"b": 1, "a": [1.0, 1e20, 0.00001, 2.5]}`:         `{"a":[1.0,1e+20,1e-05,2.5],"b":1}`,
		`["<é&\u2028>", "\u0001\n\"\\"]`:                   "[\"<é&\u2028>\",\"\\u0001\\n\\\"\\\\\"]",
		`[NaN, -Infinity, "NaN", "a\"NaN"]`:                `["NaN","-Infinity","NaN","a\"NaN"]`,
		`[123456789012345678901234567890, true, null, {}]`: `[123456789012345678901234567890,true,null,{}]`,
	} {
		read, err := parseJSON(text)
		require.NoError(t, err)
		require.Equal(t, expected, compactJSON(read))
	}
	for _, bad := range []string{`[1] 2`, `{"a"}`, `[NaM]`} {
		_, err := parseJSON(bad)
		require.Error(t, err, bad)
	}
}
