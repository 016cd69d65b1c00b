package queueguard

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
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

// A bucket among the items, as an older page in another's place may hold one, could not be deleted by file_storage.
func TestBucketAmongItems(t *testing.T) {
	file := filepath.Join(t.TempDir(), "queue")
	db, err := bbolt.Open(file, 0o600, storageOptions())
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucket([]byte(storageBucket))
		require.NoError(t, err)
		_, err = bucket.CreateBucket([]byte("0"))
		return err
	}))
	require.NoError(t, db.Close())
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
