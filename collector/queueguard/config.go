package queueguard

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
)

const (
	defaultTimeout = 10 * time.Second
	defaultKeep    = 2
	defaultMinFree = 16 << 20

	shortestTimeout = time.Millisecond // what is shorter was written without a unit
	longestTimeout  = time.Hour
	leastMinFree    = 64 << 10 // what is less was meant in other units than bytes
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

var (
	_ component.Config    = (*Config)(nil)
	_ confmap.Unmarshaler = (*Config)(nil)
)

// Unmarshal refuses a setting that is given nothing, which would be 0 or none and not the default, and parts of things where they are counted.
func (cfg *Config) Unmarshal(conf *confmap.Conf) error {
	given := conf.ToStringMap()
	for _, setting := range slices.Sorted(maps.Keys(given)) {
		value := given[setting]
		if value == nil {
			return fmt.Errorf("%s is given nothing: write a value, or leave it out. If it is from the environment, that variable is not set", setting)
		}
		if number, isFloat := value.(float64); isFloat && number != math.Trunc(number) {
			return fmt.Errorf("%s is %v: write a whole number, or a time with its unit", setting, number)
		}
	}
	return conf.Unmarshal(cfg)
}

// Validate says what is wrong with the settings, and what to write instead.
func (cfg *Config) Validate() error {
	var wrong []error
	if !filepath.IsAbs(cfg.Directory) {
		wrong = append(wrong, errors.New("directory must be an absolute path, the same as that of file_storage"))
	}
	if cfg.Timeout < shortestTimeout || cfg.Timeout > longestTimeout {
		wrong = append(wrong, fmt.Errorf("timeout is %v: write a time up to %v with its unit, for example 10s", cfg.Timeout, longestTimeout))
	}
	if cfg.Keep < 1 {
		wrong = append(wrong, errors.New("keep must be at least 1, for a file that was moved aside is not deleted at once"))
	}
	if cfg.MinFreeBytes > 0 && cfg.MinFreeBytes < leastMinFree {
		wrong = append(wrong, fmt.Errorf("min_free_bytes is %d: write bytes, for example %d, or 0 to keep nothing free", cfg.MinFreeBytes, defaultMinFree))
	}
	return errors.Join(wrong...)
}
