/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tries everything that a plugin may not, and some things that it may, and says what it got: one JSON
 * object, of what was tried to "ok" or the name of the error. Or it opens its device in open(), as a plugin
 * does, and says -ENODEV when another has taken its place.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "plugin.h"

static const struct plugd_option options[] = {
        {.name = "path", .type = PLUGD_STRING, .fallback = "", .help = "A file to read and to write."},
        {.name = "pid",
                .type = PLUGD_INTEGER,
                .fallback = "0",
                .help = "Whom to bother; 0: the parent; -1: another worker."},
        {.name = "device", .type = PLUGD_STRING, .fallback = "", .help = "Its device, without /dev/."},
        {.name = "other", .type = PLUGD_STRING, .fallback = "", .help = "A device that isn't its own."},
        {.name = "others",
                .type = PLUGD_STRING,
                .fallback = "",
                .help = "Files to open, with spaces between; PID: whom it bothers."},
        {.name = "x32",
                .type = PLUGD_BOOLEAN,
                .fallback = "true",
                .help = "Try another architecture's call too: systemd kills for that."},
        {.name = "open", .type = PLUGD_BOOLEAN, .fallback = "false", .help = "Open the device in open()."},
};

static const char *const devices[] = {"/dev/{device}", NULL};

static const struct plugd_channel channels[] = {
        {.name = "report", .type = PLUGD_JSON, .flags = PLUGD_READABLE},
};

typedef struct Probe {
        const struct plugd_host *host;
        char device[256];
        int fd; /* of the device; -1: not opened in open() */
        char report[16384];
        size_t size;
} Probe;

extern char **environ;

static void say(Probe *probe, const char *what, const char *answer)
{
        size_t room = sizeof(probe->report) - probe->size - 1; /* but for the last brace */
        int n = snprintf(probe->report + probe->size, room, "%s\"%s\":\"%s\"", probe->size > 1 ? "," : "",
                what, answer);

        if (n > 0 && (size_t) n < room)
                probe->size += (size_t) n;
}

static void tried(Probe *probe, const char *what, long r)
{
        say(probe, what, r < 0 ? strerrorname_np(errno) : "ok");
}

static void tried_open(Probe *probe, const char *what, const char *path, int flags)
{
        int fd = open(path, flags | O_CLOEXEC, 0600);

        tried(probe, what, fd);
        if (fd >= 0)
                close(fd);
}

static void tried_fd(Probe *probe, const char *what, int fd)
{
        tried(probe, what, fd);
        if (fd >= 0)
                close(fd);
}

/* As no library does: neither for reading nor for writing, which is enough for ioctl(). */
static void tried_odd_opens(Probe *probe, const char *what, const char *path)
{
        struct open_how how = {.flags = O_RDONLY};
        char text[512];

        snprintf(text, sizeof(text), "%s-ioctl", what);
        tried_open(probe, text, path, O_ACCMODE);
        snprintf(text, sizeof(text), "%s-openat2", what);
        tried_fd(probe, text, (int) syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how)));
}

/* By way of somebody's folder in /proc. */
static void tried_through(Probe *probe, const char *what, const char *who, const char *path)
{
        char text[512];

        snprintf(text, sizeof(text), "/proc/%s/root%s", who, path);
        tried_open(probe, what, text, O_RDONLY);
}

static bool flag(const struct plugd_host *host, const char *name)
{
        const struct plugd_value *value = host->option(host, name);

        return value && value->boolean;
}

static long run_true(void)
{
        char *const arguments[] = {(char *) "true", NULL};

        return execve("/bin/true", arguments, environ);
}

static long leave_namespace(void)
{
        return unshare(CLONE_NEWUSER);
}

/* In a child where that can be had, as success would be the end of this process, or of what it is. */
static void tried_apart(Probe *probe, const char *what, long (*act)(void))
{
        pid_t child = fork();
        int status = 0;

        if (child < 0) {
                tried(probe, what, act());
                return;
        }
        if (child == 0)
                _exit(act() < 0 ? errno : 0);
        waitpid(child, &status, 0);
        errno = WEXITSTATUS(status);
        tried(probe, what, errno ? -1 : 0);
}

