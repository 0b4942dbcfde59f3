/* Faults on demand for a server under test: loaded with LD_PRELOAD, it makes chosen calls on chosen files fail or take long.
 *
 * OSTLER_FAULTS names a file with lines "CALL TEXT WHAT": CALL is write, sync, rename or truncate, TEXT a part of the file's
 * path, WHAT "errno N" or "stall MS". It is read at each call, so a test changes it while the server runs. A line
 * "half write TEXT errno N" writes half of the bytes first, as a full file system does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NONE = 0 };

/* The errno to fail with, or NONE; stalls before it returns. `half` is set where half of a write is to be done first. */
static int fault(const char *call, const char *path, int *half) {
    const char *control = getenv("OSTLER_FAULTS");
    char text[4096], want[32], part[256], what[32];
    long number;
    if (control == NULL || path == NULL) return NONE;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return NONE;
    ssize_t n = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (n <= 0) return NONE;
    text[n] = 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        *half = strncmp(line, "half ", 5) == 0;
        if (sscanf(*half ? line + 5 : line, "%31s %255s %31s %ld", want, part, what, &number) != 4) continue;
        if (strcmp(want, call) != 0 || strstr(path, part) == NULL) continue;
        if (strcmp(what, "stall") == 0) {
            struct timespec pause = {number / 1000, number % 1000 * 1000000};
            nanosleep(&pause, NULL);
            return NONE;
        }
        return (int)number;
    }
    *half = 0;
    return NONE;
}

static int fault_at(const char *call, int fd, int *half) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return NONE;
    path[n] = 0;
    return fault(call, path, half);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int failed(int error) {
    errno = error;
    return -1;
}

static ssize_t write_at(int fd, const void *bytes, size_t count, off_t offset) {
    int half, error = fault_at("write", fd, &half);
    /* The second half finds nothing left, and fails. */
    if (error != NONE && half && count > 1) return syscall(SYS_pwrite64, fd, bytes, count / 2, offset);
    if (error != NONE) return failed(error);
    return syscall(SYS_pwrite64, fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) { return write_at(fd, bytes, count, offset); }

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) { return write_at(fd, bytes, count, offset); }

int fsync(int fd) {
    int half, error = fault_at("sync", fd, &half);
    return error == NONE ? REAL(fsync)(fd) : failed(error);
}

int fdatasync(int fd) {
    int half, error = fault_at("sync", fd, &half);
    return error == NONE ? REAL(fdatasync)(fd) : failed(error);
}

int ftruncate64(int fd, off64_t length) {
    int half, error = fault_at("truncate", fd, &half);
    return error == NONE ? REAL(ftruncate64)(fd, length) : failed(error);
}

int rename(const char *from, const char *to) {
    int half, error = fault("rename", to, &half);
    return error == NONE ? REAL(rename)(from, to) : failed(error);
}
