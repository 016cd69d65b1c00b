package opikexporter

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"

	"go.opentelemetry.io/collector/component"
)

// maxAnswerBytes is as much of an answer as anybody reads.
const maxAnswerBytes = 64 << 10

// client sends parcels to one Opik.
type client struct {
	http      *http.Client
	base      string
	apiKey    string
	workspace string
	userAgent string
}

func newClient(ctx context.Context, cfg *Config, host component.Host, set component.TelemetrySettings, build component.BuildInfo) (*client, error) {
	transport, err := cfg.ClientConfig.ToClient(ctx, host.GetExtensions(), set)
	if err != nil {
		return nil, fmt.Errorf("cannot set up HTTP to Opik: %w", err)
	}
	transport.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{
		http:      transport,
		base:      strings.TrimRight(cfg.ClientConfig.Endpoint, "/"),
		apiKey:    strings.TrimSpace(string(cfg.APIKey)),
		workspace: cfg.workspaceOf(""),
		userAgent: build.Command + "/" + build.Version,
	}, nil
}

// post sends one request. The error is *refused if it is about the rows, else it is worth a retry.
func (c *client) post(ctx context.Context, of kind, workspace string, body []byte) error {
	to := endpoints[of]
	request, err := http.NewRequestWithContext(ctx, to.method, c.base+to.path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if workspace == "" {
		workspace = c.workspace
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", c.userAgent)
	request.Header.Set("Comet-Workspace", workspace)
	if c.apiKey != "" {
		request.Header.Set("Authorization", c.apiKey)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return silent("Opik gave no answer", err, c.apiKey)
	}
	defer response.Body.Close()
	said, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return silent("Opik broke off in the middle of its answer", err, c.apiKey)
	}
	return judge(discreet(answer{response.StatusCode, response.Header, said}, body, c.apiKey))
}

func (c *client) close() { c.http.CloseIdleConnections() }
