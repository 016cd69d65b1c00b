package opikexporter

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter/exporterhelper"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/opikrows"
)

const (
	cloudEndpoint = "https://www.comet.com/opik/api"
	grpcPort      = "4317"
	uiPort        = "5173"
)

// Config of the exporter.
type Config struct {
	// ClientConfig holds endpoint (the base of Opik's REST API), TLS, proxy, compression, timeout (of one attempt).
	ClientConfig confighttp.ClientConfig                                  `mapstructure:",squash"`
	QueueConfig  configoptional.Optional[exporterhelper.QueueBatchConfig] `mapstructure:"sending_queue"`
	RetryConfig  configretry.BackOffConfig                                `mapstructure:"retry_on_failure"`

	// APIKey goes into the Authorization header as it is. A self-hosted Opik without login needs none.
	APIKey configopaque.String `mapstructure:"api_key"`
	// Workspace is where rows go whose tenant has none of its own; empty means `default`.
	Workspace string `mapstructure:"workspace"`
	// Project is a project's name, in which {service}, {tenant} and {environment} are filled in from the span. Empty
	// means the name of the span's service.
	Project string `mapstructure:"project"`
	// Service is the name to use where a span's resource has none.
	Service string `mapstructure:"service"`
	// Tenants: value of `tenant.id` -> project, or `project @workspace` for a tenant with a workspace of its own.
	Tenants map[string]string `mapstructure:"tenants"`
}

var (
	_ component.Config    = (*Config)(nil)
	_ confmap.Unmarshaler = (*Config)(nil)

	proxySchemes = []string{"http", "https", "socks5", "socks5h"}
	// ownHeaders of each request, and what to write instead of them.
	ownHeaders = map[string]string{
		"Authorization":    "write the key as api_key, which no log shows",
		"Comet-Workspace":  "write workspace, or `project @workspace` under tenants",
		"Content-Type":     "leave it out",
		"Content-Encoding": "write compression",
		"Content-Length":   "leave it out",
	}

	errNoEndpoint = errors.New("endpoint must name Opik's API, for example http://localhost:5173/api")
)

// Unmarshal refuses settings that do not exist. Without it a typing error would go unnoticed: confmap v1.67 ignores
// unknown keys in every struct that squashes a confighttp.ClientConfig, and in the structs below it.
func (cfg *Config) Unmarshal(conf *confmap.Conf) error {
	if err := refuseMisfits("", conf.ToStringMap(), reflect.TypeFor[Config]()); err != nil {
		return err
	}
	tenants, _ := conf.Get("tenants").(map[string]any)
	for tenant, project := range tenants {
		if _, isParted := project.(map[string]any); isParted {
			return fmt.Errorf("tenants: %q must be `project` or `project @workspace`; a tenant with :: in its name cannot be named here, "+
				"for the Collector takes that for a section: use {tenant} in project", tenant)
		}
	}
	return conf.Unmarshal(cfg)
}

// Validate says what is wrong with the settings, and what to write instead.
func (cfg *Config) Validate() error {
	return errors.Join(
		validateEndpoint(cfg.ClientConfig.Endpoint), validateProxy(cfg.ClientConfig.ProxyURL), cfg.validateHeaders(),
		validateHeader("api_key", strings.TrimSpace(string(cfg.APIKey))), validateHeader("workspace", cfg.Workspace),
		cfg.routing().Validate(), cfg.validateTenants(),
		validateNumbers("", reflect.ValueOf(cfg).Elem()), cfg.validateQueue(),
	)
}

