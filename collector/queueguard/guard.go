package queueguard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otel-llm/otel-llm/collector/queueguard/internal/metadata"
)

const (
	quarantineName = "quarantine"
	// temporaryPrefix begins the names of file_storage's own copies while it compacts; it deletes them itself.
	temporaryPrefix = "tempdb"
	// backupSuffix ends the names of what file_storage's `recreate` has moved aside.
	backupSuffix = ".backup"
	timeFormat   = "20060102T150405.000000000Z"
)

// guard looks at the queue files once, when the Collector starts: extensions start before the pipelines do, and it is
// the pipelines that have file_storage open its files.
//
// As a storage of its own (storage.go) it keeps some of the disk for emptying the queue.
type guard struct {
	cfg     *Config
	logger  *zap.Logger
	host    component.Host
	corrupt metric.Int64Counter
	refused metric.Int64Counter
	clients sharers
	hasFile atomic.Bool
	look    look
	disk    func(directory string) (free, size uint64, known bool)
}

func newGuard(cfg *Config, set extension.Settings) (*guard, error) {
	if cfg.Storage != nil && *cfg.Storage == set.ID {
		return nil, fmt.Errorf("storage of %s is itself; name the extension that stores, for example file_storage", set.ID)
	}
	made := &guard{cfg: cfg, logger: set.Logger, disk: diskOf, look: look{now: time.Now}}
	meter := set.MeterProvider.Meter(metadata.ScopeName)
	corrupt, errCorrupt := meter.Int64Counter("otelcol_extension_queue_guard_corrupt_files", metric.WithUnit("{file}"),
		metric.WithDescription("Queue files that were moved aside at this start because file_storage could not have used them."))
	refused, errRefused := meter.Int64Counter("otelcol_extension_queue_guard_refused_items", metric.WithUnit("{item}"),
		metric.WithDescription("Batches that were not put into a queue because the disk was almost full; their senders were told."))
	_, errKept := meter.Int64ObservableGauge("otelcol_extension_queue_guard_quarantined_files", metric.WithUnit("{file}"),
		metric.WithDescription("Queue files that were moved aside, now or at an earlier start, and are still kept."),
		metric.WithInt64Callback(func(_ context.Context, observer metric.Int64Observer) error {
			observer.Observe(int64(len(made.quarantined())))
			return nil
		}))
	made.corrupt, made.refused = corrupt, refused
	if err := errors.Join(errCorrupt, errRefused, errKept); err != nil {
		return nil, fmt.Errorf("cannot create the extension's metrics: %w", err)
	}
	return made, nil
}

// Start checks every file. It fails only if a corrupt file cannot be moved, for then the Collector would crash on it.
func (g *guard) Start(ctx context.Context, host component.Host) error {
	g.host = host
	g.corrupt.Add(ctx, 0) // so that the metrics are there to alert on
	g.refused.Add(ctx, 0)
	limited, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	found, err := g.queueFiles()
	if err != nil {
		g.logger.Warn("The directory of the queue cannot be read; its files are not checked.", zap.Error(err))
		return nil
	}
	var files []string
	for _, each := range found {
		files = append(files, each.path)
	}
	for sound, found := 0, (verdict{}); len(files) > 0; files = files[1:] {
		sound, found = checkApart(limited, files)
		if files = files[sound:]; len(files) == 0 {
			return nil
		}
		switch {
		case found.corrupt:
			if err := g.moveAside(ctx, files[0], found.reason); err != nil {
				return err
			}
		case found.undecided:
			g.logger.Warn("A queue file could not be checked; it is left as it is.",
				zap.String("file", files[0]), zap.String("reason", found.reason))
		}
	}
	return nil
}

// Shutdown has nothing to do.
func (*guard) Shutdown(context.Context) error { return nil }

type queueFile struct {
	path string
	size uint64
}

// queueFiles are the files that file_storage may open. An empty one is as good as none.
func (g *guard) queueFiles() ([]queueFile, error) {
	entries, err := os.ReadDir(g.cfg.Directory)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var files []queueFile
	for _, entry := range entries {
		name := entry.Name()
		if !entry.Type().IsRegular() || strings.HasPrefix(name, temporaryPrefix) || strings.HasSuffix(name, backupSuffix) {
			continue
		}
		if info, errInfo := entry.Info(); errInfo == nil && info.Size() > 0 {
			files = append(files, queueFile{filepath.Join(g.cfg.Directory, name), uint64(info.Size())})
		}
	}
	return files, err
}

func (g *guard) quarantine() string { return filepath.Join(g.cfg.Directory, quarantineName) }

// moveAside keeps the file where nobody opens it, counts it, and deletes the oldest of those kept.
func (g *guard) moveAside(ctx context.Context, file, reason string) error {
	to := filepath.Join(g.quarantine(), filepath.Base(file)+"."+time.Now().UTC().Format(timeFormat))
	err := os.MkdirAll(g.quarantine(), 0o700)
	if err == nil {
		err = os.Rename(file, to)
	}
	if err != nil {
		return fmt.Errorf("the queue file %s is corrupt (%s) and cannot be moved aside; move it yourself: %w", file, reason, err)
	}
	g.corrupt.Add(ctx, 1)
	g.logger.Error("A queue file is corrupt; it was moved aside, and the queue begins anew. What waited in it is not sent.",
		zap.String("file", file), zap.String("moved_to", to), zap.String("reason", reason))
	kept := g.quarantined()
	for _, old := range kept[min(g.cfg.Keep, len(kept)):] {
		if err := os.Remove(old); err != nil {
			g.logger.Warn("An old queue file that was moved aside cannot be deleted.", zap.Error(err))
		}
	}
	return nil
}

// quarantined are the files moved aside, newest first: their names end in the time.
func (g *guard) quarantined() []string {
	files, _ := filepath.Glob(filepath.Join(g.quarantine(), "*")) // only a bad pattern is an error
	slices.SortFunc(files, func(one, other string) int { return cmp.Compare(timeOf(other), timeOf(one)) })
	return files
}

// timeOf is the end of such a name, which sorts as the times do.
func timeOf(file string) string { return file[max(0, len(file)-len(timeFormat)):] }
