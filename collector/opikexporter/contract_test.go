package opikexporter

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.opentelemetry.io/collector/pipeline"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func assertAs(err error, target any) bool { return errors.As(err, target) }

// rowReceiver reads span rows back as spans, so that the Collector's contract checker can count them.
type rowReceiver struct {
	component.StartFunc
	component.ShutdownFunc
	t    *testing.T
	next consumer.Traces
}

func (r *rowReceiver) serve(answer http.ResponseWriter, request *http.Request) {
	got := readCall(r.t, request)
	if got.of == kindTraces {
		answer.WriteHeader(http.StatusNoContent)
		return
	}
	spans := ptrace.NewTraces()
	scope := spans.ResourceSpans().AppendEmpty().ScopeSpans().AppendEmpty()
	for _, row := range got.rows {
		id, _ := row["metadata"].(jsonRow)["test_id"].(string)
		scope.Spans().AppendEmpty().Attributes().PutStr("test_id", id)
	}
	err := r.next.ConsumeTraces(request.Context(), spans)
	switch {
	case err == nil:
		answer.WriteHeader(http.StatusNoContent)
	case consumererror.IsPermanent(err):
		refuse(answer, http.StatusBadRequest, err.Error())
	default:
		refuse(answer, http.StatusServiceUnavailable, err.Error())
	}
}

// The exporter keeps the Collector's contract: permanent errors are not retried, all others are until they succeed.
func TestConsumeContract(t *testing.T) {
	var newest atomic.Pointer[rowReceiver] // one for each scenario, all behind one server, so that its port is ours all along
	server := httptest.NewServer(http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		newest.Load().serve(answer, request)
	}))
	t.Cleanup(server.Close)

	cfg := createDefaultConfig().(*Config)
	cfg.ClientConfig.Endpoint = server.URL
	cfg.QueueConfig = configoptional.None[exporterhelper.QueueBatchConfig]()
	cfg.RetryConfig.InitialInterval = time.Millisecond
	cfg.RetryConfig.MaxInterval = 10 * time.Millisecond

	receivers := receiver.NewFactory(component.MustNewType("rows"), func() component.Config { return &struct{}{} },
		receiver.WithTraces(func(_ context.Context, _ receiver.Settings, _ component.Config, next consumer.Traces) (receiver.Traces, error) {
			made := &rowReceiver{t: t, next: next}
			newest.Store(made)
			return made, nil
		}, component.StabilityLevelDevelopment))

	exportertest.CheckConsumeContract(exportertest.CheckConsumeContractParams{
		T:                    t,
		NumberOfTestElements: 10,
		Signal:               pipeline.SignalTraces,
		ExporterFactory:      NewFactory(),
		ExporterConfig:       cfg,
		ReceiverFactory:      receivers,
		ReceiverConfig:       receivers.CreateDefaultConfig(),
	})
}
