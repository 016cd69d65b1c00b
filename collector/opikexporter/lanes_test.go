package opikexporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/metadata"
)

const longEnough = 20 * time.Second

// tenants as of most tests here: one in the configured workspace, two in workspaces of their own.
var threeTenants = map[string]string{"acme": "acme", "globex": "globex @globex", "initech": "initech @initech"}

// opikWithDoors answers what `doors` has for a workspace, and takes rows otherwise.
func opikWithDoors(t *testing.T) (server *opikServer, doors *sync.Map) {
	server, doors = newOpikServer(t), &sync.Map{}
	server.reply = func(answer http.ResponseWriter, got call) bool {
		status, shut := doors.Load(got.header.Get("Comet-Workspace"))
		return shut && refuse(answer, status.(int), "not for you")
	}
	return server, doors
}

// startLanes runs an exporter with queues in memory, or on the disk of a test.
func startLanes(t *testing.T, endpoint string, on *disk, change ...func(*Config)) (started exporter.Traces, own *componenttest.Telemetry, stop func()) {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.ClientConfig.Endpoint, cfg.Tenants = endpoint, threeTenants
	cfg.RetryConfig.InitialInterval, cfg.RetryConfig.MaxInterval = 5*time.Millisecond, 20*time.Millisecond
	cfg.QueueConfig.Get().Batch = configoptional.None[exporterhelper.BatchConfig]()
	host := hostWith{}
	if on != nil {
		id := component.MustNewID("disk")
		cfg.QueueConfig.Get().StorageID = &id
		host[id] = on
	}
	for _, each := range change {
		each(cfg)
	}
	own = componenttest.NewTelemetry()
	set := exportertest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type) // not a new one each time: its queues go by it
	set.TelemetrySettings = own.NewTelemetrySettings()
	started, err := NewFactory().CreateTraces(context.Background(), set, cfg)
	require.NoError(t, err)
	require.NoError(t, started.Start(context.Background(), host))
	stop = sync.OnceFunc(func() {
		assert.NoError(t, started.Shutdown(context.Background()))
		assert.NoError(t, own.Shutdown(context.Background()))
	})
	t.Cleanup(stop)
	return started, own, stop
}

type hostWith map[component.ID]component.Component

func (h hostWith) GetExtensions() map[component.ID]component.Component { return h }

// disk is a storage that outlives an exporter.
type disk struct {
	component.StartFunc
	component.ShutdownFunc
	mutex sync.Mutex
	files map[string]map[string][]byte
}

func newDisk() *disk { return &disk{files: map[string]map[string][]byte{}} }

func (d *disk) GetClient(_ context.Context, _ component.Kind, id component.ID, name string) (storage.Client, error) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	key := id.String() + " " + name
	if d.files[key] == nil {
		d.files[key] = map[string][]byte{}
	}
	return &file{disk: d, content: d.files[key]}, nil
}

type file struct {
	disk    *disk
	content map[string][]byte
}

func (f *file) Get(ctx context.Context, key string) ([]byte, error) {
	get := storage.GetOperation(key)
	err := f.Batch(ctx, get)
	return get.Value, err
}

func (f *file) Set(ctx context.Context, key string, value []byte) error {
	return f.Batch(ctx, storage.SetOperation(key, value))
}

func (f *file) Delete(ctx context.Context, key string) error {
	return f.Batch(ctx, storage.DeleteOperation(key))
}

func (f *file) Batch(_ context.Context, ops ...*storage.Operation) error {
	f.disk.mutex.Lock()
	defer f.disk.mutex.Unlock()
	for _, op := range ops {
		switch op.Type {
		case storage.Get:
			op.Value = f.content[op.Key]
		case storage.Set:
			f.content[op.Key] = op.Value
		case storage.Delete:
			delete(f.content, op.Key)
		}
	}
	return nil
}

func (f *file) Close(context.Context) error { return nil }

