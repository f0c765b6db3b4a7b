/* SPDX-License-Identifier: Apache-2.0 */

/* What a worker lets a plugin do, and which devices it may open: those that START names, as they were when
 * the worker shut itself in. With the real worker, and a plugin that tries. */

#include "worker-fixture.h"

#include <linux/landlock.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "util/text.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

static bool has_landlock(void)
{
        return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION) > 0;
}

/* --- beginnings --------------------------------------------------------------------------------------- */

static void test_greeting(void **state)
{
        struct plugd_group none = {0};
        uint32_t sandbox;
        Worker worker;
        WireFrame frame;

        (void) state;
        use_plugins("PLUGD_TEST_PLUGIN_DIR");
        worker_begin(&worker, "probe");
        worker_start(&worker, 1, NULL, &none);
        frame = worker_wait(&worker, WIRE_HELLO);
        assert_int_equal(bytes_get_u32(&frame.body), WIRE_VERSION);
        sandbox = bytes_get_u32(&frame.body);
        assert_true(sandbox & WIRE_SANDBOX_NO_NEW_PRIVS);
        assert_true(sandbox & WIRE_SANDBOX_SECCOMP);
        assert_int_equal((sandbox & WIRE_SANDBOX_LANDLOCK) != 0, has_landlock());
        worker_end(&worker);

        /* Before it has started anything. */
        worker_begin(&worker, "sim");
        worker_end(&worker);
}

