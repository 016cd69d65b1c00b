package opikexporter

import (
	"bytes"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/opikrows"
)

const (
	// maxItems is Opik's own limit on rows in one request.
	maxItems = 1000
	// maxBytes is uncompressed. Opik takes more, proxies in between often do not; a single larger row goes alone.
	maxBytes = 5_000_000
)

// kind names one of the two batch endpoints, and the list in its requests.
type kind string

const (
	kindTraces kind = "traces"
	kindSpans  kind = "spans"
)

func (k kind) path() string { return "/v1/private/" + string(k) + "/batch" }

// parcel is the rows of one request, and its body.
type parcel struct {
	rows []opikrows.Row
	body []byte
}

// pack puts rows, in order, into requests within the limits.
func pack(of kind, rows []opikrows.Row) []parcel {
	var parcels []parcel
	var written bytes.Buffer
	begin := 0
	closeParcel := func(end int) {
		if end > begin {
			body := append([]byte(`{"`+string(of)+`":[`), written.Bytes()...)
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
