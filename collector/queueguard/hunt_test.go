//go:build hunt

package queueguard

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// A search for queue files that the guard lets pass and that bbolt does not survive all the same. No test for every day:
//
//	go test -c -tags hunt -o /tmp/hunt . && HUNT_FOR=30m HUNT_IN=/tmp/found /tmp/hunt -test.run '^TestHunt$' -test.timeout 0
//
// It makes files as a persistent queue writes them, flips 1 to 6 bits, keeps the bytes before anybody sees them, and has a
// process of its own guard and use them. A file that passes and then panics, fails or hangs stays in HUNT_IN with what was said.
const (
	huntDirectory = "HUNT_IN"
	huntTime      = "HUNT_FOR"
	huntSeed      = "HUNT_SEED"
	huntWorker    = "HUNT_WORKER"

	filesPerWorker = 3_000
	filesPerShape  = 60
	patience       = 30 * time.Second // for one file; the guard itself has less
)

func init() {
	if seed := os.Getenv(huntWorker); seed != "" {
		first, err := strconv.ParseUint(seed, 10, 64)
		if err == nil {
			err = hunt(first, os.Getenv(huntDirectory))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
}

// madeQueue is a file like a persistent queue's, and one as a crash may have left it.
type madeQueue struct {
	*rand.Rand
	db                *bbolt.DB
	read, write       int // a queue's indexes
	dispatched        []int
	pageSize, largest int  // bytes
	freelist          bool // free pages are listed, as in the file that bbolt begins
}

func (q *madeQueue) number(index int) []byte { return []byte(strconv.Itoa(index)) }

func (q *madeQueue) item() []byte {
	made := make([]byte, 1+q.IntN(q.largest))
	if q.IntN(3) == 0 { // full of numbers that could be those of pages
		for at := 0; at+8 <= len(made); at += 8 {
			binary.NativeEndian.PutUint64(made[at:], uint64(q.IntN(200)))
		}
		return made
	}
	for at := range made {
		made[at] = byte(q.Uint32())
	}
	return made
}

// books are what a queue notes of itself.
func (q *madeQueue) books(bucket *bbolt.Bucket) error {
	di := binary.LittleEndian.AppendUint32(nil, uint32(len(q.dispatched)))
	for _, index := range q.dispatched {
		di = binary.LittleEndian.AppendUint64(di, uint64(index))
	}
	return errors.Join(
		bucket.Put([]byte("di"), di),
		bucket.Put([]byte("ri"), binary.LittleEndian.AppendUint64(nil, uint64(q.read))),
		bucket.Put([]byte("wi"), binary.LittleEndian.AppendUint64(nil, uint64(q.write))),
	)
}

// step is one transaction of a queue: an item comes, an item is begun with, or one was sent.
func (q *madeQueue) step(tx *bbolt.Tx, full bool) error {
	bucket, err := tx.CreateBucketIfNotExists([]byte(storageBucket))
	if err != nil {
		return err
	}
	switch kind := q.IntN(10); {
	case full && kind < 6 || kind < 2:
		err = bucket.Put(q.number(q.write), q.item())
		q.write++
	case kind < 8 && q.read < q.write:
		q.dispatched = append(q.dispatched, q.read)
		q.read++
	case len(q.dispatched) > 0:
		at := q.IntN(len(q.dispatched))
		err = bucket.Delete(q.number(q.dispatched[at]))
		q.dispatched = append(q.dispatched[:at], q.dispatched[at+1:]...)
	}
	return errors.Join(err, q.books(bucket))
}

// makeQueue writes a file and returns its bytes.
func makeQueue(random *rand.Rand, directory string) (text []byte, page int, err error) {
	q := &madeQueue{Rand: random, pageSize: 4096}
	if random.IntN(4) == 0 {
		q.pageSize = 1024 << random.IntN(3)
	}
	q.largest = []int{20, 200, 1500, 6000, 20_000, 120_000}[random.IntN(6)]
	q.freelist = random.IntN(4) == 0
	q.write = []int{0, 0, 7, 90, 950, 99_990}[random.IntN(6)]
	q.read = q.write
	options := storageOptions()
	options.PageSize, options.NoFreelistSync = q.pageSize, !q.freelist
	if random.IntN(2) == 0 {
		options.FreelistType = bbolt.FreelistArrayType
	}
	file := filepath.Join(directory, "made")
	_ = os.Remove(file)
	if q.db, err = bbolt.Open(file, 0o600, options); err != nil {
		return nil, 0, err
	}
	steps := 1 + random.IntN(1+random.IntN(400))
	if q.largest > 5000 {
		steps = min(steps, 60)
	}
	turn := random.IntN(steps + 1)
	var before []byte
	for index := range steps {
		if index == steps-1 {
			before, err = os.ReadFile(file)
		}
		err = errors.Join(err, q.db.Update(func(tx *bbolt.Tx) error { return q.step(tx, index < turn) }))
		if err != nil {
			return nil, 0, err
		}
	}
	if random.IntN(5) == 0 { // compacted, as at a start
		small := filepath.Join(directory, "small")
		_ = os.Remove(small)
		compacted, err := bbolt.Open(small, 0o600, options)
		if err != nil {
			return nil, 0, err
		}
		if err := errors.Join(bbolt.Compact(compacted, q.db, 1<<16), compacted.Close(), q.db.Close()); err != nil {
			return nil, 0, err
		}
		text, err = os.ReadFile(small)
		return text, q.pageSize, err
	}
	if err := q.db.Close(); err != nil {
		return nil, 0, err
	}
	if text, err = os.ReadFile(file); err != nil {
		return nil, 0, err
	}
	if random.IntN(3) == 0 && len(before) >= 2*q.pageSize { // killed within the last transaction: pages written, the meta not
		copy(text, before[:2*q.pageSize])
		for at := 2 * q.pageSize; at < len(before); at += q.pageSize {
			if random.IntN(4) == 0 {
				copy(text[at:at+q.pageSize], before[at:at+q.pageSize])
			}
		}
	}
	return text, q.pageSize, nil
}

// inUse are the beginnings of the pages that a file's newest state has.
func inUse(file string) (numbers []uint64) {
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: time.Second})
	if err != nil {
		return nil
	}
	defer db.Close()
	_ = db.View(func(tx *bbolt.Tx) error {
		for id := uint64(0); ; id++ {
			page, err := tx.Page(int(id))
			if err != nil || page == nil {
				return err
			}
			if page.Type != "free" {
				numbers = append(numbers, id)
			}
			id += uint64(page.OverflowCount)
		}
	})
	return numbers
}