static void expect_greeting_and_end(Worker *worker)
{
        WireFrame frame = worker_wait(worker, WIRE_HELLO);
        int status;

        assert_int_equal(bytes_get_u32(&frame.body), WIRE_VERSION);
        assert_int_equal(bytes_get_u32(&frame.body), 0); /* it has not come to that */
        assert_false(worker_next(worker, &frame));
        status = worker_status(worker);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

/* It says which version it is, so that the host can say what is wrong: to one that speaks another, and to
 * one so old that it waits to be greeted. */
static void test_hosts_of_other_versions(void **state)
{
        uint64_t began_usec = clock_monotonic_usec();
        Bytes bytes = {0};
        size_t mark = wire_begin(&bytes, WIRE_START);
        Worker worker;

        (void) state;
        use_plugins(NULL);
        bytes_put_u32(&bytes, WIRE_VERSION + 1);
        bytes_put(&bytes, "who knows", 9);
        wire_end(&bytes, mark);
        worker_begin(&worker, "sim");
        worker_write(&worker, &bytes);
        expect_greeting_and_end(&worker);
        assert_true(clock_monotonic_usec() - began_usec < WIRE_START_USEC);

        began_usec = clock_monotonic_usec();
        worker_begin(&worker, "sim");
        expect_greeting_and_end(&worker);
        assert_true(clock_monotonic_usec() - began_usec >= WIRE_START_USEC - USEC_PER_MSEC);
}

/* --- what a plugin may not ---------------------------------------------------------------------------- */

static void expect_report(const char *report, const char *what, const char *answer)
{
        char text[128];

        snprintf(text, sizeof(text), "\"%s\":\"%s\"", what, answer);
        if (!strstr(report, text))
                fail_msg("%s is not there: %s", text, report);
}

/* It was tried, and refused, for whatever reason. */
static void expect_refused(const char *report, const char *what)
{
        char text[128];

        snprintf(text, sizeof(text), "\"%s\":\"", what);
        if (!strstr(report, text))
                fail_msg("%s was not tried: %s", what, report);
        snprintf(text, sizeof(text), "\"%s\":\"ok\"", what);
        if (strstr(report, text))
                fail_msg("%s: %s", text, report);
}

/* By the filter of system calls and the like, whatever the kernel and the user. */
static const char *const filtered[] = {
        "socket",
        "socket-unix",
        "socketpair",
        "sendmsg",
        "io_uring",
        "kill",
        "kill-its-group",
        "kill-group",
        "kill-all",
        "tkill",
        "tgkill",
        "sigqueue",
        "tgsigqueue",
        "pidfd_open",
        "pidfd_send_signal",
        "setown",
        "setown-ex",
        "setsig",
        "lease",
        "setown-ioctl",
        "setpgrp-ioctl",
        "deathsig",
        "ptrace",
        "process_vm_readv",
        "prlimit",
        "setpriority",
        "scheduler",
        "shm",
        "shared-memory",
        "memfd",
        "open-truncate",
        "queue",
        "fork",
        "clone",
        "exec",
        "unshare",
        "mount",
        "bpf",
        "clock",
        "reboot",
        "keyctl",
        "core-limit",
        "more-files",
#ifndef SANITIZED
        "more-memory",
#endif
        "read-ioctl",
        "other-ioctl",
        "truncate",
        "chmod",
        "times",
#ifdef __x86_64__
        "x32",
#endif
};

/* By Landlock, also to root. */
static const char *const shut[] = {"environ", "mem", "maps", "task-mem", "fd", "cwd", "read",
        "read-through-self", "read-through-thread", "read-through-other", "write", "link", "rename",
        "create", "unlink", "symlink", "mkdir", "tmp", "etc-write", "shadow", "other-read", "other-write",
        "other-through-self", "other-node", "zero", "kmsg", "tty", "ptmx"};

static const char *const allowed[] = {"may-thread", "may-kill-self", "may-raise", "may-limit", "may-nice",
        "may-null", "may-full", "may-random", "may-urandom", "may-list-dev", "may-own-fd", "may-proc",
        "may-sys", "may-etc", "may-lib", "other-stat"};

static void start_probe(
        Worker *worker, double interval_sec, const char *path, const char *device, bool open_it)
{
        _cleanup_(freep) char *pattern = device ? text_printf("/dev/%s", device) : NULL;
        struct plugd_group options = {0};

        group_add(&options, "path", &(struct plugd_value){.type = PLUGD_STRING, .string = path});
        group_add(&options, "pid", &(struct plugd_value){.type = PLUGD_INTEGER, .integer = getpid()});
        if (device)
                group_add(&options, "device", &(struct plugd_value){.type = PLUGD_STRING, .string = device});
        group_add(&options, "other", &(struct plugd_value){.type = PLUGD_STRING, .string = "kmsg"});
        group_add(&options, "others",
                &(struct plugd_value){.type = PLUGD_STRING, .string = "/etc/passwd /proc/PID/fdinfo/0"});
        group_add(&options, "x32", &(struct plugd_value){.type = PLUGD_BOOLEAN, .boolean = true});
        group_add(&options, "open", &(struct plugd_value){.type = PLUGD_BOOLEAN, .boolean = open_it});
        use_plugins("PLUGD_TEST_PLUGIN_DIR");
        worker_begin(worker, "probe");
        worker_start(worker, interval_sec, pattern, &options);
        group_deinit(&options);
}

static void test_sandbox(void **state)
{
        char secret[] = "/tmp/plugd-secret-XXXXXX";
        int fd = mkstemp(secret), leaked;
        _cleanup_(freep) char *report = NULL;
        Worker worker;

        (void) state;
        assert_true(fd >= 0);
        leaked = fcntl(fd, F_DUPFD, 40); /* not close-on-exec, as a library would have it */
        setenv("NOTIFY_SOCKET", "/run/nowhere", 1);
        start_probe(&worker, 3600, secret, NULL, false);
        report = strdup(wait_sample(&worker).value.string);
        worker_end(&worker);
        unsetenv("NOTIFY_SOCKET");
        unlink(secret);
        close(fd);
        close(leaked);

        for (size_t i = 0; i < ELEMENTSOF(filtered); i++)
                expect_report(report, filtered[i], "EPERM");
        expect_report(report, "clone3", "ENOSYS");
        expect_report(report, "read-openat2", "ENOSYS");
        expect_report(report, "other-openat2", "ENOSYS");
        expect_refused(report, "timer");
        for (size_t i = 0; has_landlock() && i < ELEMENTSOF(shut); i++)
                expect_refused(report, shut[i]);
        expect_report(report, "read /etc/passwd", "ok");
        if (has_landlock()) {
                bool read_only = access("/etc/passwd", W_OK) < 0 && errno == EROFS;

                expect_report(report, "write /etc/passwd", read_only ? "EROFS" : "EACCES");
                expect_refused(report, "write /proc/PID/fdinfo/0");
        }
        for (size_t i = 0; i < ELEMENTSOF(allowed); i++)
                expect_report(report, allowed[i], "ok");
        expect_report(report, "descriptors", "0 1 2 3");
        expect_report(report, "core", "none");
}

/* --- devices ------------------------------------------------------------------------------------------ */

/* A device of the test's own: another /dev/null. NULL: that can't be had here. */
static const char *make_device(void)
{
        static char path[64];

        snprintf(path, sizeof(path), "/dev/plugd-test-%d", (int) getpid());
        if (!has_landlock()) {
                print_message("skipped: the kernel has no Landlock\n");
                return NULL;
        }
        if (mknod(path, S_IFCHR | 0600, makedev(1, 3)) < 0) {
                print_message("skipped: no device can be made: %s\n", strerror(errno));
                return NULL;
        }
        return path;
}

static int remove_device(void **state)
{
        char path[64];

        (void) state;
        snprintf(path, sizeof(path), "/dev/plugd-test-%d", (int) getpid());
        (void) unlink(path);
        return 0;
}

static void expect_renewal(Worker *worker)
{
        int status = worker_status(worker);

        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), WIRE_EXIT_RENEW);
}

static void expect_open(Worker *worker, const char *what, const char *answer)
{
        _cleanup_(freep) char *report = strdup(wait_sample(worker).value.string);

        expect_report(report, what, answer);
        worker_end(worker);
}

