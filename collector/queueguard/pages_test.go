package queueguard

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

const (
	shapes = 8  // files of all shapes
	rounds = 40 // transactions that make one
)

// shape of a file: how a queue, or whoever, came to write it.
type shape struct {
	*rand.Rand
	db   *bbolt.DB
	head int // the next number to be deleted, as a queue does it
	tail int // the next number to be put
	// what this file has: pages this large, values and other keys of up to so many bytes
	pageSize, valueSize, keySize int
}

func newShape(t *testing.T, seed uint64) *shape {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 3))
	made := &shape{Rand: random, pageSize: 1 << (10 + random.IntN(4)), valueSize: 1 << random.IntN(15), keySize: 1 << random.IntN(11)}
	options := storageOptions()
	options.PageSize = made.pageSize
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "file"), 0o600, options)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	made.db = db
	return made
}

// bytes of up to a length, short ones as often as long ones.
func (s *shape) bytes(limit int) []byte {
	made := make([]byte, 1+s.IntN(1+s.IntN(limit)))
	for index := range made {
		made[index] = byte(s.Uint32())
	}
	return made
}

// transact does some of what a queue does, and some of what only bbolt's own users could.
func (s *shape) transact(tx *bbolt.Tx) error {
	bucket, err := tx.CreateBucketIfNotExists([]byte(storageBucket))
	if other := s.IntN(10); err == nil && other < 2 { // not file_storage's
		bucket, err = tx.CreateBucketIfNotExists([]byte("another"))
		if err == nil && other == 0 {
			bucket, err = bucket.CreateBucketIfNotExists([]byte("nested" + strconv.Itoa(s.IntN(3))))
		}
	}
	if err != nil {
		return err
	}
	kind := s.IntN(6) // a whole transaction of one kind is what empties pages
	for range 1 + s.IntN(60) {
		key := []byte(strconv.Itoa(s.tail))
		switch kind {
		case 0, 1:
			s.tail++
			err = bucket.Put(key, s.bytes(s.valueSize))
		case 2:
			err = bucket.Put(s.bytes(s.keySize), s.bytes(s.valueSize))
		case 3:
			err = bucket.Delete([]byte(strconv.Itoa(s.head)))
			s.head = min(s.head+1, s.tail)
		default:
			found, value := bucket.Cursor().Seek(s.bytes(s.keySize))
			if found != nil && value != nil && kind == 4 {
				err = bucket.Delete(found)
			} else if found != nil && value != nil {
				err = bucket.Put(found, s.bytes(s.valueSize))
			}
		}
		if err != nil {
			return err
		}
	}
	return bucket.Put([]byte("wi"), binary.LittleEndian.AppendUint64(nil, uint64(s.tail)))
}

// sound says that a file as it is now, and its compacted copy, pass.
func (s *shape) sound(t *testing.T, name string) {
	t.Helper()
	directory := t.TempDir()
	copied, small := filepath.Join(directory, "copied"), filepath.Join(directory, "compacted")
	require.NoError(t, s.db.View(func(tx *bbolt.Tx) error { return tx.CopyFile(copied, 0o600) }))
	require.NoError(t, read(copied), name)
	options := storageOptions()
	options.PageSize = s.pageSize
	compacted, err := bbolt.Open(small, 0o600, options)
	require.NoError(t, err)
	require.NoError(t, bbolt.Compact(compacted, s.db, 1<<(10+s.IntN(7))))
	require.NoError(t, compacted.Close())
	require.NoError(t, read(small), name+", compacted")
	require.NoError(t, os.RemoveAll(directory))
}

// No sound file is called corrupt, whatever was written to it and deleted from it, in whatever order.
func TestSoundFilesOfAnyShapePass(t *testing.T) {
	for seed := range uint64(shapes) {
		each := newShape(t, seed)
		each.sound(t, "new")
		for round := range rounds {
			require.NoError(t, each.db.Update(each.transact))
			if round%10 == 9 {
				each.sound(t, fmt.Sprintf("seed %d, round %d", seed, round))
			}
		}
		for emptied := false; !emptied; {
			require.NoError(t, each.db.Update(func(tx *bbolt.Tx) error {
				bucket := tx.Bucket([]byte(storageBucket))
				cursor := bucket.Cursor()
				for key, _ := cursor.First(); key != nil && each.IntN(20) > 0; key, _ = cursor.First() {
					require.NoError(t, bucket.Delete(key))
				}
				first, _ := cursor.First()
				emptied = first == nil
				return nil
			}))
			each.sound(t, fmt.Sprintf("seed %d, emptied", seed))
		}
	}
}

