package opikexporter

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/exportertest"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/metadata"
)

var (
	// wrongTexts for each setting that is a text, a list or a dictionary, and not free (below).
	wrongTexts = map[string][]any{
		"endpoint": {
			"", "blue", "localhost:5173/api", "ftp://localhost/api", "http://:5173/api", "http:///api", "http://localhost:5173/api ",
			"http://localhost:5173/api\n", "http://localhost:0/api", "http://localhost:5173", "http://u:p@localhost/api", "http://localhost/api?x=1",
		},
		"proxy_url":                    {"blue", "proxy:3128", "ftp://proxy", "http://:3128"},
		"api_key":                      {"first\nsecond", "clé"},
		"workspace":                    {"first\nsecond", "café"},
		"project":                      {"{team}", "{service"},
		"tenants":                      {"acme", map[string]any{"acme": nil}, map[string]any{"acme": " "}, map[string]any{" acme": "x"}, map[string]any{"": "x"}, map[string]any{"acme": 5}},
		"headers":                      {"blue", map[string]any{"Comet-Workspace": "x"}, map[string]any{"authorization": "x"}, map[string]any{"a b": "x"}, map[string]any{"a": "x\ny"}},
		"compression":                  {"blue", "GZIP"},
		"middlewares":                  {"blue", []any{map[string]any{"id": "missing"}}},
		"tls::ca_file":                 {"/missing"},
		"tls::ca_pem":                  {"blue"},
		"tls::cert_file":               {"/missing"},
		"tls::cert_pem":                {"blue"},
		"tls::key_file":                {"/missing"},
		"tls::key_pem":                 {"blue"},
		"tls::min_version":             {"1.9", "blue"},
		"tls::max_version":             {"1.9", "blue"},
		"tls::cipher_suites":           {"blue", []any{"blue"}},
		"tls::curve_preferences":       {"blue", []any{"blue"}},
		"auth::authenticator":          {"missing", ""},
		"sending_queue::storage":       {"missing", ""},
		"sending_queue::sizer":         {"blue", ""},
		"sending_queue::batch::sizer":  {"blue", "requests", ""},
		"compression_params::level":    {99, -9, 1.5, "much"},
		"sending_queue::queue_size":    {0, 5000},
		"sending_queue::num_consumers": {0, 1 << 40},
		"read_buffer_size":             {1 << 40},
		"write_buffer_size":            {1 << 40},
		"retry_on_failure::multiplier": {0, 0.5},
	}
	// freeTexts may be anything.
	freeTexts = map[string]bool{
		"service": true, "tls::server_name_override": true, "sending_queue::batch::partition::metadata_keys": true,
		"tls::tpm::path": true, "tls::tpm::auth": true, "tls::tpm::owner_auth": true,
	}
)

// settingsIn are all settings, of all sections, by their whole names.
func settingsIn(prefix string, section reflect.Type) map[string]reflect.Type {
	all := map[string]reflect.Type{}
	for name, field := range fieldsOf(section) {
		if name == "-" {
			continue
		}
		all[prefix+name] = field
		if isSection(field) {
			maps.Copy(all, settingsIn(prefix+name+"::", field))
		}
	}
	return all
}

// wrongFor is what somebody may write by mistake for a setting of that kind.
func wrongFor(name string, field reflect.Type) []any {
	wrong := slices.Clone(wrongTexts[name])
	switch {
	case isSection(field):
		return append(wrong, "blue", 5, []any{"blue"}, map[string]any{"no_such": 1})
	case field == reflect.TypeFor[time.Duration]():
		wrong = append(wrong, 5, "5", "soon", "-5s", true, nil, []any{"5s"})
		if neededTimes[name] {
			wrong = append(wrong, 0, "0s", "1000000h")
		}
	case field.Kind() == reflect.Bool:
		wrong = append(wrong, "perhaps", 2, nil, []any{true})
	case field == reflect.TypeFor[configcompression.Level]():
	case reflect.Zero(field).CanInt(), reflect.Zero(field).CanFloat():
		wrong = append(wrong, -1, "many", nil, true, []any{1})
		if reflect.Zero(field).CanInt() {
			wrong = append(wrong, 1.5)
		}
	case field.Kind() == reflect.String:
		wrong = append(wrong, true, []any{"a"}, map[string]any{"a": "b"})
	case needsValue(field): // a text that becomes something
		wrong = append(wrong, nil, true, []any{"a"})
	}
	return wrong
}

