package secretsprocessor

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
)

func loaded(setting string, value any) (*Config, error) {
	cfg := createDefaultConfig()
	if err := confmap.NewFromStringMap(map[string]any{setting: value}).Unmarshal(&cfg); err != nil {
		return nil, err
	}
	return cfg.(*Config), confmap.Validate(cfg)
}

// The struct follows the Collector's conventions for settings.
func TestConfigStruct(t *testing.T) {
	require.NoError(t, componenttest.CheckConfigStruct(createDefaultConfig()))
}

// Whatever is written wrongly for a setting, the Collector does not start and says for which: a text in the place of a list would be parted at its
// commas, and mask something else than it says.
func TestEverySettingRefusesWhatIsWrong(t *testing.T) {
	settings := reflect.TypeFor[Config]()
	for index := range settings.NumField() {
		field := settings.Field(index)
		name := field.Tag.Get("mapstructure")
		require.Equal(t, "[]string", field.Type.String(), "say in this test what is wrong for the new setting %s", name)
		for _, value := range []any{
			"[A-Z]{2,}", "", 5, true, map[string]any{"a": "b"}, []any{nil}, []any{""}, []any{5}, []any{"("}, []any{[]any{"a"}}, []any{"a*"},
		} {
			_, err := loaded(name, value)
			assert.ErrorContainsf(t, err, name, "%#v", value)
		}
		_, err := loaded(name+"x", []any{"a"})
		assert.ErrorContains(t, err, name+"x")
	}
}

// Nothing behind a setting is the default, and a list takes the default's place.
func TestSettings(t *testing.T) {
	usual, err := loaded("blocked_values", nil)
	require.NoError(t, err)
	assert.Equal(t, createDefaultConfig(), usual)
	own, err := loaded("blocked_values", []any{"key-[0-9]{2,}"})
	require.NoError(t, err)
	assert.Equal(t, []string{"key-[0-9]{2,}"}, own.BlockedValues)
	assert.NotEmpty(t, own.BlockedKeyPatterns)
}
