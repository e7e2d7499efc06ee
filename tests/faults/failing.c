/* A C library between a process and its disk, loaded with LD_PRELOAD: the k-th call below a folder fails.

   What is counted: calls that change the disk (open to write, write, sync, rename, link, unlink, mkdir,
   rmdir, truncate), or those that read it (open to read, read). Whoever makes them is caught alike:
   Python, Arrow, DuckDB and the Rust of deltalake all call the C library by these names. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CHANGES = 0, READS = 1 };

static char below[PATH_MAX];
static long fatal;           /* the call that fails, from 1; 0: none */
static int failure;          /* its errno; 0: the process is killed there */
static int lasting;          /* all that take room fail from there on, as on a full disk */
static int wanted;           /* CHANGES or READS */
static atomic_long *reached; /* shared with the process that forked this one */

__attribute__((constructor)) static void share(void) {
    reached = mmap(NULL, sizeof *reached, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

long faults_reached(void) { return atomic_load(reached); }

void faults_arm(const char *folder, long at, int error, int last, int kind) {
    strncpy(below, folder, sizeof below - 1);
    fatal = at, failure = error, lasting = last, wanted = kind;
    atomic_store(reached, 0);
}

static int is_below(int dirfd, const char *path) {
    char link[64], full[2 * PATH_MAX];
    if (!below[0]) return 0;
    if (path && path[0] == '/') return strncmp(path, below, strlen(below)) == 0;
    if (dirfd == AT_FDCWD) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
    ssize_t length = readlink(link, full, PATH_MAX);
    return length > 0 && strncmp(full, below, strlen(below)) == 0;
}

/* 1: the call fails, errno is set. 2: it is the first to find the disk full, and writes a part. */
static int strikes(int dirfd, const char *path, int kind, int takes_room) {
    int before = errno, struck = 0;
    if (fatal && kind == wanted && is_below(dirfd, path)) {
        long now = atomic_fetch_add(reached, 1) + 1;
        int here = now == fatal || (lasting && now > fatal);
        if (here && (!lasting || takes_room)) {
            if (!failure) kill(getpid(), SIGKILL), pause();
            struck = now == fatal ? 2 : 1;
        }
    }
    errno = struck ? failure : before;
    return struck;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OF_PATH(name, type, declared, passed, dirfd, path, room)                \
    type name declared {                                                        \
        if (strikes(dirfd, path, CHANGES, room)) return -1;                     \
        return REAL(name) passed;                                               \
    }

#define OPEN(name, declared, dirfd, start)                                                 \
    int name declared {                                                                    \
        mode_t mode = 0;                                                                   \
        va_list rest;                                                                      \
        va_start(rest, flags);                                                             \
        if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) mode = va_arg(rest, mode_t);                    \
        va_end(rest);                                                                      \
        int writes = flags & (O_WRONLY | O_RDWR | O_CREAT);                                \
        if (strikes(dirfd, path, writes ? CHANGES : READS, flags & O_CREAT)) return -1;    \
        return REAL(name) start;                                                           \
    }

OPEN(open, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(open64, (const char *path, int flags, ...), AT_FDCWD, (path, flags, mode))
OPEN(openat, (int dirfd, const char *path, int flags, ...), dirfd, (dirfd, path, flags, mode))
OPEN(openat64, (int dirfd, const char *path, int flags, ...), dirfd, (dirfd, path, flags, mode))

#define WRITE(name, declared, whole, part)                                      \
    ssize_t name declared {                                                     \
        int struck = strikes(fd, NULL, CHANGES, 1);                             \
        if (struck == 2 && lasting && size > 1) return REAL(name) part;         \
        if (struck) return -1;                                                  \
        return REAL(name) whole;                                                \
    }

WRITE(write, (int fd, const void *data, size_t size), (fd, data, size), (fd, data, size / 2))
WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), (fd, data, size / 2, at))
WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), (fd, data, size / 2, at))

ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (strikes(fd, NULL, CHANGES, 1)) return -1;
    return REAL(writev)(fd, parts, count);
}

#define READ(name, declared, passed)                                            \
    ssize_t name declared {                                                     \
        if (strikes(fd, NULL, READS, 0)) return -1;                             \
        return REAL(name) passed;                                               \
    }

READ(read, (int fd, void *data, size_t size), (fd, data, size))
READ(pread, (int fd, void *data, size_t size, off_t at), (fd, data, size, at))
READ(pread64, (int fd, void *data, size_t size, off64_t at), (fd, data, size, at))

OF_PATH(fsync, int, (int fd), (fd), fd, NULL, 1)
OF_PATH(fdatasync, int, (int fd), (fd), fd, NULL, 1)
OF_PATH(ftruncate, int, (int fd, off_t size), (fd, size), fd, NULL, 0)
OF_PATH(ftruncate64, int, (int fd, off64_t size), (fd, size), fd, NULL, 0)
OF_PATH(rename, int, (const char *path, const char *to), (path, to), AT_FDCWD, path, 1)
OF_PATH(renameat, int, (int from, const char *path, int at, const char *to), (from, path, at, to), from, path, 1)
OF_PATH(link, int, (const char *path, const char *to), (path, to), AT_FDCWD, path, 1)
OF_PATH(linkat, int, (int from, const char *path, int at, const char *to, int flags), (from, path, at, to, flags), from, path, 1)
OF_PATH(unlink, int, (const char *path), (path), AT_FDCWD, path, 0)
OF_PATH(unlinkat, int, (int from, const char *path, int flags), (from, path, flags), from, path, 0)
OF_PATH(mkdir, int, (const char *path, mode_t mode), (path, mode), AT_FDCWD, path, 1)
OF_PATH(mkdirat, int, (int from, const char *path, mode_t mode), (from, path, mode), from, path, 1)
OF_PATH(rmdir, int, (const char *path), (path), AT_FDCWD, path, 0)