// flip 1 to 6 bits: in the head of a page, among its first elements, or anywhere in it.
func flip(random *rand.Rand, text []byte, page int, numbers []uint64) (said string) {
	for range 1 + random.IntN(6) {
		start := int(numbers[random.IntN(len(numbers))]) * page
		length := []int{headSize, headSize + 3*elementSize, 200, page}[random.IntN(4)]
		at := start + random.IntN(length)
		if at >= len(text) {
			continue
		}
		bit := random.IntN(8)
		text[at] ^= 1 << bit
		said += fmt.Sprintf(" %d+%d.%d", start/page, at-start, bit)
	}
	return said
}

// using is what file_storage and a queue could do with such a file, in an order of its own each time.
func using(random *rand.Rand, file string) error {
	db, err := bbolt.Open(file, 0o600, storageOptions())
	if err != nil {
		return err
	}
	keys, err := keysOf(db)
	if err != nil {
		return err
	}
	if random.IntN(3) == 0 {
		random.Shuffle(len(keys), func(one, other int) { keys[one], keys[other] = keys[other], keys[one] })
	}
	added, atOnce, again := 100_000, 1, random.IntN(2) == 0
	if random.IntN(3) == 0 {
		atOnce = 1 + random.IntN(40)
	}
	if random.IntN(4) == 0 {
		added = 0
	}
	puts := random.IntN(3) > 0
	for begin := 0; begin < len(keys); begin += atOnce {
		if err := db.Update(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket([]byte(storageBucket))
			for _, key := range keys[begin:min(begin+atOnce, len(keys))] {
				if err := bucket.Delete(key); err != nil {
					return err
				}
				if puts {
					added++
					if err := bucket.Put([]byte(strconv.Itoa(added)), make([]byte, random.IntN(7000))); err != nil {
						return err
					}
				}
			}
			return bucket.Put([]byte("di"), make([]byte, random.IntN(50)))
		}); err != nil {
			return err
		}
		if again && begin > len(keys)/2 {
			again = false
			if random.IntN(2) == 0 {
				if err := compactInto(&db, file); err != nil {
					return err
				}
				continue
			}
			if err := db.Close(); err != nil {
				return err
			}
			if db, err = bbolt.Open(file, 0o600, storageOptions()); err != nil {
				return err
			}
		}
	}
	if err := compactInto(&db, file); err != nil {
		return err
	}
	return db.Close()
}

// compactInto puts a compacted copy into the file's place, as file_storage does.
func compactInto(db **bbolt.DB, file string) error {
	to := file + ".compacted"
	_ = os.Remove(to)
	compacted, err := bbolt.Open(to, 0o600, storageOptions())
	if err != nil {
		return err
	}
	if err := bbolt.Compact(compacted, *db, 1<<16); err != nil {
		return err
	}
	if err := errors.Join((*db).Close(), compacted.Close(), os.Rename(to, file)); err != nil {
		return err
	}
	*db, err = bbolt.Open(file, 0o600, storageOptions())
	return err
}

// guarded catches what can be caught, as the process that checks a file ends by it.
func guarded(what func() error) (err error) {
	defer func() {
		if said := recover(); said != nil {
			err = fmt.Errorf("panic: %v\n%s", said, debug.Stack())
		}
	}()
	return what()
}