// newQueue is a file with a queue that `fill` has put something into.
func newQueue(t *testing.T, fill func(*bbolt.Bucket) error) string {
	file := filepath.Join(t.TempDir(), "queue")
	db, err := bbolt.Open(file, 0o600, storageOptions())
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucket([]byte(storageBucket))
		require.NoError(t, err)
		return fill(bucket)
	}))
	require.NoError(t, db.Close())
	return file
}

// A bucket among the items, as an older page in another's place may hold one, could not be deleted by file_storage.
func TestBucketAmongItems(t *testing.T) {
	file := newQueue(t, func(bucket *bbolt.Bucket) error {
		_, err := bucket.CreateBucket([]byte("0"))
		return err
	})
	assert.ErrorContains(t, read(file), "items only")
}

// spot is a page of a file, and where it is.
type spot struct {
	page     []byte
	elements []element
}

// at is where an element's numbers are.
func (s spot) at(index int) []byte { return s.page[headSize+index*elementSize:] }

// branchAndLeaf finds a branch whose pages are leaves, and its second leaf.
func branchAndLeaf(t *testing.T, text []byte) (branch, leaf spot) {
	t.Helper()
	var find func(page []byte) bool
	pageAt := func(number uint64) []byte {
		return text[number*pageSize : min(uint64(len(text)), (number+16)*pageSize)]
	}
	find = func(page []byte) bool {
		elements, isLeaf, err := elementsOf(page)
		require.NoError(t, err)
		for _, each := range elements {
			switch {
			case isLeaf && each.bucket:
				return find(pageAt(native.Uint64(each.value)))
			case !isLeaf && native.Uint16(pageAt(each.page)[8:]) == branchKind:
				return find(pageAt(each.page))
			}
		}
		if isLeaf {
			return false
		}
		branch = spot{page, elements}
		leaf.page = pageAt(elements[1].page)
		leaf.elements, _, err = elementsOf(leaf.page)
		require.NoError(t, err)
		return true
	}
	newest := text[:pageSize]
	if native.Uint64(text[pageSize+64:]) > native.Uint64(newest[64:]) { // the transaction that wrote it
		newest = text[pageSize : 2*pageSize]
	}
	require.True(t, find(pageAt(native.Uint64(newest[32:])))) // the root's page
	return branch, leaf
}

// damages are those that bbolt lets pass when it opens a file, or does not survive, by what the guard says of them.
var damages = map[string]func(branch, leaf spot){
	"by another key than its first": func(branch, _ spot) { branch.elements[0].key[0]-- },
	"a key of 16":                   func(_, leaf spot) { native.PutUint32(leaf.at(0)[8:], 1<<14|native.Uint32(leaf.at(0)[8:])) },
	"a key of 0":                    func(_, leaf spot) { native.PutUint32(leaf.at(0)[8:], 0) },
	"a value of 2147":               func(_, leaf spot) { native.PutUint32(leaf.at(0)[12:], 1<<31-1) },
	"with 2147":                     func(_, leaf spot) { native.PutUint32(leaf.page[12:], 1<<31-1) },
	"calls itself":                  func(_, leaf spot) { leaf.page[0] ^= 1 },
	"kind 18":                       func(_, leaf spot) { leaf.page[8] |= 16 },
	"less than two pages":           func(branch, _ spot) { native.PutUint16(branch.page[10:], 1) },
	"is met twice":                  func(branch, _ spot) { native.PutUint64(branch.at(1)[8:], branch.elements[0].page) },
	"is not one of the file's":      func(branch, _ spot) { branch.at(1)[15] = 1 },
	"a bucket without a page":       func(_, leaf spot) { leaf.at(0)[0] |= bucketFlag; native.PutUint32(leaf.at(0)[12:], 8) },
	"another key than":              func(_, leaf spot) { native.PutUint16(leaf.page[10:], 0) }, // a leaf of nothing
}

// Each kind of damage is named for what it is, before bbolt follows it.
func TestDamageIsNamed(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	writeQueue(t, whole)
	text, err := os.ReadFile(whole)
	require.NoError(t, err)
	require.NoError(t, read(whole))
	for says, damage := range damages {
		t.Run(says, func(t *testing.T) {
			spoilt := append([]byte{}, text...)
			damage(branchAndLeaf(t, spoilt))
			file := filepath.Join(t.TempDir(), "spoilt")
			require.NoError(t, os.WriteFile(file, spoilt, 0o600))
			assert.ErrorContains(t, read(file), says)
		})
	}
}