static void *thread(void *argument)
{
        return argument;
}

static void try_network(Probe *probe)
{
        int pair[2];

        tried_fd(probe, "socket", socket(AF_INET, SOCK_STREAM, 0));
        tried_fd(probe, "socket-unix", socket(AF_UNIX, SOCK_STREAM, 0));
        tried(probe, "socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
        tried(probe, "sendmsg", sendmsg(3, &(struct msghdr){0}, 0));
        tried_fd(probe, "io_uring", (int) syscall(SYS_io_uring_setup, 1, NULL));
}

static void try_signals(Probe *probe, pid_t pid)
{
        struct f_owner_ex owner = {F_OWNER_PID, pid};
        struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGCONT};
        timer_t timer;

        tried(probe, "kill", kill(pid, 0));
        tried(probe, "kill-its-group", kill(-pid, 0));
        tried(probe, "kill-group", kill(0, 0));
        tried(probe, "kill-all", kill(-1, 0));
        tried(probe, "tkill", syscall(SYS_tkill, pid, 0));
        tried(probe, "tgkill", syscall(SYS_tgkill, pid, pid, 0));
        tried(probe, "sigqueue", sigqueue(pid, 0, (union sigval){0}));
        tried(probe, "tgsigqueue", syscall(SYS_rt_tgsigqueueinfo, pid, pid, 0, NULL));
        tried_fd(probe, "pidfd_open", (int) syscall(SYS_pidfd_open, pid, 0));
        tried(probe, "pidfd_send_signal", syscall(SYS_pidfd_send_signal, 3, 0, NULL, 0));
        tried(probe, "setown", fcntl(3, F_SETOWN, pid));
        tried(probe, "setown-ex", fcntl(3, F_SETOWN_EX, &owner));
        tried(probe, "setsig", fcntl(3, F_SETSIG, SIGTERM));
        tried(probe, "lease", fcntl(3, F_SETLEASE, F_RDLCK));
        tried(probe, "setown-ioctl", ioctl(3, 0x8901 /* FIOSETOWN */, &pid));
        tried(probe, "setpgrp-ioctl", ioctl(3, 0x8902 /* SIOCSPGRP */, &pid));
        tried(probe, "deathsig", prctl(PR_SET_PDEATHSIG, 0));
        event._sigev_un._tid = pid;
        tried(probe, "timer", timer_create(CLOCK_MONOTONIC, &event, &timer));
}

static void try_others(Probe *probe, pid_t pid)
{
        struct rlimit limit, all = {RLIM_INFINITY, RLIM_INFINITY}, files = {8192, 8192};
        struct sched_param parameters = {0};
        const void *shared;
        char byte, path[64];
        struct iovec mine = {&byte, 1}, theirs = {(void *) probe, 1};

        tried(probe, "ptrace", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
        tried(probe, "process_vm_readv", process_vm_readv(pid, &mine, 1, &theirs, 1, 0));
        tried(probe, "prlimit", prlimit(pid, RLIMIT_NOFILE, NULL, &limit));
        tried(probe, "setpriority",
                setpriority(PRIO_PROCESS, (id_t) pid, getpriority(PRIO_PROCESS, (id_t) pid)));
        tried(probe, "scheduler", sched_setscheduler(pid, SCHED_OTHER, &parameters));
        snprintf(path, sizeof(path), "/proc/%d/environ", (int) pid);
        tried_open(probe, "environ", path, O_RDONLY);
        snprintf(path, sizeof(path), "/proc/%d/mem", (int) pid);
        tried_open(probe, "mem", path, O_RDWR);
        snprintf(path, sizeof(path), "/proc/%d/maps", (int) pid);
        tried_open(probe, "maps", path, O_RDONLY);
        snprintf(path, sizeof(path), "/proc/%d/task/%d/mem", (int) pid, (int) pid);
        tried_open(probe, "task-mem", path, O_RDWR);
        snprintf(path, sizeof(path), "/proc/%d/fd/0", (int) pid);
        tried_open(probe, "fd", path, O_RDONLY);
        snprintf(path, sizeof(path), "/proc/%d/cwd/.", (int) pid);
        tried_open(probe, "cwd", path, O_RDONLY | O_DIRECTORY);
        tried(probe, "more-memory", setrlimit(RLIMIT_DATA, &all));
        tried(probe, "more-files", setrlimit(RLIMIT_NOFILE, &files));
        tried(probe, "core-limit", setrlimit(RLIMIT_CORE, &all));
        tried(probe, "shm", shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600));
        shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        tried(probe, "shared-memory", shared == MAP_FAILED ? -1 : 0);
        tried_fd(probe, "memfd", (int) syscall(SYS_memfd_create, "plugd-probe", 0));
        tried_fd(probe, "queue", (int) syscall(SYS_mq_open, "plugd-probe", O_RDWR | O_CREAT, 0600, NULL));
}

