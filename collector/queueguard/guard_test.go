package queueguard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otel-llm/otel-llm/collector/queueguard/internal/metadata"
)

const (
	items    = 60
	itemSize = 5_000
	flips    = 6 // files with flipped bits, of each kind
	pageSize = 4 << 10
	pageHead = 64 // bytes: a page's header and its first elements
	// useVariable names a file that a process of this test is to use as file_storage does, and end well or badly.
	useVariable = "QUEUE_GUARD_TEST_USE"
)

func TestMain(m *testing.M) {
	if file := os.Getenv(useVariable); file != "" {
		if err := useQueue(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// storageOptions are those of file_storage v0.161.
func storageOptions() *bbolt.Options {
	return &bbolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, NoSync: true}
}

// writeQueue makes a file like a persistent queue's: so many items, of which some were sent and are gone.
// Every time it is the same file, byte for byte: free pages are taken in order, and one transaction deletes one item.
func writeQueue(t *testing.T, file string) {
	t.Helper()
	options := storageOptions()
	options.FreelistType, options.PageSize = bbolt.FreelistArrayType, pageSize
	db, err := bbolt.Open(file, 0o600, options)
	require.NoError(t, err)
	random := rand.New(rand.NewPCG(1, 2))
	item := make([]byte, itemSize)
	for number := range items {
		for index := range item {
			item[index] = byte(random.Uint32())
		}
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
			bucket, err := tx.CreateBucketIfNotExists([]byte("default"))
			if err != nil {
				return err
			}
			return bucket.Put([]byte(strconv.Itoa(number)), item)
		}))
	}
	for number := range items / 4 {
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("default")).Delete([]byte(strconv.Itoa(number)))
		}))
	}
	require.NoError(t, db.Close())
}

// keysOf a queue, which is made if it is not there, as file_storage does.
func keysOf(db *bbolt.DB) (keys [][]byte, err error) {
	err = db.Update(func(tx *bbolt.Tx) error {
		bucket, err := tx.CreateBucketIfNotExists([]byte(storageBucket))
		if err != nil {
			return err
		}
		return bucket.ForEach(func(key, _ []byte) error {
			keys = append(keys, append([]byte{}, key...))
			return nil
		})
	})
	return keys, err
}

// useQueue opens a file as file_storage does, and compacts, reads, adds and deletes until nothing is left.
func useQueue(file string) error {
	db, err := bbolt.Open(file, 0o600, storageOptions())
	if err != nil {
		return err
	}
	// Not closed: the process ends, and after a panic within a transaction bbolt would wait in Close for itself.
	keys, err := keysOf(db)
	if err != nil {
		return err
	}
	if err := compact(db, file+".before"); err != nil {
		return err
	}
	for index, key := range keys {
		if err := db.Update(func(tx *bbolt.Tx) error {
			bucket := tx.Bucket([]byte("default"))
			if err := bucket.Delete(key); err != nil {
				return err
			}
			return bucket.Put([]byte(strconv.Itoa(items+index)), make([]byte, itemSize))
		}); err != nil {
			return err
		}
	}
	if err := compact(db, file+".between"); err != nil {
		return err
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket([]byte("default"))
		for index := range keys {
			if err := bucket.Delete([]byte(strconv.Itoa(items + index))); err != nil {
				return err
			}
		}
		return bucket.Put([]byte("new"), make([]byte, itemSize))
	}); err != nil {
		return err
	}
	return compact(db, file+".after")
}

func compact(db *bbolt.DB, to string) error {
	compacted, err := bbolt.Open(to, 0o600, storageOptions())
	if err != nil {
		return err
	}
	defer compacted.Close()
	return bbolt.Compact(compacted, db, 1<<16)
}

// start runs the extension once over a directory.
func start(t *testing.T, directory string, change ...func(*Config)) *componenttest.Telemetry {
	t.Helper()
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	require.NoError(t, startWith(t, telemetry, directory, change...))
	return telemetry
}

func startWith(t *testing.T, telemetry *componenttest.Telemetry, directory string, change ...func(*Config)) error {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.Directory = directory
	cfg.Timeout = time.Minute // loaded machines
	for _, each := range change {
		each(cfg)
	}
	set := extensiontest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	made, err := NewFactory().Create(context.Background(), extension.Settings(set), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, made.Shutdown(context.Background())) })
	return made.Start(context.Background(), componenttest.NewNopHost())
}