// listed is a file whose list of free pages is written, as bbolt begins each file, and the place of that list in it.
// Its first items are large; what lay between and behind them is free.
func listed(t *testing.T) (text []byte, list int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "listed")
	options := storageOptions()
	options.NoFreelistSync, options.PageSize = false, pageSize
	db, err := bbolt.Open(file, 0o600, options)
	require.NoError(t, err)
	for number := range 40 {
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte(storageBucket))
			require.NoError(t, err)
			if number%4 == 3 {
				require.NoError(t, bucket.Delete([]byte(strconv.Itoa(number-2))))
			}
			return bucket.Put([]byte(strconv.Itoa(number)), make([]byte, pageSize*(1+number%3)))
		}))
	}
	var transaction int
	require.NoError(t, db.View(func(tx *bbolt.Tx) error {
		transaction = tx.ID()
		return nil
	}))
	require.NoError(t, db.Close())
	require.NoError(t, read(file))
	text, err = os.ReadFile(file)
	require.NoError(t, err)
	return text, int(native.Uint64(text[transaction%2*pageSize+freelistAt:])) * pageSize
}

// beforeFree is the last page before one of the free ones, with the head that says so; it belongs to an item.
func beforeFree(t *testing.T, text, list []byte) []byte {
	t.Helper()
	free := map[uint64]bool{}
	for index := range int(native.Uint16(list[10:])) {
		free[native.Uint64(list[headSize+index*numberSize:])] = true
	}
	for last := uint64(2); last < uint64(len(text)/pageSize)-1; last++ {
		for number := last; free[last+1] && !free[number] && number >= 2; number-- {
			page := text[number*pageSize:]
			if native.Uint64(page) == number && native.Uint16(page[8:]) == leafKind && uint64(native.Uint32(page[12:])) == last-number {
				return page
			}
		}
	}
	t.Fatal("no page is before a free one")
	return nil
}

// freeDamages are those of the list of free pages and of what it should not hold, by what the guard says of them.
var freeDamages = map[string]func(t *testing.T, text, list []byte){
	// bbolt's own check passes this one, and ends with "page already freed" when the item is deleted
	"is not one of the file's, or is met twice": func(t *testing.T, text, list []byte) { beforeFree(t, text, list)[12]++ },
	// and this one takes it minutes, and all memory there is
	"calls itself":  func(_ *testing.T, _, list []byte) { native.PutUint32(list[12:], 1<<30) },
	"page 1 is not": func(_ *testing.T, _, list []byte) { native.PutUint64(list[headSize:], 1) },
	"free pages":    func(_ *testing.T, _, list []byte) { native.PutUint16(list[10:], manyFree-1) },
	"kind 2 with":   func(_ *testing.T, _, list []byte) { native.PutUint16(list[8:], leafKind) },
	"free pages, where the first number counts": func(_ *testing.T, _, list []byte) {
		native.PutUint16(list[10:], manyFree)
		native.PutUint64(list[headSize:], 1<<40)
	},
}

// What the list of free pages has wrong is named, before bbolt follows it.
func TestDamageToFreePagesIsNamed(t *testing.T) {
	whole, list := listed(t)
	for says, damage := range freeDamages {
		t.Run(says, func(t *testing.T) {
			spoilt := append([]byte{}, whole...)
			damage(t, spoilt, spoilt[list:])
			file := filepath.Join(t.TempDir(), "spoilt")
			require.NoError(t, os.WriteFile(file, spoilt, 0o600))
			words, _, _ := strings.Cut(says, ", where")
			assert.ErrorContains(t, read(file), words)
		})
	}
}

// A queue of few small items is a page within its bucket's element. Two keys of it in the wrong order pass bbolt's own check,
// and as soon as the queue is larger the file cannot be opened any more.
func TestOrderWithinAnElement(t *testing.T) {
	file := newQueue(t, func(bucket *bbolt.Bucket) error {
		require.NoError(t, bucket.Put([]byte("ri"), []byte("first of the books")))
		return bucket.Put([]byte("wi"), []byte("second of the books"))
	})
	require.NoError(t, read(file))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	spoilt := bytes.ReplaceAll(text, []byte("rifirst"), []byte("zifirst"))
	require.NotEqual(t, text, spoilt)
	require.NoError(t, os.WriteFile(file, spoilt, 0o600))
	assert.ErrorContains(t, read(file), "not after the one before it")
}