// spansOfTenant are spans of one trace, named `name 0`, `name 1`, and so on.
func spansOfTenant(name, tenant string, count int) ptrace.Traces {
	names := make([]string, count)
	for index := range names {
		names[index] = fmt.Sprint(name, " ", index)
	}
	batch := spansNamed(names...)
	trace := newest.Add(1)
	for span := range spansOf(batch) {
		id := span.TraceID()
		id[15], id[14] = byte(trace), byte(trace>>8)
		span.SetTraceID(pcommon.TraceID(id))
		span.Attributes().PutStr("tenant.id", tenant)
	}
	return batch
}

var newest atomic.Int32

func mixed(batches ...ptrace.Traces) ptrace.Traces {
	all := ptrace.NewTraces()
	for _, batch := range batches {
		batch.ResourceSpans().MoveAndAppendTo(all.ResourceSpans())
	}
	return all
}

// countOf is a counter or gauge of ours, by the value of a label.
func countOf(t *testing.T, own *componenttest.Telemetry, name, label string) map[string]int64 {
	t.Helper()
	counts := map[string]int64{}
	got, err := own.GetMetric(name)
	if err != nil {
		return counts
	}
	points := []metricdata.DataPoint[int64]{}
	switch data := got.Data.(type) {
	case metricdata.Sum[int64]:
		points = data.DataPoints
	case metricdata.Gauge[int64]:
		points = data.DataPoints
	}
	for _, point := range points {
		value, _ := point.Attributes.Value(attribute.Key(label))
		counts[value.AsString()] += point.Value
	}
	return counts
}

// However many batches of a closed workspace wait, those of other workspaces go at once, also out of the same request; and what waited goes when it opens.
func TestAClosedWorkspaceHoldsUpNobody(t *testing.T) {
	for _, status := range []int{401, 402, 403, 404, 429, 500} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			server, doors := opikWithDoors(t)
			doors.Store("globex", status)
			opik, own, _ := startLanes(t, server.URL, nil)
			for number := range 20 {
				batch := mixed(spansOfTenant(fmt.Sprint("globex ", number), "globex", 1), spansOfTenant(fmt.Sprint("acme ", number), "acme", 1),
					spansOfTenant(fmt.Sprint("initech ", number), "initech", 1), spansOfTenant(fmt.Sprint("nobody ", number), "", 1))
				require.NoError(t, opik.ConsumeTraces(context.Background(), batch))
			}
			arrived := func(count int) func() bool {
				return func() bool { return len(server.names(kindSpans)) == count && len(server.names(kindTraces)) == count }
			}
			require.Eventually(t, arrived(60), longEnough, time.Millisecond)
			if status < 429 {
				require.Eventually(t, func() bool {
					return maps.Equal(map[string]int64{"default": 0, "globex": 1, "initech": 0},
						countOf(t, own, "otelcol_exporter_opik_workspace_closed", "workspace"))
				}, longEnough, time.Millisecond)
			}
			doors.Clear()
			require.Eventually(t, arrived(80), longEnough, time.Millisecond)
			assert.Equal(t, map[string]int64{
				"invalid": 0, "conflict": 0, "too_large": 0, "too_old": 0, "server_error": 0, "workspace_closed": 0,
			}, countOf(t, own, "otelcol_exporter_opik_rejected_spans", "reason"), "each reason is there before it happens")
			for _, each := range server.calls {
				for _, row := range each.rows {
					assert.Equal(t, row["project_name"] == "globex", each.header.Get("Comet-Workspace") == "globex")
				}
			}
		})
	}
}

