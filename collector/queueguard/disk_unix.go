//go:build linux || darwin

package queueguard

import "syscall"

// diskOf a directory: bytes free for programs that are not root, and bytes in all; false where the system does not say.
func diskOf(directory string) (free, size uint64, known bool) {
	var found syscall.Statfs_t
	if err := syscall.Statfs(directory, &found); err != nil {
		return 0, 0, false
	}
	block := uint64(found.Bsize)
	return uint64(found.Bavail) * block, uint64(found.Blocks) * block, true
}