static void test_devices_that_are_named(void **state)
{
        const char *path = make_device(), *name;
        _cleanup_(freep) char *pattern = NULL;
        struct plugd_group options = {0};
        Worker worker;

        (void) state;
        if (!path)
                skip();
        name = path + strlen("/dev/");

        start_probe(&worker, 3600, "", name, true);
        expect_open(&worker, "device-write", "ok");

        /* One of many, by a pattern with an escaped letter. */
        group_add(&options, "pid", &(struct plugd_value){.type = PLUGD_INTEGER});
        group_add(&options, "device", &(struct plugd_value){.type = PLUGD_STRING, .string = name});
        pattern = text_printf("/dev/\\plugd-tes?-%d*", (int) getpid());
        worker_begin(&worker, "probe");
        worker_start(&worker, 3600, pattern, &options);
        expect_open(&worker, "device-write", "ok");

        /* Not named. */
        worker_begin(&worker, "probe");
        worker_start(&worker, 3600, NULL, &options);
        expect_open(&worker, "device-read", "EACCES");
        worker_begin(&worker, "probe");
        worker_start(&worker, 3600, "/dev/nul?", &options);
        expect_open(&worker, "device-write", "EACCES");

        /* Named, but no device below /dev. */
        worker_begin(&worker, "probe");
        worker_start(&worker, 3600, "/dev/../dev", &options);
        expect_open(&worker, "device-read", "EACCES");
        group_deinit(&options);
}

/* What is a link to another place is none, and what is one to a device is that device. */
static void test_links(void **state)
{
        _cleanup_(freep) char *link = text_printf("/dev/plugd-test-link-%d", (int) getpid());
        const char *path = make_device(), *name;
        char secret[] = "/tmp/plugd-secret-XXXXXX";
        _cleanup_(freep) char *report = NULL;
        Worker worker;
        int fd;

        (void) state;
        if (!path)
                skip();
        name = link + strlen("/dev/");
        assert_int_equal(symlink(path, link), 0);
        start_probe(&worker, 3600, "", name, true);
        expect_open(&worker, "device-write", "ok");
        unlink(link);

        fd = mkstemp(secret);
        assert_int_equal(symlink(secret, link), 0);
        start_probe(&worker, 3600, secret, name, false);
        report = strdup(wait_sample(&worker).value.string);
        worker_end(&worker);
        unlink(link);
        unlink(secret);
        close(fd);
        expect_report(report, "device-read", "EACCES");
        expect_report(report, "read", "EACCES");
}

static void test_device_that_comes(void **state)
{
        const char *path = make_device();
        Worker worker;

        (void) state;
        if (!path)
                skip();
        unlink(path);
        start_probe(&worker, 3600, "", path + strlen("/dev/"), true);
        expect_failure(&worker, WIRE_FAILED_OPEN, ENOENT, "No such file");
        expect_failure(&worker, WIRE_FAILED_OPEN, ENOENT, "No such file"); /* nothing new: the same worker */
        assert_non_null(make_device());
        expect_renewal(&worker);
        start_probe(&worker, 3600, "", path + strlen("/dev/"), true);
        expect_open(&worker, "device-write", "ok");
}

static void test_device_that_is_replaced(void **state)
{
        const char *path = make_device();
        _cleanup_(freep) char *aside = path ? text_printf("%s-aside", path) : NULL;
        Worker worker;

        (void) state;
        if (!path)
                skip();
        start_probe(&worker, 0.05, "", path + strlen("/dev/"), true);
        worker_wait(&worker, WIRE_OPENED);
        wait_sample(&worker);

        /* It goes and the very same comes back: no reason for another worker. */
        assert_int_equal(rename(path, aside), 0);
        expect_failure(&worker, WIRE_FAILED_OPEN, ENODEV, "is gone");
        expect_failure(&worker, WIRE_FAILED_OPEN, ENOENT, "No such file");
        assert_int_equal(rename(aside, path), 0);
        worker_wait(&worker, WIRE_OPENED);
        wait_sample(&worker);

        /* Another in its place. */
        assert_int_equal(rename(path, aside), 0);
        assert_non_null(make_device());
        expect_failure(&worker, WIRE_FAILED_OPEN, ENODEV, "is gone");
        expect_renewal(&worker);
        unlink(aside);
        start_probe(&worker, 0.05, "", path + strlen("/dev/"), true);
        expect_open(&worker, "device-write", "ok");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_greeting),
                cmocka_unit_test(test_hosts_of_other_versions),
                cmocka_unit_test(test_sandbox),
                cmocka_unit_test_teardown(test_devices_that_are_named, remove_device),
                cmocka_unit_test_teardown(test_links, remove_device),
                cmocka_unit_test_teardown(test_device_that_comes, remove_device),
                cmocka_unit_test_teardown(test_device_that_is_replaced, remove_device),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