func counted(t *testing.T, telemetry *componenttest.Telemetry, name string) int64 {
	t.Helper()
	found, err := telemetry.GetMetric(name)
	require.NoError(t, err)
	var points []metricdata.DataPoint[int64]
	switch data := found.Data.(type) {
	case metricdata.Sum[int64]:
		points = data.DataPoints
	case metricdata.Gauge[int64]:
		points = data.DataPoints
	}
	require.Len(t, points, 1)
	return points[0].Value
}

func namesIn(t *testing.T, directory string) []string {
	t.Helper()
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// corruptions are what was seen to keep a Collector from starting, by name.
var corruptions = map[string]func(t *testing.T, file string){
	"truncated to half": func(t *testing.T, file string) {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.NoError(t, os.Truncate(file, info.Size()/2))
	},
	"first 8 KiB random": func(t *testing.T, file string) { scribble(t, file, 0, 8<<10, 1) },
	"all random": func(t *testing.T, file string) {
		info, err := os.Stat(file)
		require.NoError(t, err)
		scribble(t, file, 0, int(info.Size()), 2)
	},
	"100 bytes of another kind": func(t *testing.T, file string) {
		require.NoError(t, os.WriteFile(file, make([]byte, 100), 0o600))
	},
	"random pages": func(t *testing.T, file string) {
		for page := 2; page < 70; page += 7 {
			scribble(t, file, int64(page)<<12, 4<<10, uint64(page))
		}
	},
	"zeroed pages": func(t *testing.T, file string) {
		handle, err := os.OpenFile(file, os.O_WRONLY, 0)
		require.NoError(t, err)
		defer handle.Close()
		_, err = handle.WriteAt(make([]byte, 256<<10), 8<<10)
		require.NoError(t, err)
	},
}

func scribble(t *testing.T, file string, at int64, length int, seed uint64) {
	t.Helper()
	handle, err := os.OpenFile(file, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer handle.Close()
	random := rand.New(rand.NewPCG(seed, seed))
	noise := make([]byte, length)
	for index := range noise {
		noise[index] = byte(random.Uint32())
	}
	_, err = handle.WriteAt(noise, at)
	require.NoError(t, err)
}

// A sound queue, an empty file, and what is not a queue file stay where they are, and nothing is counted.
func TestSoundFilesStay(t *testing.T) {
	directory := t.TempDir()
	writeQueue(t, filepath.Join(directory, "exporter_opik__traces"))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "empty"), nil, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "tempdb123"), []byte("half a copy"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "old.backup"), []byte("of recreate"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(directory, "directory"), 0o700))
	before := namesIn(t, directory)
	telemetry := start(t, directory)
	assert.Equal(t, before, namesIn(t, directory))
	assert.Zero(t, counted(t, telemetry, "otelcol_extension_queue_guard_corrupt_files"))
}

// Without the directory there is nothing to do: file_storage makes it.
func TestNoDirectory(t *testing.T) {
	start(t, filepath.Join(t.TempDir(), "none"))
}

// Every kind of corruption is noticed; the file is moved aside as it is, and counted.
func TestCorruptFilesAreMovedAside(t *testing.T) {
	for name, spoil := range corruptions {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			bad, good := filepath.Join(directory, "bad"), filepath.Join(directory, "good")
			writeQueue(t, bad)
			writeQueue(t, good)
			spoil(t, bad)
			was, err := os.ReadFile(bad)
			require.NoError(t, err)
			telemetry := start(t, directory)
			assert.Equal(t, []string{"good", quarantineName}, namesIn(t, directory))
			kept := namesIn(t, filepath.Join(directory, quarantineName))
			require.Len(t, kept, 1)
			is, err := os.ReadFile(filepath.Join(directory, quarantineName, kept[0]))
			require.NoError(t, err)
			assert.Equal(t, was, is)
			assert.EqualValues(t, 1, counted(t, telemetry, "otelcol_extension_queue_guard_corrupt_files"))
			assert.EqualValues(t, 1, counted(t, telemetry, "otelcol_extension_queue_guard_quarantined_files"))
		})
	}
}