// A closed workspace's full queue refuses nobody: its own spans are lost, and counted; not so where all are closed, for that is the key.
func TestTheFullQueueOfAClosedWorkspace(t *testing.T) {
	server, doors := opikWithDoors(t)
	doors.Store("globex", 403)
	opik, own, _ := startLanes(t, server.URL, nil, func(cfg *Config) {
		cfg.QueueConfig.Get().Sizer, cfg.QueueConfig.Get().QueueSize = exporterhelper.RequestSizerTypeItems, 30 // ten each
	})
	send := func(name string) error {
		return opik.ConsumeTraces(context.Background(), mixed(spansOfTenant(name, "globex", 5), spansOfTenant(name, "acme", 1)))
	}
	closedNow := func(want map[string]int64) func() bool {
		return func() bool {
			return maps.Equal(want, countOf(t, own, "otelcol_exporter_opik_workspace_closed", "workspace"))
		}
	}
	require.NoError(t, send("first"))
	require.Eventually(t, closedNow(map[string]int64{"default": 0, "globex": 1}), longEnough, time.Millisecond)
	for number := range 10 {
		require.NoError(t, send(fmt.Sprint("more ", number)))
	}
	require.Eventually(t, func() bool { return len(server.names(kindSpans)) == 11 }, longEnough, time.Millisecond)
	lost := countOf(t, own, "otelcol_exporter_opik_rejected_spans", "reason")["workspace_closed"]
	assert.EqualValues(t, 45, lost, "ten of 55 have room")

	doors.Store("default", 403)
	require.NoError(t, opik.ConsumeTraces(context.Background(), spansOfTenant("last", "acme", 1)))
	require.Eventually(t, closedNow(map[string]int64{"default": 1, "globex": 1}), longEnough, time.Millisecond)
	require.Error(t, send("refused"), "all are closed, so the sender has to keep it")
	assert.Equal(t, lost, countOf(t, own, "otelcol_exporter_opik_rejected_spans", "reason")["workspace_closed"])
	doors.Clear()
	require.Eventually(t, func() bool { return len(server.names(kindSpans)) >= 22 }, longEnough, time.Millisecond)
}

// What waits for a workspace when its tenant is given another one, or none, goes where the tenant is now; so does what waited
// for it in a queue from before there was one for each workspace.
func TestWhatWaitsFollowsItsTenant(t *testing.T) {
	for name, now := range map[string]map[string]string{
		"another": {"globex": "globex @second"}, "none": {"globex": "globex"}, "no tenants at all": nil,
	} {
		t.Run(name, func(t *testing.T) {
			server, doors := opikWithDoors(t)
			doors.Store("globex", 404)
			on := newDisk()
			opik, _, stop := startLanes(t, server.URL, on)
			for number := range 10 {
				require.NoError(t, opik.ConsumeTraces(context.Background(), spansOfTenant(fmt.Sprint("batch ", number), "globex", 2)))
			}
			stop()
			require.Empty(t, server.names(kindSpans))
			for range 2 { // also when it is started once more in between
				_, _, stop = startLanes(t, server.URL, on, func(cfg *Config) { cfg.Tenants = now })
				require.Eventually(t, func() bool { return len(server.names(kindSpans)) == 20 }, longEnough, time.Millisecond)
				stop()
			}
			for _, each := range server.calls {
				if each.header.Get("Comet-Workspace") == "globex" {
					_, shut := doors.Load("globex")
					assert.True(t, shut)
				}
			}
		})
	}
	t.Run("one queue for all", func(t *testing.T) {
		server, doors := opikWithDoors(t)
		doors.Store("globex", 404)
		doors.Store("default", 404)
		on := newDisk()
		opik, _, stop := startLanes(t, server.URL, on, func(cfg *Config) { cfg.Tenants = nil })
		for number := range 10 {
			require.NoError(t, opik.ConsumeTraces(context.Background(), mixed(
				spansOfTenant(fmt.Sprint("globex ", number), "globex", 1), spansOfTenant(fmt.Sprint("acme ", number), "acme", 1))))
		}
		stop()
		doors.Delete("default")
		_, _, stop = startLanes(t, server.URL, on)
		require.Eventually(t, func() bool { return len(server.names(kindSpans)) == 10 }, longEnough, time.Millisecond)
		stop()
		doors.Clear()
		startLanes(t, server.URL, on)
		require.Eventually(t, func() bool { return len(server.names(kindSpans)) == 20 }, longEnough, time.Millisecond)
	})
}

