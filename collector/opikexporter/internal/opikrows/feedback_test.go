package opikrows

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// A score that was replaced by a later one is not sent after it; one of another name, or of the same moment, is.
func TestTheNewestScoreCounts(t *testing.T) {
	score := func(name string, moment pcommon.Timestamp) Row {
		return Row{ID: "id", body: object{"name": name}, moment: moment}
	}
	memory := NewMemory()
	assert.Len(t, memory.Newest([]Row{score("a", 5), score("a", 6), score("b", 1)}), 3)
	assert.Empty(t, memory.Newest([]Row{score("a", 5)}))
	assert.Len(t, memory.Newest([]Row{score("a", 6), score("b", 2), score("a", 4)}), 2)
	for moment := range pcommon.Timestamp(2 * maxRememberedScores) {
		memory.Newest([]Row{{ID: moment.String(), body: object{"name": "a"}, moment: moment}})
	}
	assert.LessOrEqual(t, memory.scores.len(), maxRememberedScores)
}
