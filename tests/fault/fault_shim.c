/* A disk that can be watched and broken, put between a program and its C library with LD_PRELOAD.
 *
 * FAULT_ROOT     folder that counts; files on other devices are none of our business
 * FAULT_LOG      where every change below it is written down, as records that fault_power.py reads
 * FAULT_CONTROL  folder of switches, looked at in every call: `readonly` (exists: EROFS for every change),
 *                `eio` (holds a path: reading that file fails with EIO)
 *
 * A change and its record happen under one lock, so the log has the order of the changes. Not a general tool: it knows
 * the calls that CPython, SQLite, libgit2 and git make, on 64-bit Linux with glibc.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static dev_t root_dev;
static char root_path[PATH_MAX], readonly_switch[PATH_MAX], eio_switch[PATH_MAX];
static int has_root, has_control;

#define REAL(type, name, ...)                                                \
    static type (*real)(__VA_ARGS__);                                        \
    if (!real) real = (type(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

__attribute__((constructor)) static void begin(void) {
    const char *root = getenv("FAULT_ROOT"), *log = getenv("FAULT_LOG"), *control = getenv("FAULT_CONTROL");
    struct stat st;
    if (root && stat(root, &st) == 0 && realpath(root, root_path)) {
        root_dev = st.st_dev;
        has_root = 1;
    }
    if (has_root && log)
        log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (has_root && control) {
        snprintf(readonly_switch, sizeof readonly_switch, "%s/readonly", control);
        snprintf(eio_switch, sizeof eio_switch, "%s/eio", control);
        has_control = 1;
    }
}

static int ours(int fd, struct stat *st) {
    /* what the program says goes elsewhere, whatever disk its log lies on */
    return has_root && fd > 2 && fstat(fd, st) == 0 && st->st_dev == root_dev &&
           (S_ISREG(st->st_mode) || S_ISDIR(st->st_mode));
}

/* An absolute path; the reader makes it plain. */
static void whole(int dirfd, const char *path, char *out) {
    char base[PATH_MAX] = "";
    if (path[0] != '/') {
        char link[64];
        ssize_t n = 0;
        if (dirfd == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) base[0] = 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
            n = readlink(link, base, sizeof base - 1);
            base[n > 0 ? n : 0] = 0;
        }
    }
    snprintf(out, PATH_MAX, "%.2000s%s%.2000s", base, path[0] == '/' ? "" : "/", path);
}

static int on_our_disk(const char *path) {
    char folder[PATH_MAX];
    struct stat st;
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!has_root || !slash) return 0;
    *(slash == folder ? slash + 1 : slash) = 0;
    return stat(folder, &st) == 0 && st.st_dev == root_dev;
}

static int refuses_path(const char *path) {
    size_t n = strlen(root_path);
    if (!has_control || syscall(SYS_access, readonly_switch, F_OK) != 0) return 0;
    if (strncmp(path, root_path, n) != 0 || path[n] != '/') return 0;
    errno = EROFS;
    return 1;
}

static int refuses_file(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n > 0 ? n : 0] = 0;
    return refuses_path(path);
}

static void note(char op, uint64_t ino, int64_t at, const void *a, uint32_t a_len, const void *b, uint32_t b_len) {
    if (log_fd < 0) return;
    int kept = errno;
    uint32_t total = 4 + 1 + 8 + 8 + 4 + 4 + a_len + b_len;
    char *record = malloc(total), *p = record;
    memcpy(p, &total, 4), p += 4;
    *p++ = op;
    memcpy(p, &ino, 8), p += 8;
    memcpy(p, &at, 8), p += 8;
    memcpy(p, &a_len, 4), p += 4;
    memcpy(p, &b_len, 4), p += 4;
    if (a_len) memcpy(p, a, a_len), p += a_len;
    if (b_len) memcpy(p, b, b_len);
    syscall(SYS_write, log_fd, record, total);
    free(record);
    errno = kept;
}

static void note_paths(char op, uint64_t ino, int64_t at, const char *a, const char *b) {
    note(op, ino, at, a, (uint32_t)strlen(a), b, b ? (uint32_t)strlen(b) : 0);
}

/* --- opening --- */

