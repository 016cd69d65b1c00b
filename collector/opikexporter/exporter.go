package opikexporter

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/ptrace"
	"go.uber.org/zap"

	"github.com/otel-llm/otel-llm/collector/opikexporter/internal/opikrows"
)

// opikExporter turns batches into rows, rows into requests, and answers into errors that exporterhelper understands.
type opikExporter struct {
	cfg       *Config
	set       exporter.Settings
	routing   opikrows.Routing
	memory    *opikrows.Memory
	journal   *journal
	telemetry *telemetry
	client    *client
}

func newOpikExporter(cfg *Config, set exporter.Settings) (*opikExporter, error) {
	own, err := newTelemetry(set.TelemetrySettings, set.ID)
	if err != nil {
		return nil, fmt.Errorf("cannot create the exporter's metrics: %w", err)
	}
	return &opikExporter{
		cfg:       cfg,
		set:       set,
		routing:   cfg.routing(),
		memory:    opikrows.NewMemory(),
		journal:   newJournal(),
		telemetry: own,
	}, nil
}

func (e *opikExporter) start(ctx context.Context, host component.Host) (err error) {
	e.client, err = newClient(ctx, e.cfg, host, e.set.TelemetrySettings, e.set.BuildInfo)
	return err
}

func (e *opikExporter) shutdown(context.Context) error {
	if e.client != nil {
		e.client.close()
	}
	return nil
}

// push sends a batch, traces before spans. Sending it again is safe: every row replaces itself.
//
// The error is permanent only if Opik refused all of the batch's spans. Refused spans among others are counted and
// logged, and the rest is delivered; anything else is worth a retry.
func (e *opikExporter) push(ctx context.Context, batch ptrace.Traces) error {
	rows := opikrows.Map(batch, e.routing, e.memory)
	key := keyOf(rows)
	reached := e.journal.open(key)
	for _, workspace := range workspacesOf(rows.Spans) {
		err := e.deliver(ctx, kindTraces, workspace, reached.left(kindTraces, rows.Traces, workspace), reached)
		if err == nil {
			err = e.deliver(ctx, kindSpans, workspace, reached.left(kindSpans, rows.Spans, workspace), reached)
		}
		if err != nil {
			e.journal.keep(key, reached)
			return err
		}
	}
	return e.conclude(ctx, len(rows.Spans), reached.rejections)
}

// conclude counts and logs the refused spans of a batch that is finished.
func (e *opikExporter) conclude(ctx context.Context, spans int, rejections []rejection) error {
	for _, each := range rejections {
		e.telemetry.countRejected(ctx, each.reason)
	}
	if len(rejections) == 0 {
		return nil
	}
	first := rejections[0]
	//lint:ignore ST1005 Opik is a name
	err := fmt.Errorf("Opik refused %d of %d spans; the first is %s (%s): %s",
		len(rejections), spans, first.spanID, first.reason, first.words)
	if len(rejections) == spans {
		return consumererror.NewPermanent(err)
	}
	e.set.Logger.Warn("Spans were refused for good; the rest of their batch was delivered.", zap.Error(err))
	return nil
}

func workspacesOf(rows []opikrows.Row) []string {
	var names []string
	known := map[string]bool{}
	for _, row := range rows {
		if !known[row.Workspace] {
			known[row.Workspace] = true
			names = append(names, row.Workspace)
		}
	}
	return names
}

// deliver sends rows of one kind. Refused requests are divided until each bad row stands alone.
func (e *opikExporter) deliver(ctx context.Context, of kind, workspace string, rows []opikrows.Row, reached *progress) error {
	waiting := pack(of, rows)
	for len(waiting) > 0 {
		next := waiting[0]
		waiting = waiting[1:]
		err := e.post(ctx, of, workspace, next.body)
		var words *refused
		switch {
		case err == nil:
			reached.finish(of, next.rows)
		case !errors.As(err, &words):
			return err
		case len(next.rows) > 1:
			waiting = append(parted(of, next, words.badIndex), waiting...)
		default:
			if err := e.reject(ctx, of, workspace, next.rows, words, reached); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *opikExporter) post(ctx context.Context, of kind, workspace string, body []byte) error {
	err := e.client.post(ctx, of, workspace, body)
	e.telemetry.countRequest(ctx, of, err)
	return err
}

// reject deals with a single row that will never be taken. A trace still gets a row with nothing but name and times, so
// that it is listed; if that is refused too, so will its spans be, and those are counted.
func (e *opikExporter) reject(ctx context.Context, of kind, workspace string, alone []opikrows.Row, words *refused, reached *progress) error {
	row := alone[0]
	if of == kindSpans {
		reached.rejections = append(reached.rejections, rejection{row.SpanID, words.reason, words.words})
	} else {
		e.set.Logger.Warn("Opik refused the row of a trace; a bare one is sent.", zap.String("trace", row.ID), zap.Error(words))
		bare := pack(of, []opikrows.Row{row.Bare()})[0]
		var again *refused
		if err := e.post(ctx, of, workspace, bare.body); err != nil && !errors.As(err, &again) {
			return err
		}
	}
	reached.finish(of, alone)
	return nil
}
