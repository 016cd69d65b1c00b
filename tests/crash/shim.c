/*
 * Disasters that need the C library: put before a program with LD_PRELOAD (tests/crash/shim.py compiles and drives it).
 *
 * SHIM_LOG=FILE, SHIM_WATCH=DIRECTORY  every change to a file below the directory, and every sync, is written to the log
 *                                      in the order in which it happened: what a disk had at any moment can be worked out.
 * SHIM_CONTROL=FILE                    32 bytes that the test changes while the program runs: nanoseconds to add to the
 *                                      wall clock (int64), an errno (int32) with which writes and syncs below the
 *                                      directory fail, and whether the system has no thread to give (int32).
 *
 * A record of the log: int32 kind, int32 length of the path, int64 offset, int64 length of the data, double monotonic
 * seconds, the path, the data.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { WRITE = 1, TRUNCATE = 2, SYNC = 3, UNLINK = 4, CREATE = 5 };

struct head {
    int32_t kind, path_length;
    int64_t offset, length;
    double at;
};

struct control {
    volatile int64_t clock_shift;
    volatile int32_t fail_with;
    volatile int32_t no_threads;
    char unused[16];
};

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static const char *watched;
static size_t watched_length;
static int log_file = -1;
static struct control none, *control = &none;

static int (*real_open)(const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_truncate)(int, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_unlink)(const char *);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_clock)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    real_open = dlsym(RTLD_NEXT, "open64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_truncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    real_clock = dlsym(RTLD_NEXT, "clock_gettime");
    const char *log = getenv("SHIM_LOG"), *file = getenv("SHIM_CONTROL");
    watched = getenv("SHIM_WATCH");
    watched_length = watched ? strlen(watched) : 0;
    if (log)
        log_file = real_open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file) {
        int fd = real_open(file, O_RDWR | O_CLOEXEC);
        void *found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (found != MAP_FAILED)
            control = found;
        if (fd >= 0)
            close(fd);
    }
}

/* Whether a file is one of those that we look at; its path goes into `path`. Shared memory of SQLite's is no disk. */
static int is_watched_path(const char *path) {
    size_t length = strlen(path);
    return watched_length && strncmp(path, watched, watched_length) == 0 &&
           !(length > 4 && strcmp(path + length - 4, "-shm") == 0);
}

static int is_watched(int fd, char *path, size_t room) {
    char link[64];
    if (!watched_length)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, room - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_watched_path(path);
}

static void note(enum kind kind, const char *path, int64_t offset, const void *data, int64_t length) {
    struct timespec now;
    if (log_file < 0)
        return;
    real_clock(CLOCK_MONOTONIC, &now);
    struct head head = {kind, (int32_t)strlen(path), offset, data ? length : 0, now.tv_sec + now.tv_nsec / 1e9};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)path, strlen(path)}, {(void *)data, data ? length : 0}};
    if (writev(log_file, parts, 3) < 0)
        abort(); /* a log with a hole would prove nothing */
}

static int failing(void) {
    if (!control->fail_with)
        return 0;
    errno = control->fail_with;
    return 1;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset) {
    char path[4096];
    if (!is_watched(fd, path, sizeof path))
        return real_pwrite(fd, data, length, offset);
    if (failing())
        return -1;
    pthread_mutex_lock(&order);
    ssize_t done = real_pwrite(fd, data, length, offset);
    if (done > 0)
        note(WRITE, path, offset, data, done);
    pthread_mutex_unlock(&order);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) { return pwrite64(fd, data, length, offset); }

ssize_t write(int fd, const void *data, size_t length) {
    char path[4096];
    if (!is_watched(fd, path, sizeof path))
        return real_write(fd, data, length);
    if (failing())
        return -1;
    pthread_mutex_lock(&order);
    ssize_t done = real_write(fd, data, length);
    if (done > 0)
        note(WRITE, path, lseek(fd, 0, SEEK_CUR) - done, data, done);
    pthread_mutex_unlock(&order);
    return done;
}

int ftruncate64(int fd, off64_t length) {
    char path[4096];
    if (!is_watched(fd, path, sizeof path))
        return real_truncate(fd, length);
    if (failing())
        return -1;
    pthread_mutex_lock(&order);
    int done = real_truncate(fd, length);
    if (done == 0)
        note(TRUNCATE, path, length, NULL, 0);
    pthread_mutex_unlock(&order);
    return done;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

/* Nothing is written while a sync runs, so that it covers exactly what stands before it in the log. */
static int sync_with(int (*real)(int), int fd) {
    char path[4096];
    if (!is_watched(fd, path, sizeof path))
        return real(fd);
    if (failing())
        return -1;
    pthread_mutex_lock(&order);
    int done = real(fd);
    if (done == 0)
        note(SYNC, path, 0, NULL, 0);
    pthread_mutex_unlock(&order);
    return done;
}

int fsync(int fd) { return sync_with(real_fsync, fd); }

int fdatasync(int fd) { return sync_with(real_fdatasync, fd); }

int unlink(const char *path) {
    if (!is_watched_path(path))
        return real_unlink(path);
    pthread_mutex_lock(&order);
    int done = real_unlink(path);
    if (done == 0)
        note(UNLINK, path, 0, NULL, 0);
    pthread_mutex_unlock(&order);
    return done;
}

int mkdir(const char *path, mode_t mode) {
    if (!is_watched_path(path))
        return real_mkdir(path, mode);
    pthread_mutex_lock(&order);
    int done = real_mkdir(path, mode);
    if (done == 0)
        note(CREATE, path, 0, NULL, 0);
    pthread_mutex_unlock(&order);
    return done;
}

int open64(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    struct stat64 found;
    if (!(flags & O_CREAT) || !is_watched_path(path) || lstat64(path, &found) == 0)
        return real_open(path, flags, mode);
    pthread_mutex_lock(&order);
    int fd = real_open(path, flags, mode);
    if (fd >= 0)
        note(CREATE, path, 0, NULL, 0);
    pthread_mutex_unlock(&order);
    return fd;
}

int open(const char *path, int flags, ...) {
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return open64(path, flags, mode);
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*begin_with)(void *), void *with) {
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (control->no_threads)
        return EAGAIN;
    if (!real)
        real = dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, begin_with, with);
}

/* --- the wall clock ---------------------------------------------------------------------------------------------- */

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = real_clock(clock, now);
    if (done == 0 && clock == CLOCK_REALTIME && control->clock_shift) {
        int64_t moment = now->tv_sec * 1000000000LL + now->tv_nsec + control->clock_shift;
        now->tv_sec = moment / 1000000000LL;
        now->tv_nsec = moment % 1000000000LL;
    }
    return done;
}

time_t time(time_t *into) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (into)
        *into = now.tv_sec;
    return now.tv_sec;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec found;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &found);
    now->tv_sec = found.tv_sec;
    now->tv_usec = found.tv_nsec / 1000;
    return 0;
}
