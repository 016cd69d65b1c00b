package queueguard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// The check of files runs in a process of its own: bbolt maps the file into memory, and what is corrupt in it ends the
// process by a fault, or by a panic on a goroutine of bbolt's, neither of which can be caught. That process is this
// program again, told by the environment what to do; it ends in init, before anything of a Collector begins. It goes from one
// file to the next until one is not sound: to begin for each of them would take the most time where there are hundreds.
const (
	filesVariable = "OTELCOL_QUEUE_GUARD_FILES"
	separator     = "\n"

	exitSound     = 0
	exitCorrupt   = 70
	exitUndecided = 71

	storageBucket = "default" // file_storage's only one

	lockTimeout  = time.Second
	maxLastWords = 400
)

func init() {
	if os.Getenv(filesVariable) != "" {
		os.Exit(checkAll(os.Stdin, os.Stdout))
	}
}

// checkAll files whose names are read, and writes a separator for each that is sound. What it says and how it ends is about the first
// that is not.
func checkAll(names io.Reader, sound io.Writer) int {
	all, err := io.ReadAll(names)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUndecided
	}
	for file := range strings.SplitSeq(string(all), separator) {
		if code := checkHere(file); code != exitSound {
			return code
		}
		_, _ = io.WriteString(sound, separator)
	}
	return exitSound
}

// checkHere opens a file as file_storage does, but read-only, reads all of it, and says with its exit code how it is.
func checkHere(file string) int {
	err := read(file)
	var system syscall.Errno
	var path *fs.PathError
	switch {
	case err == nil:
		return exitSound
	case errors.Is(err, berrors.ErrTimeout), errors.As(err, &path), errors.As(err, &system):
		fmt.Fprintln(os.Stderr, err)
		return exitUndecided
	}
	fmt.Fprintln(os.Stderr, err)
	return exitCorrupt
}

func read(file string) error {
	db, err := bbolt.Open(file, 0o600, &bbolt.Options{ReadOnly: true, Timeout: lockTimeout})
	if err != nil {
		return err
	}
	defer db.Close()
	again, err := os.Open(file)
	if err != nil {
		return err
	}
	defer again.Close()
	return db.View(func(tx *bbolt.Tx) error {
		size, root := db.Info().PageSize, tx.Cursor().Bucket()
		all := &pages{file: again, size: size, end: uint64(tx.Size() / int64(size)), met: map[uint64]bool{}}
		if _, _, err := all.tree(uint64(root.Root())); err != nil {
			return err
		}
		if err := all.free(uint64(tx.ID())); err != nil {
			return err
		}
		for fault := range tx.Check() {
			return fault
		}
		return tx.ForEach(func(name []byte, bucket *bbolt.Bucket) error {
			switch {
			case bucket == nil:
				return fmt.Errorf("%q is not a bucket", name)
			case string(name) != storageBucket:
				return nil
			}
			return bucket.ForEachBucket(func(key []byte) error {
				return fmt.Errorf("%q holds a bucket, %q, where file_storage has items only", name, key)
			})
		})
	})
}

// verdict on a file: corrupt with its reason, undecided with its reason, or neither.
type verdict struct {
	corrupt   bool
	undecided bool
	reason    string
}

// checkApart has files checked by a process of its own, which ends with ctx: how many are sound, and what the next one is.
func checkApart(ctx context.Context, files []string) (sound int, next verdict) {
	self, err := os.Executable()
	if err != nil {
		return 0, verdict{undecided: true, reason: err.Error()}
	}
	var passed, said bytes.Buffer
	child := exec.CommandContext(ctx, self)
	child.Env = []string{filesVariable + "=1"}
	child.Stdin = strings.NewReader(strings.Join(files, separator))
	child.Stdout, child.Stderr = &passed, &said
	err = child.Run()
	return min(bytes.Count(passed.Bytes(), []byte(separator)), len(files)), verdictOf(ctx, err, said.String())
}

// verdictOf a process that ended so.
func verdictOf(ctx context.Context, err error, said string) verdict {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return verdict{}
	case ctx.Err() != nil:
		return verdict{undecided: true, reason: "the time for it was up"}
	case !errors.As(err, &ended):
		return verdict{undecided: true, reason: err.Error()}
	case ended.ExitCode() == exitUndecided, ended.ExitCode() < 0: // killed from outside, as when memory is short
		return verdict{undecided: true, reason: firstLineOf(said, ended)}
	}
	return verdict{corrupt: true, reason: firstLineOf(said, ended)}
}

// firstLineOf what a process said, for a log: a crash says its reason first, and then page after page of stacks.
func firstLineOf(said string, ended error) string {
	for line := range strings.Lines(said) {
		if line = strings.TrimSpace(line); line != "" {
			return line[:min(len(line), maxLastWords)]
		}
	}
	return ended.Error()
}
