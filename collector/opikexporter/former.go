package opikexporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
)

const (
	// formerName is the name of the storage that holds the record, beside those of the queues.
	formerName = "workspaces"
	formerKey  = "names"
)

// formerWorkspaces are those that had a lane under this or an earlier configuration: a lane's queue on disk is opened by its
// name only, so what waits in it would be forgotten with the name.
func formerWorkspaces(ctx context.Context, of *lanes, host component.Host) (names []string, err error) {
	queue := of.cfg.QueueConfig
	if !queue.HasValue() || queue.Get().StorageID == nil {
		return nil, nil
	}
	id := *queue.Get().StorageID
	found, stores := host.GetExtensions()[id].(storage.Extension)
	if !stores {
		return nil, fmt.Errorf("sending_queue::storage: there is no extension %q that stores anything; name it under `service: extensions:`, "+
			"or write one that is there, for example file_storage", id)
	}
	client, err := found.GetClient(ctx, component.KindExporter, of.set.ID, formerName)
	if err != nil {
		return nil, fmt.Errorf("cannot open the record of workspaces: %w", explained(err))
	}
	defer func() { err = errors.Join(err, client.Close(ctx)) }()
	text, err := client.Get(ctx, formerKey)
	if err != nil {
		return nil, fmt.Errorf("cannot read the record of workspaces: %w", err)
	}
	if text != nil && json.Unmarshal(text, &names) != nil {
		of.set.Logger.Warn("The record of workspaces cannot be read and begins anew; what waits for workspaces that are no longer configured is not sent.",
			zap.ByteString("record", text))
	}
	all := append(slices.Clone(names), of.cfg.workspaces()...)
	slices.Sort(all)
	if all = slices.Compact(all); slices.Equal(all, names) {
		return names, nil
	}
	text, err = json.Marshal(all)
	if err == nil {
		err = client.Set(ctx, formerKey, text)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot write the record of workspaces: %w", err)
	}
	return all, nil
}