static int opened(int dirfd, const char *path, int flags, mode_t mode) {
    REAL(int, "openat64", int, const char *, int, ...);
    char full[PATH_MAX];
    int changes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC));
    if (!has_root || !changes || (flags & O_TMPFILE) == O_TMPFILE) return real(dirfd, path, flags, mode);
    whole(dirfd, path, full);
    if (!on_our_disk(full)) return real(dirfd, path, flags, mode);
    if (refuses_path(full)) return -1;
    pthread_mutex_lock(&lock);
    int fd = real(dirfd, path, flags, mode);
    struct stat st;
    if (fd >= 0 && (flags & (O_CREAT | O_TRUNC)) && fstat(fd, &st) == 0)
        note_paths('o', st.st_ino, (flags & O_TRUNC) != 0, full, NULL);
    pthread_mutex_unlock(&lock);
    return fd;
}

#define MODE_OF(flags)                                          \
    mode_t mode = 0;                                            \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                      \
        va_list more;                                           \
        va_start(more, flags);                                  \
        mode = va_arg(more, mode_t);                            \
        va_end(more);                                           \
    }

int open(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags) return opened(AT_FDCWD, path, flags, mode); }
int openat(int dirfd, const char *path, int flags, ...) { MODE_OF(flags) return opened(dirfd, path, flags, mode); }
int openat64(int dirfd, const char *path, int flags, ...) { MODE_OF(flags) return opened(dirfd, path, flags, mode); }
int creat(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return opened(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode); }

/* --- contents --- */

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    struct stat st;
    if (!ours(fd, &st)) return real(fd, data, size);
    if (refuses_file(fd)) return -1;
    pthread_mutex_lock(&lock);
    ssize_t n = real(fd, data, size);
    if (n > 0) note('w', st.st_ino, lseek(fd, 0, SEEK_CUR) - n, NULL, 0, data, (uint32_t)n);
    pthread_mutex_unlock(&lock);
    return n;
}

static ssize_t written_at(int fd, const void *data, size_t size, off_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off_t);
    struct stat st;
    if (!ours(fd, &st)) return real(fd, data, size, at);
    if (refuses_file(fd)) return -1;
    pthread_mutex_lock(&lock);
    ssize_t n = real(fd, data, size, at);
    if (n > 0) note('w', st.st_ino, at, NULL, 0, data, (uint32_t)n);
    pthread_mutex_unlock(&lock);
    return n;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return written_at(fd, data, size, at); }
ssize_t pwrite64(int fd, const void *data, size_t size, off_t at) { return written_at(fd, data, size, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    struct stat st;
    if (!ours(fd, &st)) return real(fd, parts, count);
    ssize_t total = 0;
    for (int i = 0; i < count; i++) {
        ssize_t n = write(fd, parts[i].iov_base, parts[i].iov_len);
        if (n < 0) return total ? total : n;
        total += n;
    }
    return total;
}

static int cut(int fd, off_t size) {
    REAL(int, "ftruncate64", int, off_t);
    struct stat st;
    if (!ours(fd, &st)) return real(fd, size);
    if (refuses_file(fd)) return -1;
    pthread_mutex_lock(&lock);
    int result = real(fd, size);
    if (result == 0) note('t', st.st_ino, size, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t size) { return cut(fd, size); }
int ftruncate64(int fd, off_t size) { return cut(fd, size); }

static int synced(int fd, int (*real)(int)) {
    struct stat st;
    if (!ours(fd, &st)) return real(fd);
    pthread_mutex_lock(&lock);
    int result = real(fd);
    if (result == 0) note('s', st.st_ino, 0, NULL, 0, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) {
    REAL(int, "fsync", int);
    return synced(fd, real);
}

int fdatasync(int fd) {
    REAL(int, "fdatasync", int);
    return synced(fd, real);
}

void sync(void) {
    REAL(void, "sync", void);
    real();
    note('S', 0, 0, NULL, 0, NULL, 0);
}

int syncfs(int fd) {
    REAL(int, "syncfs", int);
    int result = real(fd);
    note('S', 0, 0, NULL, 0, NULL, 0);
    return result;
}

/* --- names --- */

static int renamed(int from_fd, const char *from, int to_fd, const char *to, unsigned flags) {
    char a[PATH_MAX], b[PATH_MAX];
    whole(from_fd, from, a), whole(to_fd, to, b);
    int known = on_our_disk(b);
    if (known && refuses_path(b)) return -1;
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    if (result == 0 && known) note_paths('r', 0, 0, a, b);
    pthread_mutex_unlock(&lock);
    return result;
}

int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to, 0); }
int renameat(int a, const char *from, int b, const char *to) { return renamed(a, from, b, to, 0); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { return renamed(a, from, b, to, flags); }

static int linked(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    char a[PATH_MAX], b[PATH_MAX];
    whole(from_fd, from, a), whole(to_fd, to, b);
    int known = on_our_disk(b);
    if (known && refuses_path(b)) return -1;
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_linkat, from_fd, from, to_fd, to, flags);
    if (result == 0 && known) note_paths('l', 0, 0, a, b);
    pthread_mutex_unlock(&lock);
    return result;
}

int link(const char *from, const char *to) { return linked(AT_FDCWD, from, AT_FDCWD, to, 0); }
int linkat(int a, const char *from, int b, const char *to, int flags) { return linked(a, from, b, to, flags); }

static int removed(int dirfd, const char *path, int flags) {
    char full[PATH_MAX];
    whole(dirfd, path, full);
    int known = on_our_disk(full);
    if (known && refuses_path(full)) return -1;
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_unlinkat, dirfd, path, flags);
    if (result == 0 && known) note_paths('u', 0, 0, full, NULL);
    pthread_mutex_unlock(&lock);
    return result;
}

