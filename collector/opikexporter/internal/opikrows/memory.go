package opikrows

import (
	"bytes"
	"cmp"
	"container/list"
	"iter"
	"maps"
	"slices"
	"sync"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

const (
	maxRememberedTraces = 2000
	maxRememberedBytes  = 8 << 20
	maxRememberedScores = 10_000
)

// note is something that one span of a trace told, and the moment and span id that rank it among others of its sort.
type note struct {
	moment pcommon.Timestamp
	spanID string
	value  any
}

// compare orders notes by moment, then by span id.
func (n *note) compare(other *note) int {
	return cmp.Or(cmp.Compare(n.moment, other.moment), cmp.Compare(n.spanID, other.spanID))
}

// earlier is the first of both; nil stands for none.
func (n *note) earlier(other *note) *note {
	if n == nil || other.compare(n) < 0 {
		return other
	}
	return n
}

// later is the last of both; nil stands for none.
func (n *note) later(other *note) *note {
	if n == nil || other.compare(n) > 0 {
		return other
	}
	return n
}

// traceKey is one trace in one project.
type traceKey struct {
	destination Destination
	traceID     string
}

// traceNotes is what is known of one trace in one project beyond its topmost span.
type traceNotes struct {
	// firstInput is of the LLM span that began first, lastOutput of the one that ended last, thread of the earliest
	// span that named one.
	firstInput, lastOutput, thread *note
	tags                           map[string]bool
	size                           int
}

func (n *traceNotes) sortedTags() []string { return slices.Sorted(maps.Keys(n.tags)) }

// measure is roughly how many bytes the notes take.
func (n *traceNotes) measure() int {
	var written bytes.Buffer
	for _, told := range []*note{n.firstInput, n.lastOutput, n.thread} {
		if told != nil {
			writeJSON(&written, told.value)
		}
	}
	writeJSON(&written, n.sortedTags())
	return written.Len()
}

// Memory carries what earlier requests told of traces whose root is still to come. It is a help and no source of truth:
// without it rows lack those fields, and their version keeps them from replacing fuller ones. Bounded by number and by
// bytes, safe for concurrent use; requests note what they tell in the order in which they came.
type Memory struct {
	line   line
	mutex  sync.Mutex
	millis *recent[pcommon.TraceID, int64]
	notes  *recent[traceKey, *traceNotes]
	scores *recent[scoreKey, pcommon.Timestamp]
	bytes  int
}

// NewMemory is one that knows nothing yet.
func NewMemory() *Memory {
	return &Memory{
		line: newLine(), millis: newRecent[pcommon.TraceID, int64](), notes: newRecent[traceKey, *traceNotes](),
		scores: newRecent[scoreKey, pcommon.Timestamp](),
	}
}

// line has those who note things about traces do it one after the other, in the order in which they came, for several batches
// are mapped at once: a trace that spans two of them would lose what one noted between another's recall and keep, and a root
// that comes right behind a large batch of its children would not know what they told.
type line struct {
	mutex sync.Mutex
	last  chan struct{} // closed when the last one who came has left
}

func newLine() line {
	nobody := make(chan struct{})
	close(nobody)
	return line{last: nobody}
}

// join takes the next place: one's turn has come when `turn` is closed, and is over with `leave`.
func (l *line) join() (turn <-chan struct{}, leave func()) {
	own := make(chan struct{})
	l.mutex.Lock()
	defer l.mutex.Unlock()
	turn, l.last = l.last, own
	return turn, func() { close(own) }
}

// settle is the time of an unstamped foreign trace: the one settled on earlier, else the proposed one.
func (m *Memory) settle(id pcommon.TraceID, proposed int64) int64 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	settled, known := m.millis.get(id)
	if !known {
		settled = proposed
	}
	m.millis.put(id, settled)
	if m.millis.len() > maxRememberedTraces {
		m.millis.forget()
	}
	return settled
}

// settled is the time of an unstamped foreign trace that was settled on earlier.
func (m *Memory) settled(id pcommon.TraceID) (millis int64, known bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.millis.get(id)
}

// recall is a copy of what is known of a trace; empty if nothing is.
func (m *Memory) recall(key traceKey) *traceNotes {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	found, known := m.notes.get(key)
	if !known {
		return &traceNotes{tags: map[string]bool{}}
	}
	return &traceNotes{found.firstInput, found.lastOutput, found.thread, maps.Clone(found.tags), found.size}
}

// keep remembers notes, and forgets the oldest traces beyond the bounds.
func (m *Memory) keep(key traceKey, notes *traceNotes) {
	notes.size = notes.measure()
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if old, known := m.notes.get(key); known {
		m.bytes -= old.size
	}
	m.notes.put(key, notes)
	m.bytes += notes.size
	for m.notes.len() > 0 && (m.bytes > maxRememberedBytes || m.notes.len() > maxRememberedTraces) {
		m.bytes -= m.notes.forget().size
	}
}

// recent is a dictionary that knows which entry was put longest ago.
type recent[K comparable, V any] struct {
	entries map[K]*list.Element
	order   *list.List
}

type recentEntry[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any]() *recent[K, V] {
	return &recent[K, V]{map[K]*list.Element{}, list.New()}
}

func (r *recent[K, V]) len() int { return len(r.entries) }

func (r *recent[K, V]) get(key K) (value V, known bool) {
	element, known := r.entries[key]
	if !known {
		return value, false
	}
	return element.Value.(recentEntry[K, V]).value, true
}

func (r *recent[K, V]) put(key K, value V) {
	if element, known := r.entries[key]; known {
		r.order.Remove(element)
	}
	r.entries[key] = r.order.PushBack(recentEntry[K, V]{key, value})
}

// all entries, from the one that was put longest ago.
func (r *recent[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for element := r.order.Front(); element != nil; element = element.Next() {
			if entry := element.Value.(recentEntry[K, V]); !yield(entry.key, entry.value) {
				return
			}
		}
	}
}

// forget drops the entry that was put longest ago, and says what it was.
func (r *recent[K, V]) forget() V {
	oldest := r.order.Remove(r.order.Front()).(recentEntry[K, V])
	delete(r.entries, oldest.key)
	return oldest.value
}
