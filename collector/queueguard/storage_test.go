package queueguard

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/otel-llm/otel-llm/collector/queueguard/internal/metadata"
)

var (
	shelfID = component.MustNewIDWithName("shelf", "queue")
	owner   = component.MustNewID("opik")
)

// shelf is a storage extension that keeps things in a map.
type shelf struct {
	component.StartFunc
	component.ShutdownFunc
	items map[string][]byte
	asked []string
}

func (s *shelf) GetClient(_ context.Context, kind component.Kind, id component.ID, name string) (storage.Client, error) {
	s.asked = append(s.asked, kind.String()+" "+id.String()+" "+name)
	return s, nil
}

func (s *shelf) Get(_ context.Context, key string) ([]byte, error) { return s.items[key], nil }

func (s *shelf) Set(_ context.Context, key string, value []byte) error {
	s.items[key] = value
	return nil
}

func (s *shelf) Delete(_ context.Context, key string) error {
	delete(s.items, key)
	return nil
}

func (s *shelf) Close(context.Context) error { return nil }

func (s *shelf) Batch(ctx context.Context, ops ...*storage.Operation) error {
	for _, op := range ops {
		switch op.Type {
		case storage.Get:
			op.Value = s.items[op.Key]
		case storage.Set:
			_ = s.Set(ctx, op.Key, op.Value)
		case storage.Delete:
			_ = s.Delete(ctx, op.Key)
		}
	}
	return nil
}

// ward is a host with these extensions.
type ward map[component.ID]component.Component

func (w ward) GetExtensions() map[component.ID]component.Component { return w }

// disk is one whose free bytes a test sets.
type disk struct{ free, size uint64 }

func guarding(t *testing.T, host component.Host, on *disk, change ...func(*Config)) (*guard, *componenttest.Telemetry) {
	t.Helper()
	cfg := NewFactory().CreateDefaultConfig().(*Config)
	cfg.Directory, cfg.Storage = t.TempDir(), &shelfID
	for _, each := range change {
		each(cfg)
	}
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	set := extensiontest.NewNopSettings(metadata.Type)
	set.TelemetrySettings = telemetry.NewTelemetrySettings()
	made, err := NewFactory().Create(context.Background(), extension.Settings(set), cfg)
	require.NoError(t, err)
	guard := made.(*guard)
	guard.disk = func(string) (uint64, uint64, bool) { return on.free, on.size, true }
	guard.look.now = func() time.Time { return time.Time{} } // no look takes any time, so each is a new one
	require.NoError(t, guard.Start(context.Background(), host))
	return guard, telemetry
}

// On an almost full disk nothing is added, and the queue's books and its emptying go on as before.
func TestAFullDiskRefusesOnlyWhatAdds(t *testing.T) {
	ctx := context.Background()
	behind := &shelf{items: map[string][]byte{}}
	on := &disk{free: 1 << 30, size: 1 << 34}
	guard, telemetry := guarding(t, ward{shelfID: behind}, on)
	client, err := guard.GetClient(ctx, component.KindExporter, owner, "traces")
	require.NoError(t, err)
	assert.Equal(t, []string{"Exporter opik traces"}, behind.asked)
	item := make([]byte, 1000)
	put := func(key string) error {
		return client.Batch(ctx, storage.SetOperation("qmv0", []byte("books")), storage.SetOperation(key, item))
	}
	require.NoError(t, put("0"))

	on.free = defaultMinFree + uint64(len(item)) - 1
	err = put("1")
	require.ErrorIs(t, err, syscall.ENOSPC)
	assert.ErrorContains(t, err, "make room on it")
	require.Error(t, client.Set(ctx, "1", item))
	assert.NotContains(t, behind.items, "1")
	assert.EqualValues(t, 2, counted(t, telemetry, "otelcol_extension_queue_guard_refused_items"))

	on.free = 0
	get := storage.GetOperation("0")
	require.NoError(t, client.Batch(ctx, storage.SetOperation("qmv0", []byte("sending 0")), get))
	assert.Equal(t, item, get.Value)
	require.NoError(t, client.Batch(ctx, storage.SetOperation("qmv0", []byte("sent 0")), storage.DeleteOperation("0")))
	assert.Equal(t, map[string][]byte{"qmv0": []byte("sent 0")}, behind.items)

	on.free = defaultMinFree + uint64(len(item))
	require.NoError(t, put("2"))
	assert.Contains(t, behind.items, "2")
}

