package opikexporter

import (
	"crypto/sha256"
	"slices"
	"sync"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/opikrows"
)

// maxRememberedBatches bounds what is remembered of batches that are being retried.
const maxRememberedBatches = 64

// batchKey identifies a batch by its rows, so that a retry of it is recognised.
type batchKey [sha256.Size]byte

func keyOf(rows opikrows.Rows) batchKey {
	digest := sha256.New()
	for _, row := range slices.Concat(rows.Traces, rows.Spans) {
		digest.Write([]byte(row.ID + row.Version() + row.Project + "@" + row.Workspace + "\n"))
	}
	return batchKey(digest.Sum(nil))
}

// rejection is a span that Opik refused for good.
type rejection struct{ spanID, reason, words string }

// progress is how far a batch has come: what was answered for is not asked again, so that a batch larger than the rate
// limit gets through in the end. Used by one sender at a time.
type progress struct {
	done       map[rowKey]bool
	rejections []rejection
}

// rowKey tells rows apart: a trace with spans of several tenants has one row, of one id, in each of their projects.
type rowKey struct {
	of          kind
	destination opikrows.Destination
	id          string
}

func rowKeyOf(of kind, row opikrows.Row) rowKey { return rowKey{of, row.Destination, row.ID} }

func (p *progress) finish(of kind, rows []opikrows.Row) {
	for _, row := range rows {
		p.done[rowKeyOf(of, row)] = true
	}
}

// left are the rows of one workspace that were not answered for yet.
func (p *progress) left(of kind, rows []opikrows.Row, workspace string) []opikrows.Row {
	var waiting []opikrows.Row
	for _, row := range rows {
		if row.Workspace == workspace && !p.done[rowKeyOf(of, row)] {
			waiting = append(waiting, row)
		}
	}
	return waiting
}

// journal remembers the progress of the most recent batches that were not finished.
type journal struct {
	mutex   sync.Mutex
	batches map[batchKey]*progress
	order   []batchKey
}

func newJournal() *journal { return &journal{batches: map[batchKey]*progress{}} }

// open is the progress of a batch, new or from its last attempt.
func (j *journal) open(key batchKey) *progress {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if known := j.batches[key]; known != nil {
		delete(j.batches, key)
		j.order = slices.DeleteFunc(j.order, func(other batchKey) bool { return other == key })
		return known
	}
	return &progress{done: map[rowKey]bool{}}
}

// keep remembers the progress for the next attempt.
func (j *journal) keep(key batchKey, reached *progress) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if j.batches[key] == nil {
		j.order = append(j.order, key)
	}
	j.batches[key] = reached
	if len(j.order) > maxRememberedBatches {
		delete(j.batches, j.order[0])
		j.order = j.order[1:]
	}
}
