/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Tries everything that a plugin may not, and some things that it may, and says what it got: one JSON
 * object, of what was tried to "ok" or the name of the error.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "plugin.h"

static const struct plugd_option options[] = {
        {.name = "path", .type = PLUGD_STRING, .fallback = "", .help = "A file to read and to write."},
        {.name = "pid", .type = PLUGD_INTEGER, .fallback = "0", .help = "Whom to bother; 0: the parent."},
};

static const struct plugd_channel channels[] = {
        {.name = "report", .type = PLUGD_JSON, .flags = PLUGD_READABLE},
};

typedef struct Probe {
        const struct plugd_host *host;
        char report[8192];
        size_t size;
} Probe;

extern char **environ;

static void say(Probe *probe, const char *what, const char *answer)
{
        int n = snprintf(probe->report + probe->size, sizeof(probe->report) - probe->size, "%s\"%s\":\"%s\"",
                probe->size > 1 ? "," : "", what, answer);

        if (n > 0 && (size_t) n < sizeof(probe->report) - probe->size)
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

static void try_others(Probe *probe, pid_t pid)
{
        struct sched_param parameters = {0};
        struct rlimit limit;
        char byte, path[64];
        struct iovec mine = {&byte, 1}, theirs = {(void *) probe, 1};

        tried(probe, "kill", kill(pid, 0));
        tried(probe, "kill-group", kill(0, 0));
        tried(probe, "kill-all", kill(-1, 0));
        tried(probe, "tgkill", syscall(SYS_tgkill, pid, pid, 0));
        tried(probe, "sigqueue", sigqueue(pid, 0, (union sigval){0}));
        tried_fd(probe, "pidfd_open", (int) syscall(SYS_pidfd_open, pid, 0));
        tried(probe, "setown", fcntl(3, F_SETOWN, pid));
        tried(probe, "setown-ioctl", ioctl(3, 0x8901 /* FIOSETOWN */, &pid));
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
        tried(probe, "deathsig", prctl(PR_SET_PDEATHSIG, 0));
}

static void try_programs(Probe *probe)
{
        char *const arguments[] = {(char *) "true", NULL};
        pid_t child = fork();

        if (child == 0)
                _exit(0);
        tried(probe, "fork", child);
        child = (pid_t) syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
        if (child == 0)
                _exit(0);
        tried(probe, "clone", child);
        tried(probe, "clone3", syscall(SYS_clone3, NULL, 0));
        tried(probe, "exec", execve("/bin/true", arguments, environ));
        tried(probe, "unshare", unshare(CLONE_NEWUSER));
        tried(probe, "mount", syscall(SYS_mount, "none", "/mnt", "plugd-none", 0, NULL));
        tried_fd(probe, "bpf", (int) syscall(SYS_bpf, 0, NULL, 0));
        tried(probe, "clock", syscall(SYS_clock_settime, CLOCK_REALTIME, NULL));
        tried(probe, "reboot", syscall(SYS_reboot, 0, 0, 0, NULL));
        tried(probe, "keyctl", syscall(SYS_keyctl, 0, 0, 0, 0, 0));
#ifdef __x86_64__
        tried(probe, "x32", syscall(0x40000000 | SYS_getpid));
#endif
}

static void try_files(Probe *probe, const char *path)
{
        if (path[0]) {
                char aside[512];

                tried_open(probe, "read", path, O_RDONLY);
                tried_open(probe, "write", path, O_WRONLY);
                tried(probe, "truncate", truncate(path, 0));
                snprintf(aside, sizeof(aside), "%s.aside", path);
                tried(probe, "rename", rename(path, aside));
                tried_open(probe, "create", aside, O_WRONLY | O_CREAT);
        }
        tried_open(probe, "tmp", "/tmp/plugd-probe", O_WRONLY | O_CREAT);
        tried_open(probe, "etc-write", "/etc/passwd", O_WRONLY | O_APPEND);
        tried_open(probe, "shadow", "/etc/shadow", O_RDONLY);
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

static int probe_open(const struct plugd_host *host, void **ret_instance)
{
        Probe *probe = calloc(1, sizeof(*probe));

        if (!probe)
                return -ENOMEM;
        probe->host = host;
        *ret_instance = probe;
        return 0;
}

static int probe_read(void *instance)
{
        Probe *probe = instance;
        const struct plugd_host *host = probe->host;
        pid_t pid = (pid_t) host->option(host, "pid")->integer;

        probe->size = 1;
        probe->report[0] = '{';
        list_inherited(probe);
        try_network(probe);
        try_others(probe, pid ? pid : getppid());
        try_programs(probe);
        try_files(probe, host->option(host, "path")->string);
        try_allowed(probe);
        probe->report[probe->size] = '}';
        probe->report[probe->size + 1] = '\0';
        return host->emit(host, 0, &(struct plugd_value){.type = PLUGD_JSON, .string = probe->report}, 0);
}

static void probe_close(void *instance)
{
        free(instance);
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
};
