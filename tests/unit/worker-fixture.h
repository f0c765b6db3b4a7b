/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The stage for tests of the worker: the real one, with the test as its host, which talks with it on the
 * wire. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "group.h"
#include "util/clock.h"
#include "wire.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC)

typedef struct Worker {
        pid_t pid;
        int wire;
        Bytes in;
        size_t taken; /* of in: the frame that was given out last */
} Worker;

static inline const char *worker_path(void)
{
        const char *path = getenv("PLUGD_WORKER");

        assert_non_null(path);
        return path;
}

static inline void use_plugins(const char *variable)
{
        static char *ours;

        if (!ours)
                ours = strdup(getenv("PLUGD_PLUGIN_DIR"));
        setenv("PLUGD_PLUGIN_DIR", variable ? getenv(variable) : ours, 1);
}

static inline void worker_begin(Worker *worker, const char *plugin)
{
        char *argv[] = {(char *) "plugd-worker", (char *) plugin, (char *) "one", NULL};
        posix_spawn_file_actions_t actions;
        int pair[2], theirs;

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        theirs = fcntl(pair[1], F_DUPFD_CLOEXEC, 10);
        close(pair[1]);
        *worker = (Worker){.wire = fcntl(pair[0], F_DUPFD_CLOEXEC, 10)};
        close(pair[0]);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, theirs, WIRE_FD);
        assert_int_equal(posix_spawn(&worker->pid, worker_path(), &actions, NULL, argv, environ), 0);
        posix_spawn_file_actions_destroy(&actions);
        close(theirs);
}

/* The next frame, which stays until the one after. False: the worker has closed the wire. */
static inline bool worker_next(Worker *worker, WireFrame *ret)
{
        uint64_t until_usec = clock_monotonic_usec() + PATIENCE_USEC;

        bytes_consume(&worker->in, worker->taken);
        worker->taken = 0;
        for (;;) {
                struct pollfd polled = {.fd = worker->wire, .events = POLLIN};
                uint64_t now_usec = clock_monotonic_usec();
                int r = wire_next(worker->in.data, worker->in.size, ret);
                ssize_t n;

                assert_in_range(r, 0, 1);
                if (r == 1) {
                        worker->taken = ret->size;
                        return true;
                }
                assert_true(now_usec < until_usec);
                if (poll(&polled, 1, (int) ((until_usec - now_usec) / 1000)) <= 0)
                        continue;
                assert_non_null(bytes_reserve(&worker->in, 65536));
                n = read(worker->wire, worker->in.data + worker->in.size, 65536);
                if (n <= 0)
                        return false;
                worker->in.size += (size_t) n;
        }
}

/* The next frame of this type, others thrown away. */
static inline WireFrame worker_wait(Worker *worker, WireType type)
{
        WireFrame frame;

        do
                assert_true(worker_next(worker, &frame));
        while (frame.type != type);
        return frame;
}

static inline void worker_write(Worker *worker, Bytes *bytes)
{
        assert_false(bytes->failed);
        assert_int_equal(send(worker->wire, bytes->data, bytes->size, MSG_NOSIGNAL), bytes->size);
        bytes_deinit(bytes);
}

/* device: a pattern, or NULL. */
static inline void worker_start(
        Worker *worker, double interval_sec, const char *device, const struct plugd_group *options)
{
        Bytes bytes = {0};
        size_t mark = wire_begin(&bytes, WIRE_START);

        bytes_put_u32(&bytes, WIRE_VERSION);
        bytes_put_f64(&bytes, interval_sec);
        bytes_put_u32(&bytes, device != NULL);
        if (device)
                bytes_put_string(&bytes, device);
        wire_put_group(&bytes, options);
        wire_end(&bytes, mark);
        worker_write(worker, &bytes);
}

static inline void worker_say(
        Worker *worker, WireType type, double interval_sec, const struct plugd_group *options)
{
        Bytes bytes = {0};
        size_t mark;

        if (type == WIRE_START) {
                worker_start(worker, interval_sec, NULL, options);
                return;
        }
        mark = wire_begin(&bytes, type);
        if (type != WIRE_STOP)
                bytes_put_f64(&bytes, interval_sec);
        wire_end(&bytes, mark);
        worker_write(worker, &bytes);
}

static inline int worker_status(Worker *worker)
{
        WireFrame frame;
        int status;

        while (worker_next(worker, &frame))
                ;
        assert_int_equal(waitpid(worker->pid, &status, 0), worker->pid);
        close(worker->wire);
        bytes_deinit(&worker->in);
        return status;
}

/* Asks it to stop, and it does, with status 0. */
static inline void worker_end(Worker *worker)
{
        worker_say(worker, WIRE_STOP, 0, NULL);
        assert_int_equal(worker_status(worker), 0);
}

typedef struct Taken {
        uint32_t channel;
        uint64_t usec;
        struct plugd_value value;
} Taken;

static inline Taken read_sample(WireFrame *frame)
{
        Taken taken = {.channel = bytes_get_u32(&frame->body), .usec = bytes_get_u64(&frame->body)};

        assert_int_equal(wire_get_value(&frame->body, &taken.value), 0);
        assert_int_equal(frame->body.size, 0);
        return taken;
}

static inline Taken wait_sample(Worker *worker)
{
        WireFrame frame = worker_wait(worker, WIRE_SAMPLE);

        return read_sample(&frame);
}

static inline void expect_failure(Worker *worker, WireFailure what, int error, const char *words)
{
        WireFrame frame = worker_wait(worker, WIRE_FAILED);
        const char *text;

        assert_int_equal(bytes_get_u8(&frame.body), what);
        assert_int_equal(bytes_get_u32(&frame.body), error);
        text = bytes_get_string(&frame.body);
        assert_non_null(text);
        if (!strstr(text, words))
                fail_msg("'%s' instead of '%s'", text, words);
}
