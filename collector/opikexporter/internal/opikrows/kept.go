package opikrows

import (
	"encoding/json"
	"iter"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Of what is remembered, that which a restart must not undo can be had as text, and given to another memory.

// keptScore is how the moment of a score is kept.
type keptScore struct {
	Project   string            `json:"project"`
	Workspace string            `json:"workspace,omitempty"`
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Moment    pcommon.Timestamp `json:"moment"`
}

// Scores are the moments of the newest scores, as text, the oldest first; nil if there are none.
func (m *Memory) Scores() []byte {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return textOfAll(m.scores.all(), func(key scoreKey, moment pcommon.Timestamp) keptScore {
		return keptScore{key.destination.Project, key.destination.Workspace, key.id, key.name, moment}
	})
}

// RecallScores takes such a text, or none.
func (m *Memory) RecallScores(text []byte) error {
	kept, err := lastOf[keptScore](text, maxRememberedScores)
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, each := range kept {
		m.scores.put(scoreKey{Destination{each.Project, each.Workspace}, each.ID, each.Name}, each.Moment)
	}
	return err
}

// keptTime is how the time that an unstamped foreign trace settled on is kept.
type keptTime struct {
	Trace  pcommon.TraceID `json:"trace"`
	Millis int64           `json:"millis"`
}

// Times are those that foreign traces settled on, as text, the oldest first; nil if there are none.
func (m *Memory) Times() []byte {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return textOfAll(m.millis.all(), func(id pcommon.TraceID, millis int64) keptTime { return keptTime{id, millis} })
}

// RecallTimes takes such a text, or none.
func (m *Memory) RecallTimes(text []byte) error {
	kept, err := lastOf[keptTime](text, maxRememberedTraces)
	m.mutex.Lock()
	defer m.mutex.Unlock()
	for _, each := range kept {
		m.millis.put(each.Trace, each.Millis)
	}
	return err
}

func textOfAll[K comparable, V, T any](entries iter.Seq2[K, V], keptAs func(K, V) T) []byte {
	var kept []T
	for key, value := range entries {
		kept = append(kept, keptAs(key, value))
	}
	if kept == nil {
		return nil
	}
	text, _ := json.Marshal(kept) // texts and numbers only
	return text
}

// lastOf what a text holds, so many at most; nothing of what cannot be read.
func lastOf[T any](text []byte, most int) ([]T, error) {
	if len(text) == 0 {
		return nil, nil
	}
	var kept []T
	if err := json.Unmarshal(text, &kept); err != nil {
		return nil, err
	}
	return kept[max(0, len(kept)-most):], nil
}