// What was sent leaves room inside the queue's file, which does not shrink: that much is taken again.
func TestRoomInsideTheFileCounts(t *testing.T) {
	ctx := context.Background()
	behind := &shelf{items: map[string][]byte{}}
	on := &disk{free: 1 << 30, size: 16 << 10} // of which 1 KiB is kept
	guard, _ := guarding(t, ward{shelfID: behind}, on)
	client, err := guard.GetClient(ctx, component.KindExporter, owner, "traces")
	require.NoError(t, err)
	for _, key := range []string{"0", "1", "2"} {
		require.NoError(t, client.Set(ctx, key, make([]byte, 2000)))
	}
	on.free = 0
	require.Error(t, client.Set(ctx, "3", make([]byte, 2000)))
	for _, key := range []string{"0", "1"} {
		require.NoError(t, client.Batch(ctx, storage.SetOperation("qmv0", nil), storage.GetOperation(key)))
		require.NoError(t, client.Delete(ctx, key))
	}
	require.NoError(t, client.Set(ctx, "3", make([]byte, 2000)))
	require.ErrorIs(t, client.Set(ctx, "4", make([]byte, 2000)), syscall.ENOSPC, "the second half of it is the reserve")
}

// A file that was compacted has no room inside any more: that is the disk's, where somebody else may have taken it.
func TestACompactedFileHasNoRoomInside(t *testing.T) {
	ctx := context.Background()
	on := &disk{free: 1 << 30, size: 16 << 10}
	guard, _ := guarding(t, ward{shelfID: &shelf{items: map[string][]byte{}}}, on)
	file := filepath.Join(guard.cfg.Directory, "exporter_opik__traces")
	client, err := guard.GetClient(ctx, component.KindExporter, owner, "traces")
	require.NoError(t, err)
	emptied := func() {
		t.Helper()
		on.free = 1 << 30
		require.NoError(t, os.WriteFile(file, make([]byte, 20_000), 0o600))
		require.NoError(t, client.Set(ctx, "0", make([]byte, 9000)))
		require.NoError(t, client.Batch(ctx, storage.GetOperation("0")))
		require.NoError(t, client.Delete(ctx, "0"))
		on.free = 0
	}
	emptied()
	require.NoError(t, client.Set(ctx, "1", make([]byte, 2000)))
	emptied()
	require.NoError(t, os.Truncate(file, 1000))
	require.ErrorIs(t, client.Set(ctx, "1", make([]byte, 2000)), syscall.ENOSPC)
	require.NoError(t, os.Truncate(file, 20_000))
	require.ErrorIs(t, client.Set(ctx, "1", make([]byte, 2000)), syscall.ENOSPC, "what grew again is full")
	emptied()
	require.NoError(t, client.Set(ctx, "1", make([]byte, 2000)))
}

// Looks at the files are as far apart as they take long, however many items are added: no more than a twentieth of the time is theirs.
func TestLooksAtManyFilesAreFew(t *testing.T) {
	guard, _ := guarding(t, ward{shelfID: &shelf{items: map[string][]byte{}}}, &disk{1 << 40, 1 << 40})
	file := filepath.Join(guard.cfg.Directory, "exporter_opik__traces")
	now := time.Time{}
	guard.look.now = func() time.Time {
		now = now.Add(time.Millisecond)
		return now
	}
	looks, last := 0, uint64(0)
	for size := range 200 {
		require.NoError(t, os.WriteFile(file, make([]byte, size+1), 0o600))
		if seen := guard.fileBytes(); seen != last {
			looks, last = looks+1, seen
			require.EqualValues(t, size+1, seen)
		}
	}
	assert.InDelta(t, 200/lookPause, looks, 1)
}

// Of a small disk no more than a sixteenth is kept, and nothing where nothing is to be.
func TestTheReserveSuitsTheDisk(t *testing.T) {
	ctx := context.Background()
	on := &disk{free: 600 << 10, size: 8 << 20}
	behind := &shelf{items: map[string][]byte{}}
	guard, _ := guarding(t, ward{shelfID: behind}, on)
	client, err := guard.GetClient(ctx, component.KindExporter, owner, "traces")
	require.NoError(t, err)
	require.NoError(t, client.Set(ctx, "0", make([]byte, 88<<10)))
	require.ErrorContains(t, client.Set(ctx, "1", make([]byte, 88<<10+1)), "524288 are kept")

	none, _ := guarding(t, ward{shelfID: behind}, on, func(cfg *Config) { cfg.MinFreeBytes = 0 })
	client, err = none.GetClient(ctx, component.KindExporter, owner, "traces")
	require.NoError(t, err)
	on.free = 0
	require.NoError(t, client.Set(ctx, "1", []byte("item")))
}