// Whatever bits are flipped: what the guard lets pass, file_storage can use without a crash. Anywhere in the file most of
// them fall into items, which is no harm to the queue, so the heads of pages are spoilt as well. The file is always the
// same, and so are the bits: what is refused is no matter of luck.
func TestWhatPassesCanBeUsed(t *testing.T) {
	whole, again := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "again")
	writeQueue(t, whole)
	writeQueue(t, again)
	text, err := os.ReadFile(whole)
	require.NoError(t, err)
	same, err := os.ReadFile(again)
	require.NoError(t, err)
	require.Equal(t, text, same, "the file must not depend on luck")
	var refused atomic.Int64
	t.Run("spoilt", func(t *testing.T) {
		for name, place := range map[string]func(*rand.Rand) int{
			"anywhere": func(random *rand.Rand) int { return random.IntN(len(text)) },
			"in heads": func(random *rand.Rand) int { return random.IntN(len(text)/pageSize)*pageSize + random.IntN(pageHead) },
		} {
			for seed := range uint64(flips) {
				t.Run(fmt.Sprint(name, seed), func(t *testing.T) {
					t.Parallel() // under the race detector each process takes a second to end
					random := rand.New(rand.NewPCG(seed, 7))
					spoilt := append([]byte{}, text...)
					for range 1 + seed*10 {
						spoilt[place(random)] ^= 1 << random.IntN(8)
					}
					if !passesGuard(t, spoilt) {
						refused.Add(1)
					}
				})
			}
		}
	})
	assert.Positive(t, refused.Load(), "nothing was corrupt: the test shows nothing")
	assert.Less(t, refused.Load(), int64(2*flips), "the guard must not refuse everything")
	assert.True(t, passesGuard(t, text))
}

// passesGuard says whether the guard leaves such a file where it is; if it does, the file must be of use.
func passesGuard(t *testing.T, content []byte) bool {
	t.Helper()
	directory := t.TempDir()
	file := filepath.Join(directory, "queue")
	require.NoError(t, os.WriteFile(file, content, 0o600))
	start(t, directory)
	if _, err := os.Stat(file); err != nil {
		t.Log("refused")
		return false
	}
	user := exec.Command(os.Args[0])
	user.Env = []string{useVariable + "=" + file, "GORACE=atexit_sleep_ms=0"}
	said, err := user.CombinedOutput()
	assert.NoError(t, err, "%s", said)
	return true
}

// One process goes through all files up to the first that is not sound, whatever that does to it.
func TestFilesAreCheckedTogether(t *testing.T) {
	for name, spoil := range corruptions {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			var files []string
			for _, name := range []string{"a", "b", "bad", "c"} {
				files = append(files, filepath.Join(directory, name))
				writeQueue(t, files[len(files)-1])
			}
			spoil(t, files[2])
			sound, next := checkApart(context.Background(), files)
			assert.Equal(t, 2, sound)
			assert.True(t, next.corrupt, next.reason)
			sound, next = checkApart(context.Background(), files[:2])
			assert.Equal(t, 2, sound)
			assert.Zero(t, next)
		})
	}
}

// A file that another process has open is not touched; file_storage says what is the matter with it.
func TestLockedFileIsLeft(t *testing.T) {
	directory := t.TempDir()
	file := filepath.Join(directory, "queue")
	writeQueue(t, file)
	db, err := bbolt.Open(file, 0o600, storageOptions())
	require.NoError(t, err)
	defer db.Close()
	telemetry := start(t, directory)
	assert.Equal(t, []string{"queue"}, namesIn(t, directory))
	assert.Zero(t, counted(t, telemetry, "otelcol_extension_queue_guard_corrupt_files"))
}

// When the time is up the Collector starts, and what was not looked at stays.
func TestTimeIsBounded(t *testing.T) {
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, "queue"), []byte("nonsense"), 0o600))
	start(t, directory, func(cfg *Config) { cfg.Timeout = time.Nanosecond })
	assert.Equal(t, []string{"queue"}, namesIn(t, directory))
}

// Of the files moved aside the newest are kept, so that they do not fill the disk.
func TestQuarantineIsBounded(t *testing.T) {
	directory := t.TempDir()
	for number := range 4 {
		file := filepath.Join(directory, fmt.Sprintf("queue%d", 9-number)) // names in another order than times
		require.NoError(t, os.WriteFile(file, []byte("nonsense"), 0o600))
		start(t, directory)
	}
	kept := namesIn(t, filepath.Join(directory, quarantineName))
	require.Len(t, kept, 2)
	assert.Contains(t, kept[0], "queue6")
	assert.Contains(t, kept[1], "queue7")
}

// A corrupt file that cannot be moved stops the start, with words that say what to do.
func TestFileThatCannotBeMoved(t *testing.T) {
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, "queue"), []byte("nonsense"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(directory, quarantineName), nil, 0o600))
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	assert.ErrorContains(t, startWith(t, telemetry, directory), "move it yourself")
}
