/* Makes a disk fail on demand, for tests/crash.rs: loaded before libc (LD_PRELOAD). While the file named by
 * JACKDAW_TEST_FAULT_FSYNC exists, flushing a SQLite log fails with EIO; while the one named by
 * JACKDAW_TEST_FAULT_WRITE exists, writing to one fails with ENOSPC; while the one named by JACKDAW_TEST_FAULT_ROOM
 * exists, every write to the database itself or to the index of its log does, as on a disk on which only the log has
 * the room that it had before. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int wanted(const char *setting) {
    const char *path = getenv(setting);
    return path && access(path, F_OK) == 0;
}

static int is_named(int fd, const char *end) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path), ending = strlen(end);
    return length > ending && memcmp(path + length - ending, end, ending) == 0;
}

static int is_log(int fd) { return is_named(fd, "-wal"); }

static int fails(int fd, const char *setting, int error) {
    int before = errno;
    if (is_log(fd) && wanted(setting)) {
        errno = error;
        return 1;
    }
    errno = before;
    return 0;
}

static int has_no_room(int fd) {
    int before = errno;
    if ((is_named(fd, "-shm") || is_named(fd, ".db")) && wanted("JACKDAW_TEST_FAULT_ROOM")) {
        errno = ENOSPC;
        return 1;
    }
    errno = before;
    return fails(fd, "JACKDAW_TEST_FAULT_WRITE", ENOSPC);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) { return fails(fd, "JACKDAW_TEST_FAULT_FSYNC", EIO) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return fails(fd, "JACKDAW_TEST_FAULT_FSYNC", EIO) ? -1 : REAL(fdatasync)(fd); }

ssize_t write(int fd, const void *from, size_t length) {
    return has_no_room(fd) ? -1 : REAL(write)(fd, from, length);
}
ssize_t pwrite(int fd, const void *from, size_t length, off_t at) {
    return has_no_room(fd) ? -1 : REAL(pwrite)(fd, from, length, at);
}
ssize_t pwrite64(int fd, const void *from, size_t length, off64_t at) {
    return has_no_room(fd) ? -1 : REAL(pwrite64)(fd, from, length, at);
}
