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
	// scoresKey is where it has the scores that were sent.
	scoresKey = "scores"
)

// withOwnStorage has something done with the exporter's own storage; nothing where the queues are in memory.
func (l *lanes) withOwnStorage(ctx context.Context, host component.Host, do func(storage.Client) error) error {
	queue := l.cfg.QueueConfig
	if !queue.HasValue() || queue.Get().StorageID == nil {
		return nil
	}
	id := *queue.Get().StorageID
	found, stores := host.GetExtensions()[id].(storage.Extension)
	if !stores {
		return fmt.Errorf("sending_queue::storage: there is no extension %q that stores anything; name it under `service: extensions:`, "+
			"or write one that is there, for example file_storage", id)
	}
	client, err := found.GetClient(ctx, component.KindExporter, l.set.ID, ownName)
	if err != nil {
		return fmt.Errorf("cannot open the record of workspaces: %w", explained(err))
	}
	return errors.Join(do(client), client.Close(ctx))
}

// recallScores that an earlier Collector sent: what waited longer than it ran must not undo them.
func (l *lanes) recallScores(ctx context.Context, client storage.Client) error {
	text, err := client.Get(ctx, scoresKey)
	if err != nil {
		return fmt.Errorf("cannot read the record of scores: %w", err)
	}
	if err := l.opik.memory.RecallScores(text); err != nil {
		l.set.Logger.Warn("The record of scores cannot be read and begins anew; feedback that waits may replace newer feedback.", zap.Error(err))
	}
	return nil
}

// keepScores for the next Collector.
func (l *lanes) keepScores(ctx context.Context) error {
	text := l.opik.memory.Scores()
	if l.host == nil || text == nil {
		return nil
	}
	return l.withOwnStorage(ctx, l.host, func(client storage.Client) error { return client.Set(ctx, scoresKey, text) })
}
