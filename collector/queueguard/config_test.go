package queueguard

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func load(t *testing.T, file, id string) (*Config, error) {
	t.Helper()
	whole, err := confmaptest.LoadConf(filepath.Join("testdata", file))
	require.NoError(t, err)
	mine, err := whole.Sub(id)
	require.NoError(t, err)
	cfg := NewFactory().CreateDefaultConfig()
	if err := mine.Unmarshal(&cfg); err != nil {
		return nil, err
	}
	return cfg.(*Config), confmap.Validate(cfg)
}

// The struct follows the Collector's conventions for settings, and the factory its own.
func TestConfigStruct(t *testing.T) {
	require.NoError(t, componenttest.CheckConfigStruct(NewFactory().CreateDefaultConfig()))
	assert.Equal(t, component.MustNewType("queue_guard"), NewFactory().Type())
	assert.Equal(t, component.StabilityLevelAlpha, NewFactory().Stability())
}

// A directory is all that is needed; every setting arrives where it belongs.
func TestSettings(t *testing.T) {
	cfg, err := load(t, "config.yaml", "queue_guard")
	require.NoError(t, err)
	assert.Equal(t, &Config{
		Directory: "/var/lib/otelcol/queue", Timeout: 10 * time.Second, Keep: 2, MinFreeBytes: 16 << 20,
	}, cfg)
	cfg, err = load(t, "config.yaml", "queue_guard/everything")
	require.NoError(t, err)
	behind := component.MustNewIDWithName("file_storage", "queue")
	assert.Equal(t, &Config{
		Directory: "/var/lib/otelcol/queue", Timeout: 3 * time.Second, Keep: 5, Storage: &behind, MinFreeBytes: 1000000,
	}, cfg)
}

// Each bad_*.yaml is refused for the reason in its first line.
func TestBadSettings(t *testing.T) {
	paths, err := filepath.Glob("testdata/bad_*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			first, _, _ := strings.Cut(string(text), "\n")
			reason, found := strings.CutPrefix(first, "# Must fail: ")
			require.True(t, found, "the first line must say why")
			_, err = load(t, filepath.Base(path), "queue_guard")
			assert.ErrorContains(t, err, reason)
		})
	}
}
