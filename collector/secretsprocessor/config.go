package secretsprocessor

import (
	"errors"
	"fmt"
	"regexp"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
)

// Config of the processor. The names are those of the processor `redaction`.
type Config struct {
	// BlockedKeyPatterns: what a name that one of them matches stands for is masked whole.
	BlockedKeyPatterns []string `mapstructure:"blocked_key_patterns"`
	// BlockedValues: whatever one of them matches in a text is masked.
	BlockedValues []string `mapstructure:"blocked_values"`
}

var (
	_ component.Config    = (*Config)(nil)
	_ confmap.Unmarshaler = (*Config)(nil)
)

func createDefaultConfig() component.Config {
	return &Config{
		BlockedKeyPatterns: []string{
			`(?i)(^|[._-])(authorization|passw(or)?d|passphrase|secret|cookie|credentials?)$`,
			`(?i)((api|access|private|secret|signing)[_-]?key|(access|auth|bearer|refresh|session)[_-]?token|client[_-]?secret)$`,
		},
		BlockedValues: []string{
			`sk-[A-Za-z0-9_-]{16,}`,
			`[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}`,
		},
	}
}

// Unmarshal refuses one text where a list should be: confmap would part it at its commas, and `[a-z]{8,}` would be `[a-z]{8` and `}`, which
// mask something else.
func (cfg *Config) Unmarshal(conf *confmap.Conf) error {
	for _, setting := range []string{"blocked_key_patterns", "blocked_values"} {
		if _, isText := conf.Get(setting).(string); isText {
			return fmt.Errorf("%s is one text: write a list, for example [%s]", setting, `"sk-[a-z]{16,}"`)
		}
	}
	return conf.Unmarshal(cfg)
}

// Validate names the pattern that is none.
func (cfg *Config) Validate() error {
	_, errKeys := compiled("blocked_key_patterns", cfg.BlockedKeyPatterns)
	_, errValues := compiled("blocked_values", cfg.BlockedValues)
	return errors.Join(errKeys, errValues)
}

func compiled(setting string, patterns []string) ([]*regexp.Regexp, error) {
	made := make([]*regexp.Regexp, 0, len(patterns))
	for index, pattern := range patterns {
		expression, err := regexp.Compile(pattern)
		if err == nil && expression.MatchString("") {
			err = errors.New("it matches nothing at all, so everywhere")
		}
		if err != nil {
			return nil, fmt.Errorf("%s[%d] is no pattern to use: %w", setting, index, err)
		}
		made = append(made, expression)
	}
	return made, nil
}
