package opikexporter

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"
)

// formerKey is where the own storage has the names.
const formerKey = "names"

// formerWorkspaces are those that had a lane under this or an earlier configuration: a lane's queue on disk is opened by its
// name only, so what waits in it would be forgotten with the name.
func formerWorkspaces(ctx context.Context, of *lanes, client storage.Client) (names []string, err error) {
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
