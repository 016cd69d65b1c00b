package opikexporter

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"
)

// What the last answer for a workspace said about it.
const (
	doorUnknown int32 = iota
	doorOpen
	doorClosed
)

var errNotOpen = errors.New("the workspace's queue is not open: the Collector starts or stops")

// lane is a queue, with senders and retries of its own, for the spans of one workspace.
type lane struct {
	exporter.Traces

	name   string
	all    *lanes
	logger *zap.Logger
	door   atomic.Int32
	isOpen atomic.Bool // between start and shutdown; the lanes start one after the other, and the first may hand on at once

	capacity     int64 // of the queue in bytes; 0 if it is not measured in them
	toldTooLarge atomic.Bool
}

// newLane makes the lane of a workspace, one of so many.
func newLane(ctx context.Context, all *lanes, name string, lanes int) (*lane, error) {
	cfg, set := all.cfg, all.set
	made := &lane{name: name, all: all}
	set.ID = idOf(set.ID, name)
	if lanes > 1 || name != "" {
		set.Logger = set.Logger.With(zap.String("workspace", cfg.workspaceOf(name)))
	}
	made.logger = set.Logger
	queue := cfg.shareOf(lanes)
	if share := queue.Get(); share != nil && share.Sizer == exporterhelper.RequestSizerTypeBytes {
		made.capacity = share.QueueSize
	}
	var err error
	made.Traces, err = exporterhelper.NewTraces(ctx, set, cfg, made.push,
		exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{Timeout: cfg.ClientConfig.Timeout}),
		exporterhelper.WithRetry(cfg.RetryConfig),
		exporterhelper.WithQueue(queue),
	)
	return made, err
}

// outcome is what a lane said about its part of a batch.
type outcome struct {
	by    *lane
	spans int
	err   error
}

func (l *lane) offer(ctx context.Context, part ptrace.Traces) outcome {
	spans := part.SpanCount() // before the queue has it, which may change it
	if !l.isOpen.Load() {
		return outcome{l, spans, errNotOpen}
	}
	return outcome{l, spans, l.unlessTooLarge(l.Traces.ConsumeTraces(ctx, part), part)}
}

// unlessTooLarge says of a part that was refused if it is larger than the queue: that is never right, however empty the queue is by then.
func (l *lane) unlessTooLarge(err error, part ptrace.Traces) error {
	if err == nil || l.capacity == 0 {
		return err
	}
	size := int64((&ptrace.ProtoMarshaler{}).TracesSize(part))
	if size <= l.capacity {
		return err
	}
	err = fmt.Errorf("%d bytes of one request are for a queue of %d: raise sending_queue::queue_size (each workspace has an equal part of it), "+
		"or have the program send smaller batches: %w", size, l.capacity, err)
	if !l.toldTooLarge.Swap(true) {
		l.logger.Error("A request can never be put into its queue. Its sender keeps it, and is held up by it.", zap.Error(err))
	}
	return err
}

// push sends a batch. What belongs elsewhere by now, since it waited here while the configuration changed, goes to its own lane.
func (l *lane) push(ctx context.Context, batch ptrace.Traces) error {
	mine := ptrace.NewTraces()
	parts := l.all.parted(batch)
	for to, part := range parts {
		if to == l {
			mine = part
			continue
		}
		if err := l.all.settle(ctx, []outcome{to.offer(ctx, part)}); err != nil {
			return err
		}
	}
	if mine.SpanCount() == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.all.ending, cancel)()
	err := l.all.opik.push(ctx, mine)
	l.note(ctx, err)
	if err != nil && len(parts) > 1 && !consumererror.IsPermanent(err) {
		return consumererror.NewTraces(err, mine) // what was handed on is not tried again here
	}
	return err
}

// note whether the workspace is closed, and say so when that changes.
func (l *lane) note(ctx context.Context, err error) {
	var words *closed
	switch {
	case err == nil || consumererror.IsPermanent(err): // it has looked at the rows
		if before := l.door.Swap(doorOpen); before == doorClosed {
			l.logger.Info("Opik takes the workspace's spans again; what waited is being sent.")
		}
		l.all.opik.telemetry.sayClosed(ctx, l.all.cfg.workspaceOf(l.name), 0)
	case errors.As(err, &words):
		if before := l.door.Swap(doorClosed); before != doorClosed && len(l.all.byWorkspace) > 1 {
			l.logger.Error("Opik takes no spans for this workspace. They wait in its own queue until it does; other workspaces do not wait for it.",
				zap.Error(err))
		}
		l.all.opik.telemetry.sayClosed(ctx, l.all.cfg.workspaceOf(l.name), 1)
	}
}