static void try_programs(Probe *probe)
{
        pid_t child = fork();

        if (child == 0)
                _exit(0);
        tried(probe, "fork", child);
        child = (pid_t) syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (child == 0)
                _exit(0);
        tried(probe, "clone", child);
        while (wait(NULL) > 0)
                ;
        tried(probe, "clone3", syscall(SYS_clone3, NULL, 0));
        tried_apart(probe, "exec", run_true);
        tried_apart(probe, "unshare", leave_namespace);
        tried(probe, "mount", syscall(SYS_mount, "none", "/mnt", "plugd-none", 0, NULL));
        tried_fd(probe, "bpf", (int) syscall(SYS_bpf, 0, NULL, 0));
        tried(probe, "clock", syscall(SYS_clock_settime, CLOCK_REALTIME, NULL));
        tried(probe, "reboot", syscall(SYS_reboot, 0, 0, 0, NULL));
        tried(probe, "keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
#ifdef __x86_64__
        if (flag(probe->host, "x32"))
                tried(probe, "x32", syscall(0x40000000 | SYS_getpid));
#endif
}

static void try_files(Probe *probe, const char *path, pid_t pid)
{
        if (path[0]) {
                char aside[512], parent[16];

                snprintf(parent, sizeof(parent), "%d", (int) pid);
                tried_open(probe, "read", path, O_RDONLY);
                tried_odd_opens(probe, "read", path);
                tried_through(probe, "read-through-self", "self", path);
                tried_through(probe, "read-through-thread", "thread-self", path);
                tried_through(probe, "read-through-other", parent, path);
                tried_open(probe, "write", path, O_WRONLY);
                tried(probe, "truncate", truncate(path, 0));
                tried(probe, "chmod", chmod(path, 0644));
                tried(probe, "times", utimensat(AT_FDCWD, path, NULL, 0));
                snprintf(aside, sizeof(aside), "%s.aside", path);
                tried(probe, "link", link(path, aside));
                tried(probe, "rename", rename(path, aside));
                tried_open(probe, "create", aside, O_WRONLY | O_CREAT);
                tried(probe, "unlink", unlink(access(path, F_OK) == 0 ? path : aside));
                snprintf(aside, sizeof(aside), "%s.link", path);
                tried(probe, "symlink", symlink("/etc/passwd", aside));
                snprintf(aside, sizeof(aside), "%s.folder", path);
                tried(probe, "mkdir", mkdir(aside, 0700));
        }
        tried_open(probe, "open-truncate", "/dev/null", O_RDONLY | O_TRUNC);
        tried_open(probe, "tmp", "/tmp/plugd-probe", O_WRONLY | O_CREAT);
        tried_open(probe, "etc-write", "/etc/passwd", O_WRONLY | O_APPEND);
        tried_open(probe, "shadow", "/etc/shadow", O_RDONLY);
}

/* "PID" anywhere in a path stands for the one it bothers. */
static void try_list(Probe *probe, const char *paths, pid_t pid)
{
        char *list = strdup(paths), *rest = NULL;

        for (char *path = list ? strtok_r(list, " ", &rest) : NULL; path;
                path = strtok_r(NULL, " ", &rest)) {
                const char *mark = strstr(path, "PID");
                char real[256], what[300];

                if (mark)
                        snprintf(real, sizeof(real), "%.*s%d%s", (int) (mark - path), path, (int) pid,
                                mark + 3);
                else
                        snprintf(real, sizeof(real), "%s", path);
                snprintf(what, sizeof(what), "read %s", path);
                tried_open(probe, what, real, O_RDONLY | O_NONBLOCK);
                snprintf(what, sizeof(what), "write %s", path);
                tried_open(probe, what, real, O_RDWR | O_NONBLOCK);
        }
        free(list);
}

static void try_devices(Probe *probe, const char *other)
{
        struct stat status = {0};
        char path[256];

        if (probe->device[0]) {
                tried_open(probe, "device-read", probe->device, O_RDONLY);
                tried_open(probe, "device-write", probe->device, O_RDWR);
        }
        if (other[0]) {
                snprintf(path, sizeof(path), "/dev/%s", other);
                tried(probe, "other-stat", stat(path, &status));
                tried_open(probe, "other-read", path, O_RDONLY);
                tried_open(probe, "other-write", path, O_WRONLY);
                tried_odd_opens(probe, "other", path);
                tried_through(probe, "other-through-self", "self", path);
                snprintf(path, sizeof(path), "/dev/%s.copy", other);
                tried(probe, "other-node", mknod(path, S_IFCHR | 0600, status.st_rdev));
        }
        tried_open(probe, "zero", "/dev/zero", O_RDONLY);
        tried_open(probe, "kmsg", "/dev/kmsg", O_WRONLY);
        tried_open(probe, "tty", "/dev/tty", O_RDWR);
        tried_open(probe, "ptmx", "/dev/ptmx", O_RDWR);
}

/* What has to go on working. */
static void try_allowed(Probe *probe)
{
        struct rlimit limit;
        pthread_t id;
        int r;

        r = pthread_create(&id, NULL, thread, NULL);
        if (r == 0)
                pthread_join(id, NULL);
        errno = r;
        tried(probe, "may-thread", r == 0 ? 0 : -1);
        tried(probe, "may-kill-self", kill(getpid(), 0));
        tried(probe, "may-raise", raise(SIGCONT));
        tried(probe, "may-limit", prlimit(0, RLIMIT_NOFILE, NULL, &limit));
        tried(probe, "may-nice", setpriority(PRIO_PROCESS, 0, 1));
        tried_open(probe, "may-null", "/dev/null", O_RDWR);
        tried_open(probe, "may-full", "/dev/full", O_RDWR);
        tried_open(probe, "may-random", "/dev/random", O_RDONLY);
        tried_open(probe, "may-urandom", "/dev/urandom", O_RDONLY);
        tried_open(probe, "may-list-dev", "/dev", O_RDONLY | O_DIRECTORY);
        tried_open(probe, "may-own-fd", "/proc/self/fd/0", O_RDONLY);
        tried_open(probe, "may-proc", "/proc/self/status", O_RDONLY);
        tried_open(probe, "may-sys", "/sys/devices", O_RDONLY | O_DIRECTORY);
        tried_open(probe, "may-etc", "/etc/passwd", O_RDONLY);
        tried_open(probe, "may-lib", "/usr/lib", O_RDONLY | O_DIRECTORY);
}

static void list_inherited(Probe *probe)
{
        char text[1024] = "", number[16];
        struct rlimit core;
        DIR *folder = opendir("/proc/self/fd");
        const struct dirent *entry;

        while (folder && (entry = readdir(folder))) {
                int fd = atoi(entry->d_name);

                if (entry->d_name[0] == '.' || fd == dirfd(folder))
                        continue;
                snprintf(number, sizeof(number), "%s%d", text[0] ? " " : "", fd);
                strncat(text, number, sizeof(text) - strlen(text) - 1);
        }
        if (folder)
                closedir(folder);
        say(probe, "descriptors", text);

        text[0] = '\0';
        for (char **variable = environ; *variable; variable++) {
                char name[64];

                snprintf(name, sizeof(name), "%s%.*s", text[0] ? " " : "", (int) strcspn(*variable, "="),
                        *variable);
                strncat(text, name, sizeof(text) - strlen(text) - 1);
        }
        say(probe, "environment", text);
        say(probe, "core", getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_max == 0 ? "none" : "some");
        say(probe, "group", getpgid(0) == getpid() ? "own" : "shared");
}

static const char *text_option(const struct plugd_host *host, const char *name)
{
        const struct plugd_value *value = host->option(host, name);

        return value ? value->string : "";
}

/* Another child of our parent's; 0: there is none. */
static pid_t find_sibling(void)
{
        DIR *folder = opendir("/proc");
        const struct dirent *entry;
        pid_t found = 0;

        while (folder && !found && (entry = readdir(folder))) {
                pid_t pid = (pid_t) atoi(entry->d_name);
                char path[300];
                int parent = 0;
                FILE *file;

                if (pid <= 0 || pid == getpid())
                        continue;
                snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
                file = fopen(path, "re");
                if (file && fscanf(file, "%*d (%*[^)]) %*c %d", &parent) == 1 && parent == getppid())
                        found = pid;
                if (file)
                        fclose(file);
        }
        if (folder)
                closedir(folder);
        return found;
}

static int probe_open(const struct plugd_host *host, void **ret_instance)
{
        const char *device = text_option(host, "device");
        Probe *probe = calloc(1, sizeof(*probe));

        if (!probe)
                return -ENOMEM;
        probe->host = host;
        probe->fd = -1;
        if (device[0])
                snprintf(probe->device, sizeof(probe->device), "/dev/%s", device);
        if (flag(host, "open")) {
                probe->fd = open(probe->device, O_RDWR | O_CLOEXEC);
                if (probe->fd < 0) {
                        int r = -errno;

                        host->log(host, PLUGD_ERROR, "cannot open %s: %s", probe->device, strerror(-r));
                        free(probe);
                        return r;
                }
        }
        *ret_instance = probe;
        return 0;
}

/* Is its device still the one that it has open? */
static bool in_place(const Probe *probe)
{
        struct stat now, opened;

        return probe->fd < 0 || (stat(probe->device, &now) == 0 && fstat(probe->fd, &opened) == 0 &&
                                        now.st_ino == opened.st_ino);
}

static int probe_read(void *instance)
{
        Probe *probe = instance;
        const struct plugd_host *host = probe->host;
        const struct plugd_value *whom = host->option(host, "pid");
        pid_t pid = whom ? (pid_t) whom->integer : 0;

        if (!in_place(probe)) {
                host->log(host, PLUGD_ERROR, "%s is gone: put it back", probe->device);
                return -ENODEV;
        }
        if (pid == 0)
                pid = getppid();
        if (pid == -1)
                pid = find_sibling();
        if (pid == 0)
                return -EAGAIN; /* they start one after the other */
        probe->size = 1;
        probe->report[0] = '{';
        list_inherited(probe);
        try_network(probe);
        try_signals(probe, pid);
        try_others(probe, pid);
        try_programs(probe);
        try_files(probe, text_option(host, "path"), pid);
        try_devices(probe, text_option(host, "other"));
        try_list(probe, text_option(host, "others"), pid);
        try_allowed(probe);
        probe->report[probe->size] = '}';
        probe->report[probe->size + 1] = '\0';
        return host->emit(host, 0, &(struct plugd_value){.type = PLUGD_JSON, .string = probe->report}, 0);
}

static void probe_close(void *instance)
{
        Probe *probe = instance;

        if (probe->fd >= 0)
                close(probe->fd);
        free(probe);
}

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI,
        .size = sizeof(struct plugd_plugin),
        .name = "probe",
        .description = "Tries what a plugin may not do, and says what came of it.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .channels = channels,
        .n_channels = sizeof(channels) / sizeof(channels[0]),
        .open = probe_open,
        .read = probe_read,
        .close = probe_close,
        .devices = devices,
};