// hunt goes through files; it says on stdout what it is about to do, for it may not come back.
func hunt(seed uint64, keep string) error {
	scratch := filepath.Dir(keep)
	directory, err := os.MkdirTemp(scratch, "worker")
	if err != nil {
		return err
	}
	defer os.RemoveAll(directory)
	saved, used := filepath.Join(keep, fmt.Sprintf("now-%d", os.Getppid())), filepath.Join(directory, "queue")
	var whole []byte
	var page int
	var numbers []uint64
	for index := range uint64(filesPerWorker) {
		random := rand.New(rand.NewPCG(seed+index, 11))
		if index%filesPerShape == 0 {
			if whole, page, err = makeQueue(random, directory); err != nil {
				return fmt.Errorf("no file could be made: %w", err)
			}
			_ = os.Remove(used) // what a panic has left open keeps its lock
			_ = os.WriteFile(used, whole, 0o600)
			numbers = inUse(used)
			if err := read(used); err != nil || len(numbers) == 0 {
				return fmt.Errorf("a sound file of %d pages does not pass: %w", len(numbers), err)
			}
		}
		text := bytes.Clone(whole)
		said := flip(random, text, page, numbers)
		for _, file := range []string{saved, used} {
			_ = os.Remove(file)
			if err := os.WriteFile(file, text, 0o600); err != nil {
				return err
			}
		}
		fmt.Printf("G %d%s\n", seed+index, said)
		if guarded(func() error { return read(used) }) != nil {
			fmt.Println("R")
			continue
		}
		fmt.Println("U")
		if err := guarded(func() error { return using(random, used) }); err != nil {
			fmt.Println("F", strings.ReplaceAll(err.Error(), "\n", "|"))
			to := filepath.Join(keep, fmt.Sprintf("found-%d", seed+index))
			_ = os.WriteFile(to, text, 0o600)
			_ = os.WriteFile(to+".txt", []byte(said+"\n"+err.Error()), 0o600)
		}
	}
	return nil
}

// TestHunt starts one worker after the other and keeps the files that they died of.
func TestHunt(t *testing.T) {
	limit, err := time.ParseDuration(os.Getenv(huntTime))
	require.NoError(t, err)
	keep := os.Getenv(huntDirectory)
	require.NoError(t, os.MkdirAll(keep, 0o700))
	seed, _ := strconv.ParseUint(os.Getenv(huntSeed), 10, 64)
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	var checked, passed, found int
	for until := time.Now().Add(limit); time.Now().Before(until); {
		outcome := oneWorker(t, keep, seed)
		checked, passed, found = checked+outcome.checked, passed+outcome.passed, found+outcome.found
		seed += uint64(outcome.checked) + filesPerShape
		seed -= seed % filesPerShape
		report := fmt.Sprintf("%s checked %d, passed %d, found %d, next seed %d\n", time.Now().Format(time.TimeOnly), checked, passed, found, seed)
		require.NoError(t, os.WriteFile(filepath.Join(keep, "progress"), []byte(report), 0o600))
	}
	t.Logf("checked %d, passed %d, found %d", checked, passed, found)
	require.Zero(t, found, "see %s", keep)
}

type outcome struct{ checked, passed, found int }

func oneWorker(t *testing.T, keep string, seed uint64) (got outcome) {
	t.Helper()
	worker := exec.Command(os.Args[0])
	worker.Env = append(os.Environ(), huntWorker+"="+strconv.FormatUint(seed, 10))
	var said, wrong bytes.Buffer
	lines := make(chan string, 1)
	reader, writer, err := os.Pipe()
	require.NoError(t, err)
	worker.Stdout, worker.Stderr = writer, &wrong
	require.NoError(t, worker.Start())
	_ = writer.Close()
	go func() {
		defer close(lines)
		buffer := make([]byte, 1<<16)
		for {
			count, err := reader.Read(buffer)
			if count > 0 {
				lines <- string(buffer[:count])
			}
			if err != nil {
				return
			}
		}
	}()
	hung := false
	for open := true; open; {
		select {
		case text, more := <-lines:
			said.WriteString(text)
			open = more
		case <-time.After(patience):
			hung = true
			_ = worker.Process.Kill()
		}
	}
	err = worker.Wait()
	_ = reader.Close()
	all := strings.Split(strings.TrimSpace(said.String()), "\n")
	last, current := "", ""
	for _, line := range all {
		last = line
		switch {
		case strings.HasPrefix(line, "G"):
			got.checked++
			current = line
		case line == "U":
			got.passed++
		case strings.HasPrefix(line, "F"):
			got.found++
		}
	}
	if err != nil && (last == "U" || hung || !strings.HasPrefix(last, "G")) {
		got.found++
		to := filepath.Join(keep, fmt.Sprintf("died-%d", seed+uint64(got.checked)))
		content, _ := os.ReadFile(filepath.Join(keep, fmt.Sprintf("now-%d", os.Getpid())))
		_ = os.WriteFile(to, content, 0o600)
		_ = os.WriteFile(to+".txt", fmt.Appendf(nil, "%s\n%s hung=%v %v\n%s", current, last, hung, err, wrong.String()), 0o600)
	}
	return got
}