// An Opik that never answers does not keep the Collector from ending, and what it was sent arrives after the next start.
func TestTheEndIsNotWaitedFor(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		_, _ = io.Copy(io.Discard, request.Body)
		<-request.Context().Done()
	}))
	t.Cleanup(silent.Close)
	on := newDisk()
	opik, _, stop := startLanes(t, silent.URL, on, func(cfg *Config) { cfg.ClientConfig.Timeout = time.Hour })
	for _, tenant := range []string{"acme", "globex", "initech"} {
		require.NoError(t, opik.ConsumeTraces(context.Background(), spansOfTenant(tenant, tenant, 3)))
	}
	stop()
	server := newOpikServer(t)
	startLanes(t, server.URL, on)
	require.Eventually(t, func() bool { return len(server.names(kindSpans)) == 9 }, longEnough, time.Millisecond)
}

// A queue's file that is in use is said to be that.
func TestTwoOnOneDirectory(t *testing.T) {
	assert.ErrorContains(t, explained(errors.New("timeout")), "another Collector has the same directory")
	assert.EqualError(t, explained(errors.New("else")), "else")
}

// The queue's size and senders are divided; one workspace alone has all of them, and its name is the exporter's.
func TestShares(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	assert.Equal(t, cfg.QueueConfig, cfg.shareOf(1))
	quarter := cfg.shareOf(4)
	assert.EqualValues(t, 16<<20, quarter.Get().QueueSize)
	assert.Equal(t, 2, quarter.Get().NumConsumers)
	cfg.QueueConfig.Get().Batch = configoptional.Some(exporterhelper.BatchConfig{MinSize: 1_000_000, Sizer: exporterhelper.RequestSizerTypeBytes})
	for lanes, size := range map[int]int64{1: 1_000_000, 2: 500_000, 40: 250_000} {
		share := cfg.shareOf(lanes)
		assert.Equal(t, size, share.Get().Batch.Get().MinSize)
	}
	cfg.Workspace, cfg.Tenants = "home", map[string]string{"a": "a @home", "b": "b @b", "c": "c", "d": "d @b"}
	assert.Equal(t, []string{"", "b"}, cfg.workspaces(), "the configured one is not there twice")
	assert.Equal(t, "opik", idOf(component.MustNewID("opik"), "").String())
	assert.Equal(t, "opik/@b", idOf(component.MustNewID("opik"), "b").String())
	assert.Equal(t, "opik/x@b", idOf(component.MustNewIDWithName("opik", "x"), "b").String())
}

// What is larger than a workspace's whole queue is refused with the setting to raise, not only as if the queue were full for now; what fits is taken.
func TestWhatNeverFitsSaysSo(t *testing.T) {
	for _, on := range []*disk{nil, newDisk()} {
		server := newOpikServer(t)
		opik, _, _ := startLanes(t, server.URL, on, func(cfg *Config) { cfg.QueueConfig.Get().QueueSize = 3 * leastQueue })
		large := spansOfTenant("large", "globex", 1)
		large.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0).Attributes().PutStr("input.value", strings.Repeat("x", leastQueue))
		assert.ErrorContains(t, opik.ConsumeTraces(context.Background(), large), "raise sending_queue::queue_size")
		assert.NoError(t, opik.ConsumeTraces(context.Background(), spansOfTenant("small", "globex", 1)))
	}
}

// A trace that began elsewhere and goes on over a restart of the Collector stays one trace in Opik, however long it takes.
func TestAForeignTraceGoesOnOverARestart(t *testing.T) {
	server, on := newOpikServer(t), newDisk()
	for round, name := range []string{"before", "after"} {
		opik, _, stop := startLanes(t, server.URL, on)
		batch := spansNamed(name)
		span := batch.ResourceSpans().At(0).ScopeSpans().At(0).Spans().At(0)
		span.SetTraceID(pcommon.TraceID{1, 15: 1})
		span.SetSpanID(pcommon.SpanID{7: byte(round + 1)})
		span.SetStartTimestamp(span.StartTimestamp() + pcommon.Timestamp(round*int(time.Hour)))
		require.NoError(t, opik.ConsumeTraces(context.Background(), batch))
		require.Eventually(t, func() bool { return len(server.names(kindSpans)) == round+1 }, longEnough, time.Millisecond)
		stop()
	}
	ids := map[any]bool{}
	for _, row := range server.rows[kindSpans] {
		ids[row["trace_id"]] = true
	}
	assert.Len(t, ids, 1)
}
