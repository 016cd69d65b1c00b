package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// begin starts a shell command under attend and returns where to send signals and where its exit code comes out.
func begin(t *testing.T, delay time.Duration, script string) (chan<- os.Signal, <-chan int) {
	t.Helper()
	command := exec.Command("sh", "-c", script)
	ready, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	signals, ended, code := make(chan os.Signal, 4), make(chan error, 1), make(chan int, 1)
	go func() { ended <- command.Wait() }()
	go func() { code <- attend(command.Process, delay, signals, ended) }()
	return signals, code
}

const waits = `trap 'kill $! 2>/dev/null; exit 7' TERM; echo; sleep 60 & wait`

func TestHandsTermOnLate(t *testing.T) {
	signals, code := begin(t, 300*time.Millisecond, waits)
	sent := time.Now()
	signals <- syscall.SIGTERM
	if got := <-code; got != 7 {
		t.Errorf("exit code %d, want 7", got)
	}
	if time.Since(sent) < 300*time.Millisecond {
		t.Error("the signal was handed on too early")
	}
}

func TestSecondTermIsHandedOnAtOnce(t *testing.T) {
	signals, code := begin(t, time.Hour, waits)
	signals <- syscall.SIGTERM
	signals <- syscall.SIGTERM
	if got := <-code; got != 7 {
		t.Errorf("exit code %d, want 7", got)
	}
}

func TestExitCodes(t *testing.T) {
	for script, want := range map[string]int{"echo; exit 0": 0, "echo; exit 3": 3, "echo; kill -9 $$": 137} {
		if _, code := begin(t, time.Hour, script); <-code != want {
			t.Errorf("%q: wrong exit code, want %d", script, want)
		}
	}
}
