// Linger runs a command and hands SIGTERM on to it late, so that a sidecar outlives the program whose spans it takes
// where the platform stops both at the same moment (Azure Container Apps).
//
//	/linger 10s /otelcol-llm --config /etc/otelcol/config.yaml
//
// A second SIGTERM, and SIGINT, are handed on at once. The exit code is that of the command.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fail("usage: linger DURATION COMMAND [ARGUMENT...], for example: linger 10s /otelcol-llm --config config.yaml")
	}
	delay, err := time.ParseDuration(os.Args[1])
	if err != nil || delay < 0 {
		fail(fmt.Sprintf("%q is no duration; write for example 10s", os.Args[1]))
	}
	os.Exit(run(delay, os.Args[2], os.Args[3:]))
}

func fail(words string) {
	fmt.Fprintln(os.Stderr, "linger:", words)
	os.Exit(2)
}

func run(delay time.Duration, name string, arguments []string) int {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	command := exec.Command(name, arguments...)
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := command.Start(); err != nil {
		fail(err.Error())
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	return attend(command.Process, delay, signals, ended)
}

func attend(process *os.Process, delay time.Duration, signals <-chan os.Signal, ended <-chan error) int {
	var late <-chan time.Time
	for {
		select {
		case err := <-ended:
			return exitCode(err)
		case <-late:
			_ = process.Signal(syscall.SIGTERM)
		case received := <-signals:
			if received == syscall.SIGTERM && late == nil {
				late = time.After(delay)
				continue
			}
			_ = process.Signal(received)
		}
	}
}

// exitCode follows the shells: 128 and the signal's number for a command that a signal ended.
func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		return 1
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}
