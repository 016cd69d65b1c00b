// Package queueguard is the extension `queue_guard`: before the pipelines start it moves queue files that file_storage
// could not open, or would crash on, out of the way.
package queueguard
