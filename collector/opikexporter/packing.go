package opikexporter

import (
	"bytes"
	"net/http"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/opikrows"
)

const (
	// maxItems is Opik's own limit on rows in one request.
	maxItems = 1000
	// maxBytes is uncompressed. Opik takes more, proxies in between often do not; a single larger row goes alone.
	maxBytes = 5_000_000
)

// kind names one of the batch endpoints.
type kind string

const (
	kindTraces      kind = "traces"
	kindSpans       kind = "spans"
	kindTraceScores kind = "trace_scores"
	kindSpanScores  kind = "span_scores"
)

// endpoint is how rows of a kind are sent, and what their list is called in the request.
type endpoint struct{ method, path, list string }

var endpoints = map[kind]endpoint{
	kindTraces:      {http.MethodPost, "/v1/private/traces/batch", "traces"},
	kindSpans:       {http.MethodPost, "/v1/private/spans/batch", "spans"},
	kindTraceScores: {http.MethodPut, "/v1/private/traces/feedback-scores", "scores"},
	kindSpanScores:  {http.MethodPut, "/v1/private/spans/feedback-scores", "scores"},
}

func (k kind) isScores() bool { return k == kindTraceScores || k == kindSpanScores }

// sorted are all rows of a batch.
func sorted(rows opikrows.Rows) []sortedRows {
	return []sortedRows{
		{kindTraces, rows.Traces}, {kindSpans, rows.Spans}, {kindTraceScores, rows.TraceScores}, {kindSpanScores, rows.SpanScores},
	}
}

// sortedRows are those of one kind, and the kinds are in the order in which they are sent.
type sortedRows struct {
	of   kind
	rows []opikrows.Row
}

// parcel is the rows of one request, and its body.
type parcel struct {
	rows []opikrows.Row
	body []byte
}

// pack puts rows, in order, into requests within the limits.
func pack(of kind, rows []opikrows.Row) []parcel {
	if of != kindTraces {
		return packAll(of, rows)
	}
	var parcels []parcel
	for _, apart := range eachIDOnce(rows) {
		parcels = append(parcels, packAll(of, apart)...)
	}
	return parcels
}

// eachIDOnce divides rows so that no id comes twice: Opik keeps one row of each id in a request, and a trace can have
// rows in several projects of a workspace.
func eachIDOnce(rows []opikrows.Row) [][]opikrows.Row {
	seen := make(map[string]bool, len(rows))
	var once, again []opikrows.Row
	for _, row := range rows {
		if seen[row.ID] {
			again = append(again, row)
			continue
		}
		seen[row.ID] = true
		once = append(once, row)
	}
	if len(again) == 0 {
		return [][]opikrows.Row{rows}
	}
	return append([][]opikrows.Row{once}, eachIDOnce(again)...)
}

func packAll(of kind, rows []opikrows.Row) []parcel {
	var parcels []parcel
	var written bytes.Buffer
	begin := 0
	closeParcel := func(end int) {
		if end > begin {
			body := append([]byte(`{"`+endpoints[of].list+`":[`), written.Bytes()...)
			parcels = append(parcels, parcel{rows[begin:end], append(body, "]}"...)})
		}
		written.Reset()
		begin = end
	}
	for index, row := range rows {
		before := written.Len()
		if before > 0 {
			written.WriteByte(',')
		}
		row.AppendJSON(&written)
		if before > 0 && (written.Len() > maxBytes || index-begin >= maxItems) {
			written.Truncate(before)
			closeParcel(index)
			row.AppendJSON(&written)
		}
	}
	closeParcel(len(rows))
	return parcels
}

// parted makes smaller requests of one: the named row apart from the others, or two halves.
func parted(of kind, whole parcel, badIndex int) []parcel {
	rows := whole.rows
	if badIndex >= 0 && badIndex < len(rows) {
		others := append(append([]opikrows.Row{}, rows[:badIndex]...), rows[badIndex+1:]...)
		return append(pack(of, rows[badIndex:badIndex+1]), pack(of, others)...)
	}
	middle := len(rows) / 2
	return append(pack(of, rows[:middle]), pack(of, rows[middle:])...)
}
