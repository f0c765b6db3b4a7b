/* SPDX-License-Identifier: Apache-2.0 */

/* A host's worker as a process: how it is started, what it may inherit (nothing), how it ends. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "group.h"
#include "host-internal.h"
#include "util/clock.h"
#include "util/text.h"

#define ASKED_USEC (2 * USEC_PER_SEC)  /* to go by itself */
#define KILLED_USEC (5 * USEC_PER_SEC) /* to be gone */
#define ABANDON_TRIES 20
#define ABANDON_MSEC 10

/* --- starting ----------------------------------------------------------------------------------------- */

#define ENVIRONMENT_MAX 4

static void environment_free(char *environment[static ENVIRONMENT_MAX + 1])
{
        for (size_t i = 0; i < ENVIRONMENT_MAX; i++)
                free(environment[i]);
}

/* A worker gets what its libraries need, and nothing of what systemd tells the daemon. */
static int environment_make(const Paths *paths, char *ret[static ENVIRONMENT_MAX + 1])
{
        static const char *const kept[] = {"PATH", "LANG", "TZ"};
        size_t n = 0;

        ret[n] = text_printf("PLUGD_PLUGIN_DIR=%s", paths->plugins);
        if (!ret[n++])
                return -ENOMEM;
        for (size_t i = 0; i < ELEMENTSOF(kept); i++) {
                const char *value = getenv(kept[i]);

                if (!value)
                        continue;
                ret[n] = text_printf("%s=%s", kept[i], value);
                if (!ret[n++])
                        return -ENOMEM;
        }
        return 0;
}

/* Out of the way of the numbers that the worker will find its own under. */
static int move_up(int *fd)
{
        int moved = fcntl(*fd, F_DUPFD_CLOEXEC, WIRE_FD + 1);

        if (moved < 0)
                return -errno;
        closep(fd);
        *fd = moved;
        return 0;
}

static int arrange(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, int wire, int errors)
{
        sigset_t none, all;
        int r;

        sigemptyset(&none);
        sigfillset(&all);
        if ((r = posix_spawn_file_actions_addopen(actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)) != 0 ||
                (r = posix_spawn_file_actions_addopen(actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0)) !=
                        0 ||
                (r = posix_spawn_file_actions_adddup2(actions, errors, STDERR_FILENO)) != 0 ||
                (r = posix_spawn_file_actions_adddup2(actions, wire, WIRE_FD)) != 0 ||
                (r = posix_spawn_file_actions_addclosefrom_np(actions, WIRE_FD + 1)) != 0)
                return -r;
        /* A group of its own: ^C at a terminal is for the daemon, which then stops its workers in order. */
        if ((r = posix_spawnattr_setpgroup(attributes, 0)) != 0 ||
                (r = posix_spawnattr_setsigmask(attributes, &none)) != 0 ||
                (r = posix_spawnattr_setsigdefault(attributes, &all)) != 0 ||
                (r = posix_spawnattr_setflags(attributes,
                         POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)) != 0)
                return -r;
        return 0;
}

static int spawn(const Host *host, int wire, int errors, pid_t *ret_pid)
{
        char *argv[] = {(char *) "plugd-worker", host->sensor->plugin, host->sensor->name, NULL};
        char *environment[ENVIRONMENT_MAX + 1] = {NULL};
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        int r;

        r = environment_make(host->paths, environment);
        if (r < 0)
                goto finish;
        r = -posix_spawn_file_actions_init(&actions);
        if (r < 0)
                goto finish;
        r = -posix_spawnattr_init(&attributes);
        if (r < 0)
                goto finish_actions;
        r = arrange(&actions, &attributes, wire, errors);
        if (r == 0)
                r = -posix_spawn(ret_pid, host->paths->worker, &actions, &attributes, argv, environment);
        posix_spawnattr_destroy(&attributes);
finish_actions:
        posix_spawn_file_actions_destroy(&actions);
finish:
        environment_free(environment);
        return r;
}

