/* Faults on demand for a server under test: loaded with LD_PRELOAD, it makes chosen calls on chosen files fail or take long.
 *
 * OSTLER_FAULTS names a file with lines "CALL TEXT WHAT": CALL is write, sync, rename or truncate, TEXT a part of the file's
 * path, WHAT "errno N" or "stall MS". It is read at each call, so a test changes it while the server runs. A line
 * "half write TEXT errno N" writes half of the bytes first, as a full file system does. A line "read TEXT at OFFSET errno N" is a
 * sector that can't be read: what stands before it can be. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NONE = 0, SECTOR = 512 };

/* What the control file says; false: nothing. */
static int said(char *text, size_t size) {
    const char *control = getenv("OSTLER_FAULTS");
    if (control == NULL) return 0;
    int fd = (int)syscall(SYS_openat, AT_FDCWD, control, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    ssize_t n = syscall(SYS_read, fd, text, size - 1);
    syscall(SYS_close, fd);
    if (n <= 0) return 0;
    text[n] = 0;
    return 1;
}

/* The errno to fail with, or NONE; stalls before it returns. `half` is set where half of a write is to be done first. */
static int fault(const char *call, const char *path, int *half) {
    char text[4096], want[32], part[256], what[32];
    long number;
    if (path == NULL || !said(text, sizeof text)) return NONE;
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

static int path_of(int fd, char *path, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, size - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return 1;
}

static int fault_at(const char *call, int fd, int *half) {
    char path[4096];
    return path_of(fd, path, sizeof path) ? fault(call, path, half) : NONE;
}

/* The errno that a sector of this file fails with, and where it begins; or NONE. */
static int bad_sector(int fd, off_t *at) {
    struct stat about;
    char path[4096], text[4096], part[256];
    long long offset;
    int number;
    if (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode)) return NONE;
    if (!path_of(fd, path, sizeof path) || !said(text, sizeof text)) return NONE;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (sscanf(line, "read %255s at %lld errno %d", part, &offset, &number) != 3) continue;
        if (strstr(path, part) == NULL) continue;
        *at = (off_t)offset;
        return number;
    }
    return NONE;
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

/* How much of a read may be done; -1: nothing, with errno set. */
static ssize_t readable(int fd, size_t count, off_t offset, int is_at_cursor) {
    off_t bad = 0;
    int before = errno, error = bad_sector(fd, &bad);
    errno = before;
    if (error == NONE) return (ssize_t)count;
    if (is_at_cursor) offset = lseek(fd, 0, SEEK_CUR);
    if (offset >= bad + SECTOR || offset + (off_t)count <= bad) return (ssize_t)count;
    return offset >= bad ? failed(error) : (ssize_t)(bad - offset);
}

ssize_t read(int fd, void *bytes, size_t count) {
    ssize_t may = readable(fd, count, 0, 1);
    return may < 0 ? may : syscall(SYS_read, fd, bytes, may);
}

static ssize_t read_at(int fd, void *bytes, size_t count, off_t offset) {
    ssize_t may = readable(fd, count, offset, 0);
    return may < 0 ? may : syscall(SYS_pread64, fd, bytes, may, offset);
}

ssize_t pread(int fd, void *bytes, size_t count, off_t offset) { return read_at(fd, bytes, count, offset); }

ssize_t pread64(int fd, void *bytes, size_t count, off64_t offset) { return read_at(fd, bytes, count, offset); }

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
