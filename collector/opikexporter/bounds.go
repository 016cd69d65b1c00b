package opikexporter

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/configcompression"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
)

const (
	shortestTime = time.Millisecond
	longestTime  = 24 * time.Hour
	// leastQueue of a workspace in bytes: what is smaller was most likely meant as a number of requests, and no span with content fits.
	leastQueue = 16 << 10
)

var (
	// neededTimes are none of those that may be 0 for "none": no attempt would end, attempts would follow each other without a pause.
	neededTimes = map[string]bool{
		"timeout": true, "retry_on_failure::initial_interval": true, "retry_on_failure::max_interval": true,
		"sending_queue::batch::flush_timeout": true,
	}
	// leastOf and mostOf numbers: with less retries follow each other without a pause, with more the first use takes all memory.
	leastOf = map[string]float64{"retry_on_failure::multiplier": 1}
	mostOf  = map[string]float64{
		"sending_queue::num_consumers": 10_000, "read_buffer_size": 64 << 20, "write_buffer_size": 64 << 20,
	}
)

// validateNumbers goes through all numbers and times of a section, those of other people's structs too, so that none is forgotten.
func validateNumbers(section string, settings reflect.Value) (wrong error) {
	if _, isOptional := heldBy(settings.Type()); isOptional {
		held := settings.Addr().MethodByName("Get").Call(nil)[0]
		if held.IsNil() {
			return nil
		}
		settings = held.Elem()
	}
	for index := range settings.NumField() {
		field := settings.Type().Field(index)
		name, options, _ := strings.Cut(field.Tag.Get("mapstructure"), ",")
		switch {
		case strings.Contains(options, "squash"):
			wrong = errors.Join(wrong, validateNumbers(section, settings.Field(index)))
		case name == "" || name == "-":
		case isSection(field.Type):
			wrong = errors.Join(wrong, validateNumbers(section+name+"::", settings.Field(index)))
		default:
			wrong = errors.Join(wrong, validateNumber(section+name, settings.Field(index)))
		}
	}
	return wrong
}

func validateNumber(name string, given reflect.Value) error {
	number := 0.0
	switch value := given.Interface().(type) {
	case time.Duration:
		return validateTime(name, value)
	case configcompression.Level: // it knows its own, and -1 is one
		return nil
	default:
		switch {
		case given.CanInt():
			number = float64(given.Int())
		case given.CanFloat():
			number = given.Float()
		default:
			return nil
		}
	}
	if least := leastOf[name]; !(number >= least) { // which is so also of what is no number
		return fmt.Errorf("%s is %v: write a number from %v up", name, number, least)
	}
	if most, isBounded := mostOf[name]; isBounded && number > most {
		return fmt.Errorf("%s is %.0f: write a number up to %.0f", name, number, most)
	}
	return nil
}

// validateTime refuses a time without a unit, which are nanoseconds, and one that is longer than anybody waits.
func validateTime(name string, given time.Duration) error {
	switch needed := neededTimes[name]; {
	case given < shortestTime && (needed || given != 0):
		return fmt.Errorf("%s is %v: write it with a unit, for example 30s", name, given)
	case given > longestTime && needed:
		return fmt.Errorf("%s is %v: write a time up to %v, for example 30s", name, given, longestTime)
	}
	return nil
}

// validateQueue refuses one of which no workspace has a part that could hold a span.
func (cfg *Config) validateQueue() error {
	queue, lanes := cfg.QueueConfig.Get(), int64(len(cfg.workspaces()))
	if queue == nil || queue.Sizer != exporterhelper.RequestSizerTypeBytes || queue.QueueSize <= 0 || queue.QueueSize/lanes >= leastQueue {
		return nil
	}
	return fmt.Errorf("sending_queue::queue_size is %d bytes for %d workspaces, too few for a span with content: write bytes, for example %d, "+
		"or `sizer: requests` if it is a number of requests", queue.QueueSize, lanes, max(64<<20, lanes<<20))
}
