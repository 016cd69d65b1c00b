package opikexporter

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
)

const (
	// ownName is the name of the storage that holds what the exporter itself keeps, beside those of the queues. It was once for workspaces only.
	ownName = "workspaces"
	// scoresKey is where it has the scores that were sent, timesKey the times that foreign traces settled on.
	scoresKey = "scores"
	timesKey  = "times"

	// cost of what is not remembered.
	cost = "feedback that waits may replace newer feedback, and a trace that began elsewhere and goes on may be shown twice"
)

// withOwnStorage has something done with the exporter's own storage; nothing where the queues are in memory.
func (l *lanes) withOwnStorage(ctx context.Context, do func(storage.Client) error) error {
	queue := l.cfg.QueueConfig
	if !queue.HasValue() || queue.Get().StorageID == nil {
		return nil
	}
	id := *queue.Get().StorageID
	found, stores := l.host.GetExtensions()[id].(storage.Extension)
	if !stores {
		return fmt.Errorf("sending_queue::storage: there is no extension %q that stores anything; name it under `service: extensions:`, "+
			"or write one that is there, for example file_storage", id)
	}
	client, err := found.GetClient(ctx, component.KindExporter, l.set.ID, ownName)
	if err != nil {
		return fmt.Errorf("cannot open the exporter's own storage: %w", explained(err))
	}
	return errors.Join(do(client), client.Close(ctx))
}

// remembered is something that a restart must not make forgotten, under its key in the own storage.
type remembered struct {
	key    string
	text   func() []byte // nil for nothing
	recall func([]byte) error
}

func (l *lanes) remembered() []remembered {
	memory := l.opik.memory
	return []remembered{{scoresKey, memory.Scores, memory.RecallScores}, {timesKey, memory.Times, memory.RecallTimes}}
}

// recall what an earlier Collector remembered: what waited longer than it ran must not undo newer scores, and traces go on after it.
func (l *lanes) recall(ctx context.Context, client storage.Client) error {
	for _, each := range l.remembered() {
		text, err := client.Get(ctx, each.key)
		if err != nil {
			return fmt.Errorf("cannot read the record of %s: %w", each.key, err)
		}
		if err := each.recall(text); err != nil {
			l.set.Logger.Warn("What was remembered cannot be read and begins anew. Now "+cost+".", zap.String("record", each.key), zap.Error(err))
		}
	}
	return nil
}

// keep for the next Collector what this one remembers.
func (l *lanes) keep(ctx context.Context) error {
	var all []*storage.Operation
	for _, each := range l.remembered() {
		if text := each.text(); text != nil {
			all = append(all, storage.SetOperation(each.key, text))
		}
	}
	if l.host == nil || all == nil {
		return nil
	}
	return l.withOwnStorage(ctx, func(client storage.Client) error { return client.Batch(ctx, all...) })
}
