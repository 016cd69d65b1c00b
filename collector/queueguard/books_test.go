package queueguard

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
)

// What was being sent when the Collector was killed is sent after the next start, also from a disk that is full, and before what was
// not begun.
func TestWhatWasBeingSentIsKept(t *testing.T) {
	for name, change := range map[string]func(on *disk, behind *boltShelf){
		"on a full disk":    func(on *disk, _ *boltShelf) { on.free = 0 },
		"in a full file":    func(_ *disk, behind *boltShelf) { behind.most = 8 << 20 },
		"with room for all": func(*disk, *boltShelf) {},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				random := rand.New(rand.NewPCG(seed, 2))
				on := &disk{free: 1 << 40, size: 1 << 40}
				behind := &boltShelf{file: filepath.Join(t.TempDir(), "queue"), most: 8 << 20}
				guard, _ := guarding(t, ward{shelfID: behind}, on)
				first := openQueue(t, guard)
				taken := first.fill(random)
				gone := map[string]bool{}
				for range 12 {
					if number, value := first.take(); random.IntN(2) == 0 && value != nil {
						first.finish(number)
						gone[string(value[:6])] = true
					}
				}
				require.NoError(t, behind.db.Close()) // as kill -9 leaves it
				behind.most = 64 << 20
				change(on, behind)
				sent, _ := openQueue(t, guard).drain(random, 0)
				for _, each := range taken {
					assert.True(t, gone[each] || slices.Contains(sent, each), "seed %d: %s is lost", seed, each)
				}
				assert.IsNonDecreasing(t, sent[:min(len(sent), 12)], "seed %d", seed)
				require.NoError(t, behind.db.Close())
			}
		})
	}
}

// Items that were being sent move to the places before the next one, in their order; those that are gone need none.
func TestItemsMoveBeforeTheNext(t *testing.T) {
	ctx := context.Background()
	behind := &shelf{items: map[string][]byte{"3": []byte("a"), "5": []byte("b"), "8": []byte("c"), "9": []byte("next")}}
	before := &queue{books: books{items: 4, bytes: 40, read: 9, write: 10, sending: []uint64{8, 3, 6, 5}}}
	behind.items[booksKey] = before.booksText()
	guard, _ := guarding(t, ward{shelfID: behind}, &disk{})
	_, err := guard.GetClient(ctx, component.KindExporter, owner, "traces")
	require.NoError(t, err)
	found, understood := readBooks(behind.items[booksKey])
	require.True(t, understood)
	assert.Equal(t, books{items: 4, bytes: 40, read: 6, write: 10}, found)
	delete(behind.items, booksKey)
	assert.Equal(t, map[string][]byte{"6": []byte("a"), "7": []byte("b"), "8": []byte("c"), "9": []byte("next")}, behind.items)
}

// Books of another kind than known are left as they are.
func TestBooksThatAreNotUnderstood(t *testing.T) {
	for name, text := range map[string]string{
		"another field":      "\x31\x01\x00\x00\x00\x00\x00\x00\x00",
		"another type":       "\x08\x01",
		"cut off":            "\x19\x01\x00",
		"half a number":      "\x2a\x01\x00",
		"sent before begun":  "\x2a\x08\x07\x00\x00\x00\x00\x00\x00\x00",
		"read after written": "\x19\x07\x00\x00\x00\x00\x00\x00\x00",
	} {
		t.Run(name, func(t *testing.T) {
			behind := &shelf{items: map[string][]byte{"7": []byte("a"), booksKey: []byte(text)}}
			guard, _ := guarding(t, ward{shelfID: behind}, &disk{})
			_, err := guard.GetClient(context.Background(), component.KindExporter, owner, "traces")
			require.NoError(t, err)
			assert.Equal(t, map[string][]byte{"7": []byte("a"), booksKey: []byte(text)}, behind.items)
		})
	}
}
