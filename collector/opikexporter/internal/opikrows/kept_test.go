package opikrows

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// What is remembered of scores can be kept as text, which another memory takes; of junk none is taken.
func TestScoresAreKept(t *testing.T) {
	score := Row{ID: "id", Destination: Destination{"p", "w"}, body: object{"name": "a"}, moment: 5}
	earlier, before := score, NewMemory()
	earlier.moment = 4
	assert.Nil(t, before.Scores())
	before.Newest([]Row{score})
	after := NewMemory()
	assert.NoError(t, after.RecallScores(before.Scores()))
	assert.NoError(t, after.RecallScores(nil))
	assert.Error(t, after.RecallScores([]byte("junk")))
	assert.Empty(t, after.Newest([]Row{earlier}))
	assert.Len(t, after.Newest([]Row{score}), 1)
}

// The time that a foreign trace settled on can be kept as text, which another memory takes, of the newest if there are more than it
// remembers; of junk none is taken.
func TestTimesOfForeignTracesAreKept(t *testing.T) {
	id, before, after := pcommon.TraceID{1, 15: 2}, NewMemory(), NewMemory()
	assert.Nil(t, before.Times())
	before.settle(id, 5)
	assert.NoError(t, after.RecallTimes(before.Times()))
	assert.NoError(t, after.RecallTimes(nil))
	assert.Error(t, after.RecallTimes([]byte("junk")))
	assert.EqualValues(t, 5, after.settle(id, 6))
	for index := range maxRememberedTraces + 1 {
		before.millis.put(pcommon.TraceID{2, 14: byte(index >> 8), 15: byte(index)}, 7)
	}
	after = NewMemory()
	assert.NoError(t, after.RecallTimes(before.Times()))
	assert.Equal(t, maxRememberedTraces, after.millis.len())
	assert.EqualValues(t, 6, after.settle(id, 6))
}