// refusalOf settings is the error with which the Collector would not start; the other settings are right.
func refusalOf(t *testing.T, name string, value any) error {
	given := map[string]any{"endpoint": "https://localhost:5173/api"}
	for setting, partner := range map[string]string{"tls::cert_file": "tls::key_file", "tls::cert_pem": "tls::key_pem"} {
		if name == setting || name == partner {
			given[setting], given[partner] = "x", "x"
		}
	}
	given[name] = value
	cfg := NewFactory().CreateDefaultConfig()
	if err := confmap.NewFromStringMap(given).Unmarshal(&cfg); err != nil {
		return err
	}
	if err := confmap.Validate(cfg); err != nil {
		return err
	}
	made, err := NewFactory().CreateTraces(context.Background(), exportertest.NewNopSettings(metadata.Type), cfg)
	if err != nil {
		return err
	}
	defer func() { assert.NoError(t, made.Shutdown(context.Background())) }()
	return made.Start(context.Background(), componenttest.NewNopHost())
}

// Whatever is written wrongly for any setting, those of other people's structs too, the Collector does not start, and says for which.
func TestEverySettingRefusesWhatIsWrong(t *testing.T) {
	all := settingsIn("", reflect.TypeFor[Config]())
	require.Greater(t, len(all), 60)
	for name, field := range all {
		wrong := wrongFor(name, field)
		require.True(t, len(wrong) > 3 || wrongTexts[name] != nil || freeTexts[name], "say in this test what is wrong for the new setting %s", name)
		last := name[strings.LastIndex(name, ":")+1:]
		for _, value := range wrong {
			err := refusalOf(t, name, value)
			if assert.Errorf(t, err, "%s: %#v", name, value) {
				told := strings.NewReplacer("ca cert", "ca_file ca_pem", "tls cert and key", "cert_file key_file cert_pem key_pem",
					"cipher suite", "cipher_suites", "curve type", "curve_preferences", "middleware \"", "middlewares \"").
					Replace(strings.ToLower(err.Error())) // crypto/tls has names of its own
				assert.Containsf(t, told, last, "%s: %#v", name, value)
			}
		}
	}
}

// A setting that is misspelt, in whatever section, is refused with the right name.
func TestEverySettingIsFoundByItsNeighbour(t *testing.T) {
	for name := range settingsIn("", reflect.TypeFor[Config]()) {
		assert.ErrorContains(t, refusalOf(t, name+"x", "blue"), "did you mean \""+name+"\"?")
	}
}

// What is not written, and a section or a text without a value, is the default; a value at a bound is taken.
func TestRightSettingsAreTaken(t *testing.T) {
	for name, value := range map[string]any{
		"tls": nil, "sending_queue": nil, "tenants": nil, "headers": nil, "api_key": nil, "workspace": "", "project": nil, "service": nil,
		"proxy_url": "socks5://user:password@proxy:1080", "sending_queue::enabled": false, "keepalive::enabled": false, "timeout": "24h",
		"retry_on_failure::max_elapsed_time": 0, "retry_on_failure::multiplier": 1, "compression_params::level": -1,
		"sending_queue::queue_size": 16384, "idle_conn_timeout": "0s", "tls::reload_interval": "10000h",
	} {
		assert.NoErrorf(t, refusalOf(t, name, value), "%s: %#v", name, value)
	}
	assert.NoError(t, refusalOf(t, "sending_queue", map[string]any{"sizer": "requests", "queue_size": 10}))
	many := map[string]any{}
	for index := range 5000 {
		many[fmt.Sprint("t", index)] = fmt.Sprint("p @w", index)
	}
	cfg := NewFactory().CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(map[string]any{"tenants": many}).Unmarshal(&cfg))
	assert.ErrorContains(t, confmap.Validate(cfg), "67108864 bytes for 5001 workspaces")
}