static int set_nonblocking(int fd)
{
        int flags = fcntl(fd, F_GETFL);

        return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

static int on_wire(sd_event_source *source, int fd, uint32_t events, void *userdata);
static int on_errors(sd_event_source *source, int fd, uint32_t events, void *userdata);
static int on_child(sd_event_source *source, const siginfo_t *info, void *userdata);

static int attach(Host *host)
{
        int r;

        r = sd_event_add_io(host->event, &host->wire_source, host->wire, EPOLLIN, on_wire, host);
        if (r >= 0)
                r = sd_event_source_set_priority(host->wire_source, HOST_PRIORITY);
        if (r >= 0)
                r = sd_event_add_io(
                        host->event, &host->errors_source, host->errors, EPOLLIN, on_errors, host);
        if (r >= 0)
                r = sd_event_source_set_priority(host->errors_source, HOST_PRIORITY);
        if (r >= 0)
                r = sd_event_add_child(host->event, &host->child, host->pid, WEXITED, on_child, host);
        if (r >= 0)
                r = sd_event_source_set_priority(host->child, HOST_PRIORITY);
        return MIN(r, 0);
}

static int start(Host *host)
{
        _cleanup_(closep) int theirs = -1, their_errors = -1;
        int pair[2], r;

        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
                return -errno;
        host->wire = pair[0];
        theirs = pair[1];
        if (pipe2(pair, O_CLOEXEC) < 0)
                return -errno;
        host->errors = pair[0];
        their_errors = pair[1];

        if ((r = set_nonblocking(host->wire)) < 0 || (r = set_nonblocking(host->errors)) < 0 ||
                (r = move_up(&theirs)) < 0 || (r = move_up(&their_errors)) < 0)
                return r;
        r = spawn(host, theirs, their_errors, &host->pid);
        if (r < 0) {
                host->pid = 0;
                return r;
        }
        return attach(host);
}

void host_spawn(Host *host)
{
        uint64_t delay_usec;
        char duration[48];
        int r;

        host->starts++;
        host->changed = true;
        host->restart_usec = 0;
        host->restart_asked = false;
        host->started_usec = host->heard_usec = clock_monotonic_usec();
        r = start(host);
        if (r >= 0) {
                log_write(LOG_DEBUG, HOST_CONTEXT(host), "worker %d started", (int) host->pid);
                /* It waits for this. If it can't be said, it is gone already, and we will hear of it. */
                if (host_say(host, WIRE_START, &host->interval_sec) == -E2BIG)
                        host_kill(host, text_printf("its options are too long"));
                host_watch(host);
                return;
        }

        host_abandon(host);
        delay_usec = host_back_off(host);
        if (host_set_error(host, HOST_TROUBLE_WORKER,
                    text_printf("cannot start its worker %s: %s", host->paths->worker, strerror(-r))))
                log_write(LOG_ERR, HOST_CONTEXT(host), "%s; next try in %s", host_last_error(host),
                        text_format_duration(duration, delay_usec));
        host_watch(host);
}

/* --- ending ------------------------------------------------------------------------------------------- */

static void detach(Host *host)
{
        host->child = sd_event_source_disable_unref(host->child);
        host->wire_source = sd_event_source_disable_unref(host->wire_source);
        host->errors_source = sd_event_source_disable_unref(host->errors_source);
        closep(&host->wire);
        closep(&host->errors);
        bytes_deinit(&host->in);
        bytes_deinit(&host->out);
        host->wire_paused = host->errors_paused = false;
        host->line_size = 0;
        host->line_cut = false;
        host->pid = 0;
        host->ending = HOST_NOT_ENDING;
        host->deadline_usec = host->warned_usec = host->healthy_usec = 0;
        host->greeted = host->opened = host->failing = host->stuck = false;
        host->sandbox = 0;
        free(TAKE_PTR(host->why));
}

/* "ended by signal 11 (Segmentation fault)" */
static char *reason(const siginfo_t *info)
{
        if (info->si_code == CLD_EXITED)
                return text_printf("exited with status %d", info->si_status);
        return text_printf("ended by signal %d (%s)", info->si_status, strsignal(info->si_status));
}

/* It is gone without having been asked to: say so, and see to the next. */
static void lament(Host *host, const siginfo_t *info)
{
        _cleanup_(freep) char *how = reason(info);
        uint64_t delay_usec;
        char duration[48];

        delay_usec = host_back_off(host);
        host_set_error(host, HOST_TROUBLE_WORKER, NULL);
        host_set_error(host, HOST_TROUBLE_PLUGIN, NULL);
        host_set_error(host, HOST_TROUBLE_ENDED,
                host->why ? TAKE_PTR(host->why) : text_printf("worker %s", how ? how : "ended"));
        log_write(LOG_WARNING, HOST_CONTEXT(host), "%s; started again in %s", host_last_error(host),
                text_format_duration(duration, delay_usec));
}

/* It is gone because its sandbox has no room for the devices that there are by now. What its plugin said of
 * them stays until the next one's says something else. Who does this again and again waits longer. */
static void renew(Host *host)
{
        uint64_t delay_usec = host_back_off(host);
        char duration[48];

        host_set_error(host, HOST_TROUBLE_WORKER, NULL);
        log_write(LOG_INFO, HOST_CONTEXT(host), "its devices have changed: it gets a new worker in %s",
                text_format_duration(duration, delay_usec));
}

static bool exited(const siginfo_t *info, int status)
{
        return info->si_code == CLD_EXITED && info->si_status == status;
}

/* It is gone as it was asked to. In peace? A plugin may come to harm in close(). */
static void part(const Host *host, const siginfo_t *info)
{
        _cleanup_(freep) char *how = reason(info);

        if (host->why)
                log_write(LOG_WARNING, HOST_CONTEXT(host), "%s", host->why);
        else if (!exited(info, 0) && !exited(info, WIRE_EXIT_RENEW))
                log_write(LOG_WARNING, HOST_CONTEXT(host),
                        "its worker was asked to stop, but %s instead of closing plugin '%s' in peace",
                        how ? how : "ended", host->sensor->plugin);
        else
                log_write(LOG_DEBUG, HOST_CONTEXT(host), "worker %d has stopped", (int) host->pid);
}

static void gone(Host *host, const siginfo_t *info)
{
        host_listen_rest(host);
        host_errors_rest(host);
        if (!host->wanted || host->restart_asked)
                part(host, info);
        else if (exited(info, WIRE_EXIT_RENEW) && host->greeted && !host->why)
                renew(host);
        else
                lament(host, info);
        detach(host);
        if (host->restart_asked)
                host_spawn(host);
        host_watch(host);
        host_tell(host);
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *userdata)
{
        (void) source;
        gone(userdata, info);
        return 0;
}

/* sd-event waits for the process's descriptor to become readable, once; but with a debugger attached to it
 * that happens before the debugger lets us have it. */
bool host_reap(Host *host)
{
        siginfo_t info = {0};
        pid_t pid = host->pid;

        /* Its number stays its own until all that it has left behind was looked at. */
        if (waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != pid)
                return false;
        gone(host, &info);
        (void) waitid(P_PID, (id_t) pid, &info, WEXITED | WNOHANG);
        return true;
}

void host_kill(Host *host, char *why)
{
        if (why) {
                free(host->why);
                host->why = why;
        }
        /* Not reaped yet, so the number is still its own. */
        (void) kill(host->pid, SIGKILL);
        host->ending = HOST_KILLED;
        host->deadline_usec = clock_monotonic_usec() + KILLED_USEC;
        host_watch(host);
}

void host_ask(Host *host)
{
        if (host->ending != HOST_NOT_ENDING)
                return;
        host->ending = HOST_ASKED;
        host->deadline_usec = clock_monotonic_usec() + ASKED_USEC;
        if (host_say(host, WIRE_STOP, NULL) < 0)
                host_kill(host, NULL);
}

void host_abandon(Host *host)
{
        pid_t pid = host->pid, gone_pid = 0;

        detach(host);
        if (pid == 0)
                return;
        (void) kill(pid, SIGKILL);
        /* The loop may have ended already, so this waits by itself: for a moment. */
        for (int i = 0; i < ABANDON_TRIES && gone_pid == 0; i++) {
                gone_pid = waitpid(pid, NULL, WNOHANG);
                if (gone_pid == 0)
                        (void) poll(NULL, 0, ABANDON_MSEC);
        }
        if (gone_pid == 0)
                log_write(LOG_WARNING, HOST_CONTEXT(host),
                        "worker %d does not end, though killed: it is left behind", (int) pid);
}

/* --- what the loop has for it ------------------------------------------------------------------------- */

static int on_wire(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        Host *host = userdata;
        int r = 0;

        (void) source;
        (void) fd;
        if (events & EPOLLOUT)
                r = host_flush(host);
        if (r >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                r = host_listen(host);
        if (r < 0 && host->ending == HOST_NOT_ENDING) {
                /* It has closed the wire: it is about to end by itself, and how will tell more than this. */
                host->ending = HOST_ASKED;
                host->deadline_usec = clock_monotonic_usec() + ASKED_USEC;
        }
        if (r < 0) {
                host->wire_source = sd_event_source_disable_unref(host->wire_source);
                host_watch(host);
        }
        host_tell(host);
        return 0;
}

static int on_errors(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
        Host *host = userdata;

        (void) source;
        (void) fd;
        (void) events;
        if (host_errors_listen(host) < 0)
                host->errors_source = sd_event_source_disable_unref(host->errors_source);
        return 0;
}

int host_flush(Host *host)
{
        ssize_t n = send(host->wire, host->out.data, host->out.size, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN && errno != EINTR)
                return -errno;
        if (n > 0)
                bytes_consume(&host->out, (size_t) n);
        if (host->out.size == 0)
                bytes_deinit(&host->out);
        return sd_event_source_set_io_events(
                host->wire_source, EPOLLIN | (host->out.size > 0 ? EPOLLOUT : 0));
}

/* The devices that its plugin names, with this sensor's options. */
static void put_devices(const Host *host, Bytes *out)
{
        const Descriptor *descriptor = host->sensor->descriptor;
        char *devices[DEVICES_MAX];
        uint32_t n = 0;

        for (size_t i = 0; descriptor && i < descriptor->n_devices; i++) {
                int r = device_expand(descriptor->devices[i], &host->sensor->options, devices + n);

                n += r >= 0;
                out->failed |= r == -ENOMEM;
                if (r == -EINVAL && host->starts == 1)
                        log_write(LOG_WARNING, HOST_CONTEXT(host),
                                "plugin '%s' gets no device for %s: what is configured there leads out of "
                                "/dev, or is too long",
                                host->sensor->plugin, descriptor->devices[i]);
        }
        bytes_put_u32(out, n);
        for (uint32_t i = 0; i < n; i++) {
                bytes_put_string(out, devices[i]);
                free(devices[i]);
        }
}

/* A worker that takes nothing is silent too, and dealt with as such; what is queued is bounded all the same.
 */
int host_say(Host *host, WireType type, const double *interval_sec)
{
        size_t mark;

        if (!host->wire_source)
                return -ENOTCONN;
        if (host->out.size > WIRE_FRAME_MAX)
                return -ENOBUFS;
        mark = wire_begin(&host->out, type);
        if (type == WIRE_START)
                bytes_put_u32(&host->out, WIRE_VERSION);
        if (interval_sec)
                bytes_put_f64(&host->out, *interval_sec);
        if (type == WIRE_START) {
                put_devices(host, &host->out);
                wire_put_group(&host->out, &host->sensor->options);
        }
        wire_end(&host->out, mark);
        return host->out.failed ? -E2BIG : host_flush(host);
}
