package queueguard

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// boltShelf keeps things in a bbolt file as file_storage does, which becomes no larger than `most` bytes.
type boltShelf struct {
	component.StartFunc
	component.ShutdownFunc
	file string
	most int
	db   *bbolt.DB
}

func (b *boltShelf) GetClient(context.Context, component.Kind, component.ID, string) (storage.Client, error) {
	options := storageOptions()
	options.MaxSize = b.most
	db, err := bbolt.Open(b.file, 0o600, options)
	if err != nil {
		return nil, err
	}
	b.db = db
	return b, db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists([]byte(storageBucket))
		return err
	})
}

func (b *boltShelf) Get(ctx context.Context, key string) ([]byte, error) {
	get := storage.GetOperation(key)
	return get.Value, b.Batch(ctx, get)
}

func (b *boltShelf) Set(ctx context.Context, key string, value []byte) error {
	return b.Batch(ctx, storage.SetOperation(key, value))
}

func (b *boltShelf) Delete(ctx context.Context, key string) error {
	return b.Batch(ctx, storage.DeleteOperation(key))
}

func (b *boltShelf) Close(context.Context) error { return b.db.Close() }

func (b *boltShelf) Batch(_ context.Context, ops ...*storage.Operation) error {
	err := b.db.Update(func(tx *bbolt.Tx) (err error) {
		bucket := tx.Bucket([]byte(storageBucket))
		for _, op := range ops {
			switch op.Type {
			case storage.Get:
				op.Value = slices.Clone(bucket.Get([]byte(op.Key)))
			case storage.Set:
				err = errors.Join(err, bucket.Put([]byte(op.Key), op.Value))
			case storage.Delete:
				err = errors.Join(err, bucket.Delete([]byte(op.Key)))
			}
		}
		return err
	})
	if errors.Is(err, berrors.ErrMaxSizeReached) {
		return storage.ErrStorageFull
	}
	return err
}

// queue does with its storage what exporterhelper's does.
type queue struct {
	t      *testing.T
	client storage.Client
	books
}

func openQueue(t *testing.T, guard *guard) *queue {
	t.Helper()
	client, err := guard.GetClient(context.Background(), component.KindExporter, owner, "traces")
	require.NoError(t, err)
	opened := &queue{t: t, client: client}
	text, err := client.Get(context.Background(), booksKey)
	require.NoError(t, err)
	found, understood := readBooks(text)
	require.True(t, understood)
	opened.books = found
	opened.moveToEnd()
	return opened
}

// moveToEnd is how exporterhelper begins with what was being sent.
func (q *queue) moveToEnd() {
	ctx := context.Background()
	var gets, deletes []*storage.Operation
	for _, number := range q.sending {
		gets, deletes = append(gets, storage.GetOperation(keyOf(number))), append(deletes, storage.DeleteOperation(keyOf(number)))
	}
	q.sending = nil
	if len(gets) == 0 {
		return
	}
	_ = q.client.Batch(ctx, gets...)
	_ = q.client.Batch(ctx, deletes...)
	for _, get := range gets {
		if get.Value != nil {
			_ = q.put(get.Value)
		}
	}
}

func (q *queue) booksText() []byte {
	text := q.text()
	if len(q.sending) > 0 {
		text = append(text, 5<<3|2, byte(8*len(q.sending)))
		for _, number := range q.sending {
			text = native.AppendUint64(text, number)
		}
	}
	return text
}

func (q *queue) put(value []byte) error {
	q.write++
	return q.client.Batch(context.Background(), storage.SetOperation(booksKey, q.booksText()), storage.SetOperation(keyOf(q.write-1), value))
}

// take begins to send the next item; nil if that was forgotten.
func (q *queue) take() (number uint64, value []byte) {
	number = q.read
	q.read++
	q.sending = append(q.sending, number)
	get := storage.GetOperation(keyOf(number))
	if err := q.client.Batch(context.Background(), storage.SetOperation(booksKey, q.booksText()), get); err != nil || get.Value == nil {
		q.finish(number)
		return number, nil
	}
	return number, get.Value
}

// finish an item that was sent.
func (q *queue) finish(number uint64) {
	q.sending = slices.DeleteFunc(q.sending, func(other uint64) bool { return other == number })
	set, remove := storage.SetOperation(booksKey, q.booksText()), storage.DeleteOperation(keyOf(number))
	if q.client.Batch(context.Background(), set, remove) == nil {
		return
	}
	err := q.client.Batch(context.Background(), remove)
	if err == nil {
		err = q.client.Batch(context.Background(), set)
	}
	assert.NoError(q.t, err, "item %d", number)
}

// fill the queue until nothing more is taken. It returns what it took.
func (q *queue) fill(random *rand.Rand) (taken []string) {
	for refused := 0; refused < 3; {
		name := fmt.Sprintf("%06d", q.write)
		if q.put(append([]byte(name), make([]byte, random.IntN(400_000))...)) == nil {
			taken = append(taken, name)
		} else {
			refused++
		}
	}
	return taken
}

// drain sends all but so many items, several at once, and adds one in between now and then. It returns what it sent and added.
func (q *queue) drain(random *rand.Rand, keep uint64) (sent, added []string) {
	open := []uint64{}
	for q.read+keep < q.books.write || len(open) > 0 {
		if q.read+keep < q.books.write && len(open) < 4 && random.IntN(3) > 0 {
			if number, value := q.take(); value != nil {
				open, sent = append(open, number), append(sent, string(value[:6]))
			}
			continue
		}
		if len(open) > 0 {
			index := random.IntN(len(open))
			q.finish(open[index])
			open = slices.Delete(open, index, index+1)
		}
		if name := fmt.Sprintf("%06d", q.books.write); random.IntN(8) == 0 && q.put(append([]byte(name), make([]byte, random.IntN(400_000))...)) == nil {
			added = append(added, name)
		}
	}
	return sent, added
}

// A queue in a file that may become no larger can always be emptied, keeps all that it took, and takes again when it is empty.
func TestAFullFileCanBeEmptied(t *testing.T) {
	for seed := range uint64(12) {
		random := rand.New(rand.NewPCG(seed, 1))
		behind := &boltShelf{file: filepath.Join(t.TempDir(), "queue"), most: 8 << 20}
		guard, _ := guarding(t, ward{shelfID: behind}, &disk{free: 1 << 40, size: 1 << 40})
		var taken, sent []string
		opened := openQueue(t, guard)
		for range 4 {
			filled := opened.fill(random)
			some, added := opened.drain(random, uint64(random.IntN(10)))
			taken, sent = slices.Concat(taken, filled, added), append(sent, some...)
		}
		rest, added := opened.drain(random, 0)
		taken, sent = append(taken, added...), append(sent, rest...)
		assert.ElementsMatch(t, taken, sent, "seed %d", seed)
		assert.NotEmpty(t, opened.fill(random), "seed %d: it takes nothing any more", seed)
		require.NoError(t, opened.client.Close(context.Background()))
	}
}
