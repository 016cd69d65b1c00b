package queueguard

import (
	"errors"
	"path/filepath"
	"time"

	"go.opentelemetry.io/collector/component"
)

const (
	defaultTimeout = 10 * time.Second
	defaultKeep    = 2
	defaultMinFree = 16 << 20
)

// Config of the extension.
type Config struct {
	// Directory is that of the file_storage extension to guard.
	Directory string `mapstructure:"directory"`
	// Timeout is for all files together. What was not looked at by then is left where it is, and a warning says so.
	Timeout time.Duration `mapstructure:"timeout"`
	// Keep is how many files moved aside are kept, newest first; older ones are deleted, for they hold disk and content.
	Keep int `mapstructure:"keep"`
	// Storage is the storage extension behind this one, where queues name `storage: queue_guard`.
	Storage *component.ID `mapstructure:"storage"`
	// MinFreeBytes of the disk are kept for emptying the queue, but never more than a sixteenth of it: what would leave less is
	// refused. 0 keeps nothing.
	MinFreeBytes uint64 `mapstructure:"min_free_bytes"`
}

var _ component.Config = (*Config)(nil)

// Validate says what is wrong with the settings, and what to write instead.
func (cfg *Config) Validate() error {
	var wrong []error
	if !filepath.IsAbs(cfg.Directory) {
		wrong = append(wrong, errors.New("directory must be an absolute path, the same as that of file_storage"))
	}
	if cfg.Timeout <= 0 {
		wrong = append(wrong, errors.New("timeout must be positive, for example 10s"))
	}
	if cfg.Keep < 1 {
		wrong = append(wrong, errors.New("keep must be at least 1, for a file that was moved aside is not deleted at once"))
	}
	return errors.Join(wrong...)
}
