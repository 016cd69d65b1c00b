package queueguard

import (
	"sync"
	"time"
)

// lookPause is for how many times as long as a look at all files took it is true. There may be thousands of files, of as many queues,
// and one look for each item that is added would take all the time there is; this way it is a twentieth of it.
//
// A queue that is compacted meanwhile may so long be given room in its file that is the disk's by now. With the few files that are large enough to
// be compacted that is a millisecond.
const lookPause = 20

// look at the sizes of all files.
type look struct {
	mutex sync.Mutex
	now   func() time.Time
	until time.Time // it is true
	bytes uint64
}

// fileBytes are those of all queue files: which of them is whose only file_storage knows.
func (g *guard) fileBytes() uint64 {
	last := &g.look
	last.mutex.Lock()
	defer last.mutex.Unlock()
	begun := last.now()
	if begun.Before(last.until) {
		return last.bytes
	}
	last.bytes = 0
	files, _ := g.queueFiles() // what cannot be read is not counted, and then is smaller, which is the safe side
	for _, file := range files {
		last.bytes += file.size
	}
	ended := last.now()
	last.until = ended.Add(lookPause * ended.Sub(begun))
	return last.bytes
}