// Without a storage behind it, it says what is missing.
func TestStorageThatIsNotThere(t *testing.T) {
	for name, of := range map[string]struct {
		host   ward
		change func(*Config)
		says   string
	}{
		"not set":        {ward{}, func(cfg *Config) { cfg.Storage = nil }, "set its `storage`"},
		"not running":    {ward{}, func(*Config) {}, `no extension "shelf/queue"`},
		"stores nothing": {ward{shelfID: &noStorage{}}, func(*Config) {}, "stores nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			guard, _ := guarding(t, of.host, &disk{}, of.change)
			_, err := guard.GetClient(context.Background(), component.KindExporter, owner, "traces")
			assert.ErrorContains(t, err, of.says)
		})
	}
}

type noStorage struct {
	component.StartFunc
	component.ShutdownFunc
}

// What the guarded client offers beyond the necessary is still offered, and its lack is said.
func TestWalk(t *testing.T) {
	behind := &shelf{items: map[string][]byte{}}
	guard, _ := guarding(t, ward{shelfID: behind}, &disk{})
	client, err := guard.GetClient(context.Background(), component.KindExporter, owner, "traces")
	require.NoError(t, err)
	err = client.(storage.Walker).Walk(context.Background(), nil)
	assert.ErrorContains(t, err, "cannot be walked through")
}

// The system's own figures are those of a disk.
func TestDiskOfADirectory(t *testing.T) {
	free, size, known := diskOf(t.TempDir())
	require.True(t, known)
	assert.Positive(t, free)
	assert.GreaterOrEqual(t, size, free) // an empty tmpfs is all free
	_, _, known = diskOf("/nowhere/at/all")
	assert.False(t, known)
}

// Of several queues the one with most in it is refused first, so that it leaves room for the others; a queue alone is not concerned.
func TestTheFullestQueueIsRefusedFirst(t *testing.T) {
	ctx := context.Background()
	on := &disk{free: 1 << 30, size: 1 << 34}
	shelves := &rack{shelves: map[string]*shelf{"closed": {items: map[string][]byte{"0": make([]byte, 5000), "qmv0": nil}}}}
	guard, _ := guarding(t, ward{shelfID: shelves}, on)
	clientOf := func(name string) storage.Client {
		client, err := guard.GetClient(ctx, component.KindExporter, component.MustNewIDWithName("opik", name), "traces")
		require.NoError(t, err)
		return client
	}
	closed := clientOf("closed")
	put := func(into storage.Client, key string) error { return into.Set(ctx, key, make([]byte, 1000)) }
	on.free = 2*defaultMinFree - 1
	require.NoError(t, put(closed, "1"), "it is alone")
	open := clientOf("open")
	require.ErrorIs(t, put(closed, "2"), syscall.ENOSPC)
	require.NoError(t, put(open, "0"))
	on.free = defaultMinFree
	require.ErrorIs(t, put(open, "1"), syscall.ENOSPC)
	on.free = 2*defaultMinFree - 1
	require.NoError(t, open.Close(ctx))
	require.NoError(t, put(closed, "2"), "it is alone again")
}

// rack is a storage extension with a shelf for each component.
type rack struct {
	component.StartFunc
	component.ShutdownFunc
	shelves map[string]*shelf
}

func (r *rack) GetClient(_ context.Context, _ component.Kind, id component.ID, _ string) (storage.Client, error) {
	if r.shelves[id.Name()] == nil {
		r.shelves[id.Name()] = &shelf{items: map[string][]byte{}}
	}
	return &walkingShelf{r.shelves[id.Name()]}, nil
}

// walkingShelf can be walked through.
type walkingShelf struct{ *shelf }

func (w *walkingShelf) Walk(_ context.Context, fn storage.WalkFunc) error {
	for key, value := range w.items {
		if _, err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

// A guard of another directory than that in which file_storage keeps its queues guards nothing: the Collector does not start on it.
func TestDirectoryIsThatOfTheStorage(t *testing.T) {
	id := component.MustNewID(fileStorage)
	guard, _ := guarding(t, ward{id: &shelf{items: map[string][]byte{}}}, &disk{1 << 40, 1 << 40}, func(cfg *Config) { cfg.Storage = &id })
	_, err := guard.GetClient(context.Background(), component.KindExporter, owner, "traces")
	require.ErrorContains(t, err, "write the same directory for both")
	require.NoError(t, os.WriteFile(filepath.Join(guard.cfg.Directory, "exporter_opik__traces"), []byte("a queue"), 0o600))
	_, err = guard.GetClient(context.Background(), component.KindExporter, owner, "traces")
	assert.NoError(t, err)
}
