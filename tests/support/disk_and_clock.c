/* Faults of the disk and a moved wall clock, preloaded into one program: a file of numbers, which it maps, switches them. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct faults {
    int64_t write_error;   /* errno of each pwrite; 0: none */
    int64_t sync_error;    /* errno of each sync of a file *.db; 0: none */
    int64_t is_small;      /* whether the disk has no free space left */
    int64_t clock_seconds; /* added to the wall clock */
    int64_t sync_seconds;  /* how long each sync takes, at least */
};

static volatile struct faults *faults;

__attribute__((constructor)) static void map_faults(void)
{
    int descriptor = open(getenv("TEST_FAULTS"), O_RDONLY | O_CLOEXEC);
    faults = mmap(NULL, sizeof *faults, PROT_READ, MAP_SHARED, descriptor, 0);
    close(descriptor);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t place)
{
    if (faults->write_error) {
        errno = (int)faults->write_error;
        return -1;
    }
    return REAL(pwrite64)(descriptor, bytes, size, place);
}

int fdatasync(int descriptor)
{
    if (faults->sync_seconds)
        sleep((unsigned)faults->sync_seconds);
    char link[64], name[4096] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, name, sizeof name - 1);
    if (faults->sync_error && size > 3 && strcmp(name + size - 3, ".db") == 0) {
        errno = (int)faults->sync_error;
        return -1;
    }
    return REAL(fdatasync)(descriptor);
}

int fsync(int descriptor)
{
    return fdatasync(descriptor);
}

int statvfs64(const char *path, struct statvfs64 *found)
{
    int result = REAL(statvfs64)(path, found);
    if (result == 0 && faults->is_small)
        found->f_bavail = 0;
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *found)
{
    /* Not by dlsym: a sanitizer asks for the time before that can allocate. */
    int result = syscall(SYS_clock_gettime, clock, found);
    if (result == 0 && clock == CLOCK_REALTIME && faults)
        found->tv_sec += faults->clock_seconds;
    return result;
}

int gettimeofday(struct timeval *found, void *zone)
{
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    (void)zone;
    found->tv_sec = now.tv_sec;
    found->tv_usec = now.tv_nsec / 1000;
    return result;
}

time_t time(time_t *found)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (found)
        *found = now.tv_sec;
    return now.tv_sec;
}
