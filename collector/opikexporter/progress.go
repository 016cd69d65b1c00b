package opikexporter

import (
	"crypto/sha256"
	"errors"
	"slices"
	"sync"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/opikrows"
)

const (
	// suspectAfter so many doubts a batch is divided: it may be the batch that Opik fails on.
	suspectAfter = 4
	// probeEvery so many failures it is divided without a doubt, for where all that is sent has such a row nothing is ever taken.
	probeEvery = 16
	// giveUpAfter so many doubts a row that Opik fails on alone is refused: with the usual pauses that is after a quarter of an hour.
	giveUpAfter = 20
	// maxAlone rows that Opik fails on alone end an attempt: most likely it is not the rows then.
	maxAlone = 3
	// maxProof is how large a row may be that is kept to see whether Opik takes anything.
	maxProof = 64 << 10
)

// maxRememberedBatches bounds what is remembered, for each workspace, of batches that are being retried.
const maxRememberedBatches = 64

// batchKey identifies a batch by its rows, so that a retry of it is recognised.
type batchKey [sha256.Size]byte

func keyOf(rows opikrows.Rows) batchKey {
	digest := sha256.New()
	for _, each := range sorted(rows) {
		for _, row := range each.rows {
			digest.Write([]byte(string(each.of) + row.ID + row.Version() + row.SpanID + row.Project + "@" + row.Workspace + "\n"))
		}
	}
	return batchKey(digest.Sum(nil))
}

// rejection is a span, or a record of feedback, that Opik refused for good.
type rejection struct{ spanID, reason, words string }

// progress is how far a batch has come: what was answered for is not asked again, so that a batch larger than the rate
// limit gets through in the end. Used by one sender at a time.
type progress struct {
	done       map[rowKey]bool
	rejections []rejection
	// failures are the attempts on which Opik failed (5xx), and doubts those of them on which it took other requests for the same
	// place, or had since the attempt before. In an outage it takes none, and a batch is not to blame.
	failures, doubts int
	taken            map[place]int64
	// divided says that parts of the batch were taken after it was divided for a doubt.
	divided bool
	// proof is a request of one row that was taken, for each workspace: a tenant's row goes nowhere else.
	proof map[place][]byte
}

// end an attempt at rows for one place, after which so many requests for it were taken in all.
func (p *progress) end(where place, err error, taken int64) {
	var failed *failure
	if errors.As(err, &failed) {
		p.failures++
		if taken > p.taken[where] {
			p.doubts++
		}
	}
	p.taken[where] = taken
}

// tally counts the requests that were taken, by place.
type tally struct {
	mutex  sync.Mutex
	counts map[place]int64
}

func (t *tally) add(where place) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.counts[where]++
}

func (t *tally) of(where place) int64 {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.counts[where]
}

// isSuspect says whether an error may lie with the rows.
func (p *progress) isSuspect(err error) bool {
	var failed *failure
	return (p.divided || p.doubts >= suspectAfter || p.failures%probeEvery == probeEvery-1) && errors.As(err, &failed)
}

// rowKey tells rows apart: a trace with spans of several tenants has one row, of one id, in each of their projects, and
// it may have several scores.
type rowKey struct {
	of          kind
	destination opikrows.Destination
	id          string
	record      string
}

func rowKeyOf(of kind, row opikrows.Row) rowKey {
	if of.isScores() {
		return rowKey{of, row.Destination, row.ID, row.SpanID}
	}
	return rowKey{of, row.Destination, row.ID, ""}
}

func (p *progress) finish(of kind, rows []opikrows.Row) {
	for _, row := range rows {
		p.done[rowKeyOf(of, row)] = true
	}
}

// place is where requests of one kind go.
type place struct {
	of        kind
	workspace string
}

// prove keeps one of the rows that were taken.
func (p *progress) prove(of kind, rows []opikrows.Row) {
	where := place{of, rows[0].Workspace}
	if p.proof[where] == nil {
		if body := pack(of, rows[:1])[0].body; len(body) <= maxProof {
			p.proof[where] = body
		}
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
	most    int
}

func newJournal(workspaces int) *journal {
	return &journal{batches: map[batchKey]*progress{}, most: workspaces * maxRememberedBatches}
}

// open is the progress of a batch, new or from its last attempt.
func (j *journal) open(key batchKey) *progress {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if known := j.batches[key]; known != nil {
		delete(j.batches, key)
		j.order = slices.DeleteFunc(j.order, func(other batchKey) bool { return other == key })
		return known
	}
	return &progress{done: map[rowKey]bool{}, taken: map[place]int64{}, proof: map[place][]byte{}}
}

// keep remembers the progress for the next attempt.
func (j *journal) keep(key batchKey, reached *progress) {
	j.mutex.Lock()
	defer j.mutex.Unlock()
	if j.batches[key] == nil {
		j.order = append(j.order, key)
	}
	j.batches[key] = reached
	if len(j.order) > j.most {
		delete(j.batches, j.order[0])
		j.order = j.order[1:]
	}
}