func validateEndpoint(endpoint string) error {
	if endpoint == "" {
		return errNoEndpoint
	}
	address, err := url.Parse(endpoint)
	if err != nil || (address.Scheme != "http" && address.Scheme != "https") || address.Hostname() == "" {
		return errors.New("endpoint must begin with http:// or https:// and name a host")
	}
	if strings.TrimSpace(endpoint) != endpoint {
		return errors.New("endpoint has a blank or a line break around it: take that away")
	}
	if address.User != nil {
		return errors.New("endpoint must not hold a user or password; use api_key")
	}
	if address.RawQuery != "" || address.ForceQuery || address.Fragment != "" {
		return errors.New("endpoint must end with its path: what follows ? or # would be in the middle of every address, and in the log; use api_key")
	}
	path := strings.TrimRight(address.Path, "/")
	if number, err := strconv.Atoi(address.Port()); address.Port() != "" && (err != nil || number < 1 || number > math.MaxUint16) {
		return fmt.Errorf("endpoint: there is no port %s; ports go from 1 to 65535", address.Port())
	}
	switch {
	case address.Port() == grpcPort:
		return fmt.Errorf("endpoint: port %s is for OTLP over gRPC; Opik takes HTTP (5173 with /api, or 8080)", grpcPort)
	case strings.HasSuffix(path, "/v1") || strings.Contains(path, "/v1/"):
		return errors.New("endpoint must be the base of Opik's API, without /v1 and what follows it")
	case address.Port() == uiPort && !strings.HasSuffix(path, "/api"):
		return fmt.Errorf("endpoint: on port %s the API is under /api; without it this is Opik's web page", uiPort)
	}
	return nil
}

// validateProxy says what is wrong with the proxy's address, without the address: it may hold a password.
func validateProxy(proxy string) error {
	if proxy == "" {
		return nil
	}
	address, err := url.Parse(proxy)
	if err != nil || address.Hostname() == "" || !slices.Contains(proxySchemes, address.Scheme) {
		return fmt.Errorf("proxy_url must begin with one of %s and name a host, for example http://proxy:3128", strings.Join(proxySchemes, ", "))
	}
	return nil
}

// validateHeaders refuses those that would replace the exporter's own on every request: one workspace would get all tenants' spans.
func (cfg *Config) validateHeaders() error {
	for name, value := range cfg.ClientConfig.Headers.Iter {
		if instead, isOurs := ownHeaders[http.CanonicalHeaderKey(name)]; isOurs {
			return fmt.Errorf("headers: %s is set by the exporter itself; %s", name, instead)
		}
		if name == "" || strings.ContainsFunc(name, isNoneOfHeaderName) {
			return fmt.Errorf("headers: %q is no name of a header: write letters, digits and -", name)
		}
		if err := validateHeader("headers: "+name, string(value)); err != nil {
			return err
		}
	}
	return nil
}

func isNoneOfHeaderName(letter rune) bool {
	return letter > unicode.MaxASCII || !unicode.IsLetter(letter) && !unicode.IsDigit(letter) && letter != '-' && letter != '_'
}

// validateHeader says what is wrong with a value that goes into a header of each request, without the value.
func validateHeader(name, value string) error {
	for _, letter := range value {
		if letter < ' ' || letter > '~' {
			return fmt.Errorf("%s holds a character that a header cannot carry (a line break, or a letter outside ASCII); "+
				"it was probably copied with something around it: set it anew", name)
		}
	}
	return nil
}

func (cfg *Config) validateTenants() error {
	for _, tenant := range slices.Sorted(maps.Keys(cfg.Tenants)) {
		project := cfg.Tenants[tenant]
		name, workspace, hasWorkspace := strings.Cut(project, " @")
		if !hasWorkspace && strings.Contains(name, "@") {
			return fmt.Errorf("tenants: %q: in %q a blank is missing before @: write `project @workspace`", tenant, project)
		}
		if strings.TrimSpace(name) == "" || (hasWorkspace && strings.TrimSpace(workspace) == "") {
			return fmt.Errorf("tenants: %q must be `project` or `project @workspace`", tenant)
		}
		if err := validateHeader("the workspace of tenant "+strconv.Quote(tenant), workspace); err != nil {
			return fmt.Errorf("tenants: %w", err)
		}
	}
	return nil
}

func (cfg *Config) routing() opikrows.Routing {
	return opikrows.Routing{Project: cfg.Project, Service: cfg.Service, Tenants: cfg.Tenants}
}
