package opikexporter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"
)

const (
	// fewestConsumers a lane has, if there are as many for all: one that waits for an answer lets another send.
	fewestConsumers = 2
	// usefulBatch is the size in bytes from which larger requests are hardly faster, and only take memory: each sender of each lane holds one while Opik is down.
	usefulBatch = 250_000
	// lastAnswers are waited for so long at the end. Platforms kill after half a minute, and some after ten seconds.
	lastAnswers = 5 * time.Second
)

// lanes are the exporter as the Collector sees it: a lane for each workspace, so that a workspace which is closed, throttled
// or slow holds up nobody else's spans. docs/decisions/0104-a-queue-for-each-workspace.md has the reasons.
type lanes struct {
	cfg  *Config
	set  exporter.Settings
	opik *opikExporter
	host component.Host // once started

	// byWorkspace has the configured workspace under "". Lanes of workspaces that are not configured any more (start adds them)
	// only hand on what waits in them.
	byWorkspace map[string]*lane

	ending context.Context //nolint:containedctx // its end is that of all requests
	end    context.CancelFunc
}

func newLanes(ctx context.Context, cfg *Config, set exporter.Settings) (*lanes, error) {
	opik, err := newOpikExporter(cfg, set)
	if err != nil {
		return nil, err
	}
	made := &lanes{cfg: cfg, set: set, opik: opik, byWorkspace: map[string]*lane{}}
	made.ending, made.end = context.WithCancel(context.Background())
	names := cfg.workspaces()
	for _, name := range names {
		if made.byWorkspace[name], err = newLane(ctx, made, name, len(names)); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// Start opens the lanes, those of workspaces of former configurations too: spans may wait in them.
func (l *lanes) Start(ctx context.Context, host component.Host) error {
	l.host = host
	var former []string
	err := l.withOwnStorage(ctx, func(client storage.Client) (err error) {
		if former, err = formerWorkspaces(ctx, l, client); err != nil {
			return err
		}
		return l.recall(ctx, client)
	})
	if err != nil {
		return err
	}
	configured := len(l.byWorkspace)
	for _, name := range former {
		if l.byWorkspace[name] == nil {
			if l.byWorkspace[name], err = newLane(ctx, l, name, configured); err != nil {
				return err
			}
		}
	}
	if err := l.opik.start(ctx, host); err != nil {
		return err
	}
	l.opik.telemetry.begin(ctx)
	for _, each := range l.byWorkspace {
		if err := each.Traces.Start(ctx, host); err != nil {
			return fmt.Errorf("cannot open the queue of workspace %q: %w", l.cfg.workspaceOf(each.name), explained(err))
		}
		each.isOpen.Store(true)
	}
	return nil
}

// Shutdown closes all lanes at once: each may wait for an answer. Not for long if what they send is on disk as well.
func (l *lanes) Shutdown(ctx context.Context) error {
	if l.cfg.isStored() {
		defer time.AfterFunc(lastAnswers, l.end).Stop()
	}
	defer l.end()
	var closing sync.WaitGroup
	failed := make(chan error, len(l.byWorkspace))
	for _, each := range l.byWorkspace {
		if each.isOpen.Swap(false) {
			closing.Go(func() { failed <- each.Traces.Shutdown(ctx) })
		}
	}
	closing.Wait()
	close(failed)
	var all error
	for err := range failed {
		all = errors.Join(all, err)
	}
	if err := l.keep(ctx); err != nil {
		l.set.Logger.Warn("What was remembered cannot be written. After the next start "+cost+".", zap.Error(err))
	}
	return errors.Join(all, l.opik.shutdown(ctx))
}

// Capabilities are those of the lanes.
func (l *lanes) Capabilities() consumer.Capabilities { return l.byWorkspace[""].Traces.Capabilities() }

// ConsumeTraces puts each span into the lane of its workspace.
//
// The sender is told to come again if a lane cannot take its part, but not for a workspace that alone is closed: that would
// hold up what else the sender has. What has no place in such a lane any more is lost, and counted.
func (l *lanes) ConsumeTraces(ctx context.Context, batch ptrace.Traces) error {
	parts := l.parted(batch)
	if len(parts) == 1 {
		for to, part := range parts {
			return l.settle(ctx, []outcome{to.offer(ctx, part)})
		}
	}
	answers := make(chan outcome, len(parts))
	for to, part := range parts {
		go func() { answers <- to.offer(ctx, part) }()
	}
	var outcomes []outcome
	for range parts {
		outcomes = append(outcomes, <-answers)
	}
	return l.settle(ctx, outcomes)
}

// settle says what the sender is told, and counts what is lost if that is nothing: else the sender comes again with all of it.
func (l *lanes) settle(ctx context.Context, outcomes []outcome) error {
	var failed error
	for _, each := range outcomes {
		if each.err != nil && !l.isClosedAlone(each.by) {
			failed = errors.Join(failed, each.err)
		}
	}
	if failed != nil {
		return failed
	}
	for _, each := range outcomes {
		if each.err != nil {
			l.opik.telemetry.countRejected(ctx, reasonClosed, each.spans)
			each.by.logger.Warn("Spans are lost: their workspace is closed, and its queue is full.",
				zap.Int("spans", each.spans), zap.Error(each.err))
		}
	}
	return nil
}

// isClosedAlone says whether a workspace is closed while another takes rows: then it is neither the key nor the address.
func (l *lanes) isClosedAlone(of *lane) bool {
	if of.door.Load() != doorClosed {
		return false
	}
	for _, other := range l.byWorkspace {
		if other.door.Load() == doorOpen {
			return true
		}
	}
	return false
}

// parted are the spans of a batch by lane: the batch itself where they have one.
func (l *lanes) parted(batch ptrace.Traces) map[*lane]ptrace.Traces {
	if len(l.byWorkspace) == 1 {
		return map[*lane]ptrace.Traces{l.byWorkspace[""]: batch}
	}
	var wanted []*lane // of each span, in order
	parts := map[*lane]ptrace.Traces{}
	for span := range spansOf(batch) {
		to := l.laneOf(span)
		wanted = append(wanted, to)
		parts[to] = ptrace.Traces{}
	}
	for to := range parts {
		if len(parts) == 1 {
			parts[to] = batch
		} else {
			parts[to] = copyOf(batch, func(position int) bool { return wanted[position] == to })
		}
	}
	if len(parts) == 0 { // no spans at all
		parts[l.byWorkspace[""]] = batch
	}
	return parts
}

func (l *lanes) laneOf(span ptrace.Span) *lane {
	return l.byWorkspace[l.cfg.laneName(l.opik.routing.WorkspaceOf(span))]
}

// workspaces are the names of the lanes that the configuration asks for, "" first.
func (cfg *Config) workspaces() []string {
	names := []string{""}
	for _, name := range cfg.routing().Workspaces() {
		if cfg.laneName(name) != "" {
			names = append(names, name)
		}
	}
	return names
}

// workspaceOf is the workspace of a lane.
func (cfg *Config) workspaceOf(lane string) string { return cmp.Or(lane, cfg.Workspace, "default") }

// laneName is "" also for a tenant's workspace that is the configured one.
func (cfg *Config) laneName(workspace string) string {
	if workspace == cfg.workspaceOf("") {
		return ""
	}
	return workspace
}

// isStored says whether what is sent is on disk until it was taken.
func (cfg *Config) isStored() bool {
	return cfg.QueueConfig.HasValue() && cfg.QueueConfig.Get().StorageID != nil && cfg.RetryConfig.Enabled
}

// explained says what an error of the storage means.
func explained(err error) error {
	if errors.Is(err, syscall.EMFILE) {
		return fmt.Errorf("%w. Each workspace keeps one file open: allow more (ulimit -n, LimitNOFILE)", err)
	}
	if strings.Contains(err.Error(), "timeout") { // bbolt's own word, and all of it, for a file that is locked
		return fmt.Errorf("%w: its file is in use. Most likely another Collector has the same directory: give each its own", err)
	}
	return err
}

// shareOf is the queue of one lane among so many.
func (cfg *Config) shareOf(lanes int) configoptional.Optional[exporterhelper.QueueBatchConfig] {
	if !cfg.QueueConfig.HasValue() || lanes == 1 {
		return cfg.QueueConfig
	}
	share := *cfg.QueueConfig.Get()
	share.QueueSize = max(1, share.QueueSize/int64(lanes))
	share.NumConsumers = min(share.NumConsumers, max(fewestConsumers, (share.NumConsumers+lanes-1)/lanes))
	if share.Batch.HasValue() && share.Batch.Get().Sizer == exporterhelper.RequestSizerTypeBytes {
		batch := *share.Batch.Get()
		batch.MinSize = max(batch.MinSize/int64(lanes), min(batch.MinSize, usefulBatch))
		share.Batch = configoptional.Some(batch)
	}
	return configoptional.Some(share)
}

// idOf names a lane's queue, its file and its metrics. The configured workspace has the exporter's own, as if there were no lanes.
func idOf(whole component.ID, workspace string) component.ID {
	if workspace == "" {
		return whole
	}
	return component.NewIDWithName(whole.Type(), whole.Name()+"@"+workspace)
}
