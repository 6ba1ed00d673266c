/* Records each change of the files below a folder: a library that tests preload into a program.

   RECORDED_FOLDER names the folder, RECORDED_LOG the file of the records. A record is

       kind (1 byte), path size (u32), offset (u64), data size (u64), path, data

   in the byte order of the machine, with the path relative to the folder, "" for the folder itself. Kinds: O created or
   opened to be created (offset 1: cut to nothing), W written, T truncated to the offset, S synced, R renamed to the data,
   U unlinked. A record follows its change, so that all records before one of kind S are on the disk. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_size;
static int recorded = -1;

#define REAL(result, name, ...)                                    \
    static result (*real_##name)(__VA_ARGS__);                     \
    if (real_##name == NULL)                                       \
        real_##name = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

__attribute__((constructor)) static void begin(void) {
    REAL(int, open, const char *, int, ...);
    const char *log = getenv("RECORDED_LOG"), *name = getenv("RECORDED_FOLDER");
    if (log == NULL || name == NULL || realpath(name, folder) == NULL)
        return;
    folder_size = strlen(folder);
    recorded = real_open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

/* Returns the part of an absolute path below the folder; NULL for one outside, and for the memory that SQLite shares. */
static const char *below(const char *path) {
    if (recorded < 0 || strncmp(path, folder, folder_size) != 0)
        return NULL;
    path += folder_size;
    if (*path == '\0')
        return path;
    size_t size = strlen(path);
    if (*path != '/' || (size > 4 && strcmp(path + size - 4, "-shm") == 0))
        return NULL;
    return path + 1;
}

static const char *path_of(int descriptor, char *space) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, space, PATH_MAX - 1);
    if (size < 0)
        return NULL;
    space[size] = '\0';
    return below(space);
}

static void record(char kind, const char *path, uint64_t offset, const void *data, uint64_t size) {
    uint32_t path_size = (uint32_t)strlen(path);
    struct iovec parts[] = {
        {&kind, 1}, {&path_size, 4}, {&offset, 8}, {&size, 8}, {(void *)path, path_size}, {(void *)data, size},
    };
    if (writev(recorded, parts, 6) != (ssize_t)(21 + path_size + size))
        abort();
}

static int opened(int descriptor, int flags) {
    char space[PATH_MAX];
    const char *path = descriptor < 0 || !(flags & (O_CREAT | O_TRUNC)) ? NULL : path_of(descriptor, space);
    if (path != NULL)
        record('O', path, (flags & O_TRUNC) != 0, NULL, 0);
    return descriptor;
}

#define OPEN(name)                                             \
    int name(const char *path, int flags, ...) {               \
        REAL(int, name, const char *, int, ...);               \
        va_list more;                                          \
        va_start(more, flags);                                 \
        int mode = flags & O_CREAT ? va_arg(more, int) : 0;    \
        va_end(more);                                          \
        pthread_mutex_lock(&order);                            \
        int found = opened(real_##name(path, flags, mode), flags); \
        pthread_mutex_unlock(&order);                          \
        return found;                                          \
    }

OPEN(open)
OPEN(open64)

/* Does a call on a descriptor, then records it if it succeeded. */
#define CHANGE(call, kind, offset, data, size)                           \
    do {                                                                 \
        char space[PATH_MAX];                                            \
        const char *path = path_of(descriptor, space);                   \
        if (path == NULL)                                                \
            return call;                                                 \
        pthread_mutex_lock(&order);                                      \
        __typeof__(call) result = call;                                  \
        if (result >= 0)                                                 \
            record(kind, path, (uint64_t)(offset), data, (uint64_t)(size)); \
        pthread_mutex_unlock(&order);                                    \
        return result;                                                   \
    } while (0)

#define PWRITE(name, offset_type)                                                    \
    ssize_t name(int descriptor, const void *data, size_t size, offset_type offset) { \
        REAL(ssize_t, name, int, const void *, size_t, offset_type);                 \
        CHANGE(real_##name(descriptor, data, size, offset), 'W', offset, data, result); \
    }

PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    CHANGE(real_write(descriptor, data, size), 'W', lseek(descriptor, 0, SEEK_CUR) - result, data, result);
}

#define TRUNCATE(name, size_type)                                \
    int name(int descriptor, size_type size) {                   \
        REAL(int, name, int, size_type);                         \
        CHANGE(real_##name(descriptor, size), 'T', size, NULL, 0); \
    }

TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                         \
    int name(int descriptor) {                             \
        REAL(int, name, int);                              \
        CHANGE(real_##name(descriptor), 'S', 0, NULL, 0);  \
    }

SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    const char *source = below(from), *target = below(to);
    pthread_mutex_lock(&order);
    int result = real_rename(from, to);
    if (result == 0 && source != NULL && target != NULL)
        record('R', source, 0, target, strlen(target));
    pthread_mutex_unlock(&order);
    return result;
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    const char *name = below(path);
    pthread_mutex_lock(&order);
    int result = real_unlink(path);
    if (result == 0 && name != NULL)
        record('U', name, 0, NULL, 0);
    pthread_mutex_unlock(&order);
    return result;
}
