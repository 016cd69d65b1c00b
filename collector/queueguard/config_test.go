package queueguard

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otel-llm/otel-llm/collector/queueguard/internal/metadata"
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

// Whatever is written wrongly for a setting, the Collector does not start, and says for which.
func TestEverySettingRefusesWhatIsWrong(t *testing.T) {
	wrong := map[string][]any{ // beside what is wrong for all of them
		"directory":      {"", "queue", "./queue", true},
		"timeout":        {0, 10, "10", "-1s", "soon", "1000h", 1.5},
		"keep":           {0, -1, 1.5, "many"},
		"storage":        {"", "no id", 5},
		"min_free_bytes": {-1, 16, 1.5, "16MiB"},
	}
	settings := reflect.TypeFor[Config]()
	for index := range settings.NumField() {
		name := settings.Field(index).Tag.Get("mapstructure")
		require.NotEmpty(t, wrong[name], "say in this test what is wrong for the new setting %s", name)
		for _, value := range append(wrong[name], nil, []any{1}, map[string]any{"a": 1}) {
			assert.ErrorContainsf(t, refusalOf(name, value), name, "%#v", value)
		}
		assert.ErrorContains(t, refusalOf(name+"x", 1), name+"x")
	}
}

// refusalOf a setting is the error with which the Collector would not start; the other settings are right.
func refusalOf(setting string, value any) error {
	cfg := NewFactory().CreateDefaultConfig()
	if err := confmap.NewFromStringMap(map[string]any{"directory": "/tmp", setting: value}).Unmarshal(&cfg); err != nil {
		return err
	}
	return confmap.Validate(cfg)
}

// A guard cannot be the storage behind itself: it would ask itself without end.
func TestGuardIsNotItsOwnStorage(t *testing.T) {
	cfg := NewFactory().CreateDefaultConfig().(*Config)
	set := extensiontest.NewNopSettings(metadata.Type)
	cfg.Directory, cfg.Storage = t.TempDir(), &set.ID
	_, err := NewFactory().Create(context.Background(), set, cfg)
	assert.ErrorContains(t, err, "is itself")
}