int unlink(const char *path) { return removed(AT_FDCWD, path, 0); }
int unlinkat(int dirfd, const char *path, int flags) { return removed(dirfd, path, flags); }
int rmdir(const char *path) { return removed(AT_FDCWD, path, AT_REMOVEDIR); }
int remove(const char *path) {
    int result = unlink(path);
    return result != 0 && (errno == EISDIR || errno == EPERM) ? rmdir(path) : result;
}

static int folder_made(int dirfd, const char *path, mode_t mode) {
    char full[PATH_MAX];
    struct stat st;
    whole(dirfd, path, full);
    int known = on_our_disk(full);
    if (known && refuses_path(full)) return -1;
    pthread_mutex_lock(&lock);
    int result = (int)syscall(SYS_mkdirat, dirfd, path, mode);
    if (result == 0 && known && fstatat(dirfd, path, &st, 0) == 0) note_paths('m', st.st_ino, 0, full, NULL);
    pthread_mutex_unlock(&lock);
    return result;
}

int mkdir(const char *path, mode_t mode) { return folder_made(AT_FDCWD, path, mode); }
int mkdirat(int dirfd, const char *path, mode_t mode) { return folder_made(dirfd, path, mode); }

/* --- reading --- */

static int unreadable(int fd) {
    struct stat st, bad;
    char path[PATH_MAX];
    if (!has_control || !ours(fd, &st) || !S_ISREG(st.st_mode)) return 0;
    int switched = (int)syscall(SYS_openat, AT_FDCWD, eio_switch, O_RDONLY | O_CLOEXEC);
    if (switched < 0) return 0;
    long n = syscall(SYS_read, switched, path, sizeof path - 1);
    syscall(SYS_close, switched);
    path[n > 0 ? n : 0] = 0;
    if (stat(path, &bad) != 0 || bad.st_ino != st.st_ino) return 0;
    errno = EIO;
    return 1;
}

ssize_t read(int fd, void *into, size_t size) {
    REAL(ssize_t, "read", int, void *, size_t);
    return unreadable(fd) ? -1 : real(fd, into, size);
}

static ssize_t read_at(int fd, void *into, size_t size, off_t at) {
    REAL(ssize_t, "pread64", int, void *, size_t, off_t);
    return unreadable(fd) ? -1 : real(fd, into, size, at);
}

ssize_t pread(int fd, void *into, size_t size, off_t at) { return read_at(fd, into, size, at); }
ssize_t pread64(int fd, void *into, size_t size, off_t at) { return read_at(fd, into, size, at); }

static ssize_t sent(int to, int from, off_t *at, size_t size) {
    return unreadable(from) ? -1 : (ssize_t)syscall(SYS_sendfile, to, from, at, size);
}

ssize_t sendfile(int to, int from, off_t *at, size_t size) { return sent(to, from, at, size); }
ssize_t sendfile64(int to, int from, off_t *at, size_t size) { return sent(to, from, at, size); }
