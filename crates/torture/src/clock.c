/* Moves the wall clock of one process, for clock.rs: loaded before libc (LD_PRELOAD). By how many seconds, stands as a
 * 64-bit number in the file named by JACKDAW_TORTURE_CLOCK, which is mapped: a jump is there at once. All other clocks
 * are left alone. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const int64_t *wrong_by;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void map_it(void) {
    const char *path = getenv("JACKDAW_TORTURE_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof *wrong_by, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (mapped != MAP_FAILED) wrong_by = mapped;
}

int clock_gettime(clockid_t which, struct timespec *now) {
    /* Before the constructor has run there is the kernel. */
    int result = real ? real(which, now) : (int)syscall(SYS_clock_gettime, which, now);
    if (result == 0 && wrong_by && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE)) now->tv_sec += *wrong_by;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    int result = now ? clock_gettime(CLOCK_REALTIME, &exact) : 0;
    (void)zone;
    if (now && result == 0) {
        now->tv_sec = exact.tv_sec;
        now->tv_usec = exact.tv_nsec / 1000;
    }
    return result;
}

time_t time(time_t *into) {
    struct timespec exact;
    if (clock_gettime(CLOCK_REALTIME, &exact) != 0) return -1;
    if (into) *into = exact.tv_sec;
    return exact.tv_sec;
}
