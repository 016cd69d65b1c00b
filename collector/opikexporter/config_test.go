package opikexporter

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

// load reads one exporter's settings from a file, over the defaults, and validates them as the Collector does.
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

// The struct follows the Collector's conventions for settings.
func TestConfigStruct(t *testing.T) {
	require.NoError(t, componenttest.CheckConfigStruct(NewFactory().CreateDefaultConfig()))
}

// An address is all that a self-hosted Opik needs; the defaults never give data up.
func TestDefaults(t *testing.T) {
	cfg, err := load(t, "config.yaml", "opik")
	require.NoError(t, err)
	assert.Equal(t, "http://localhost:5173/api", cfg.ClientConfig.Endpoint)
	assert.True(t, cfg.RetryConfig.Enabled)
	assert.Zero(t, cfg.RetryConfig.MaxElapsedTime)
	assert.Equal(t, "bytes", cfg.QueueConfig.Get().Sizer.String())
	assert.Empty(t, cfg.Project)
}

// Every setting arrives where it belongs, and the key is masked wherever the settings are printed.
func TestAllSettings(t *testing.T) {
	cfg, err := load(t, "config.yaml", "opik/everything")
	require.NoError(t, err)
	assert.Equal(t, "acme", cfg.Workspace)
	assert.Equal(t, "{service}-{environment}", cfg.Project)
	assert.Equal(t, "checkout", cfg.Service)
	assert.Equal(t, map[string]string{"acme": "acme-llm", "globex": "globex-llm @globex"}, cfg.Tenants)
	assert.Equal(t, 10*time.Second, cfg.ClientConfig.Timeout)
	assert.Equal(t, 2*time.Second, cfg.RetryConfig.InitialInterval)
	assert.Equal(t, "key", string(cfg.APIKey))
	printed, err := cfg.APIKey.MarshalText()
	require.NoError(t, err)
	assert.NotContains(t, string(printed), "key")
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
			_, err = load(t, filepath.Base(path), "opik")
			require.ErrorContains(t, err, reason)
			assert.NotContains(t, err.Error(), "second line", "a key is in no error")
		})
	}
}

// The factory makes an exporter of traces under the name `opik`, and of nothing else.
func TestFactory(t *testing.T) {
	factory := NewFactory()
	assert.Equal(t, component.MustNewType("opik"), factory.Type())
	assert.Equal(t, component.StabilityLevelAlpha, factory.TracesStability())
	assert.Equal(t, component.StabilityLevelUndefined, factory.LogsStability())
}
