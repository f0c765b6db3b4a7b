/* SPDX-License-Identifier: Apache-2.0 */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "bytes.h"
#include "clock.h"
#include "text.h"

extern char **environ;

/* One stream of the child: where it ends, and what came so far. */
typedef struct Stream {
        int fd;
        Bytes bytes;
} Stream;

static int spawn(const char *const *argv, int output, int errors, pid_t *ret_pid)
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none, defaults;
        int r;

        sigemptyset(&none);
        sigemptyset(&defaults);
        sigaddset(&defaults, SIGPIPE);
        sigaddset(&defaults, SIGCHLD);

        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attributes);
        if (r != 0) {
                posix_spawn_file_actions_destroy(&actions);
                return -r;
        }
        if ((r = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)) == 0 &&
                (r = posix_spawn_file_actions_adddup2(&actions, output, 1)) == 0 &&
                (r = posix_spawn_file_actions_adddup2(&actions, errors, 2)) == 0 &&
                (r = posix_spawn_file_actions_addclosefrom_np(&actions, 3)) == 0 &&
                (r = posix_spawnattr_setsigmask(&attributes, &none)) == 0 &&
                (r = posix_spawnattr_setsigdefault(&attributes, &defaults)) == 0 &&
                (r = posix_spawnattr_setflags(
                         &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF)) == 0)
                r = posix_spawn(ret_pid, argv[0], &actions, &attributes, (char *const *) argv, environ);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
        return -r;
}

/* Reads what there is. 0: it has ended. */
static int stream_read(Stream *stream, size_t max)
{
        uint8_t *to = bytes_reserve(&stream->bytes, 4096);
        ssize_t n;

        if (!to)
                return -ENOMEM;
        n = read(stream->fd, to, 4096);
        if (n < 0)
                return errno == EINTR || errno == EAGAIN ? 1 : -errno;
        if (n == 0) {
                closep(&stream->fd);
                return 0;
        }
        stream->bytes.size += (size_t) n;
        return stream->bytes.size > max ? -EFBIG : 1;
}

static int streams_collect(Stream streams[static 2], uint64_t deadline_usec, size_t max)
{
        while (streams[0].fd >= 0 || streams[1].fd >= 0) {
                struct pollfd polled[2] = {{streams[0].fd, POLLIN, 0}, {streams[1].fd, POLLIN, 0}};
                uint64_t now = clock_monotonic_usec();

                if (now >= deadline_usec)
                        return -ETIMEDOUT;
                if (poll(polled, 2, (int) ((deadline_usec - now) / USEC_PER_MSEC) + 1) < 0 && errno != EINTR)
                        return -errno;
                for (int i = 0; i < 2; i++)
                        if (polled[i].fd >= 0 && polled[i].revents) {
                                int r = stream_read(&streams[i], max);

                                if (r < 0)
                                        return r;
                        }
        }
        return 0;
}

static char *stream_take(Stream *stream)
{
        char *text;

        bytes_put_u8(&stream->bytes, 0);
        if (stream->bytes.failed)
                return NULL;
        text = (char *) stream->bytes.data;
        stream->bytes = (Bytes){};
        return text;
}

/* Waits for the end, which follows soon after its streams have closed; makes sure of it at the deadline. */
static int reap(pid_t pid, uint64_t deadline_usec, bool kill_now, int *ret_status)
{
        for (;;) {
                pid_t r = waitpid(pid, ret_status, kill_now ? 0 : WNOHANG);

                if (r == pid)
                        return 0;
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r == 0 && clock_monotonic_usec() >= deadline_usec) {
                        kill(pid, SIGKILL);
                        kill_now = true;
                } else if (r == 0) {
                        poll(NULL, 0, 1);
                }
        }
}

int process_capture(
        const char *const *argv, uint64_t timeout_usec, size_t max, char **ret_output, char **ret_errors)
{
        uint64_t deadline_usec = clock_monotonic_usec() + timeout_usec;
        Stream streams[2] = {{-1, {}}, {-1, {}}};
        _cleanup_(freep) char *output = NULL, *errors = NULL;
        int out[2] = {-1, -1}, err[2] = {-1, -1}, status = 0, r, collected;
        pid_t pid;

        if (pipe2(out, O_CLOEXEC) < 0)
                return -errno;
        streams[0].fd = out[0];
        if (pipe2(err, O_CLOEXEC) < 0) {
                r = -errno;
                goto finish;
        }
        streams[1].fd = err[0];
        r = spawn(argv, out[1], err[1], &pid);
        closep(&out[1]);
        closep(&err[1]);
        if (r < 0)
                goto finish;

        collected = streams_collect(streams, deadline_usec, max);
        if (collected < 0)
                kill(pid, SIGKILL);
        r = reap(pid, deadline_usec, collected < 0, &status);
        if (r < 0)
                goto finish;
        if (collected < 0) {
                r = collected;
                goto finish;
        }

        output = stream_take(&streams[0]);
        errors = stream_take(&streams[1]);
        if (!output || !errors) {
                r = -ENOMEM;
                goto finish;
        }
        if (WIFSIGNALED(status)) {
                text_set(&errors, "it was ended by signal %d (%s)", WTERMSIG(status),
                        strsignal(WTERMSIG(status)));
                r = -ECHILD;
        } else {
                r = WEXITSTATUS(status);
        }
        *ret_output = TAKE_PTR(output);
        *ret_errors = TAKE_PTR(errors);

finish:
        closep(&out[1]);
        closep(&err[1]);
        for (int i = 0; i < 2; i++) {
                closep(&streams[i].fd);
                bytes_deinit(&streams[i].bytes);
        }
        return r;
}
