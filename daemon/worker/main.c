/* SPDX-License-Identifier: Apache-2.0 */

/* Arguments, and what a process must do to itself before it runs code of others. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "plugd-build.h"
#include "util/text.h"
#include "worker.h"

#define EXIT_USAGE 2

/* How much sooner than the daemon a worker goes when memory runs out. */
#define OOM_SCORE_STEP 300

static const char usage[] =
        "Usage: plugd-worker PLUGIN SENSOR      (started by plugd alone: runs PLUGIN for SENSOR)\n"
        "       plugd-worker --describe PLUGIN  (prints as JSON what PLUGIN says of itself)\n"
        "       plugd-worker --version | --help\n"
        "Plugins are looked for in $PLUGD_PLUGIN_DIR, else in " PLUGD_PLUGINDIR ".\n";

static const char *plugin_folder(void)
{
        const char *folder = getenv("PLUGD_PLUGIN_DIR");

        return folder && folder[0] ? folder : PLUGD_PLUGINDIR;
}

static int describe(const char *name)
{
        _cleanup_(freep) char *error = NULL;
        const struct plugd_plugin *plugin;
        char words[256];
        int r;

        sandbox_enter(plugin_folder(), NULL, words);
        r = plugin_load(plugin_folder(), name, &plugin, &error);
        if (r < 0) {
                fprintf(stderr, "%s\n", error ? error : strerror(-r));
                return EXIT_FAILURE;
        }
        r = plugin_describe(plugin, stdout);
        if (r < 0) {
                fprintf(stderr, "cannot print what plugin '%s' says: %s\n", name, strerror(-r));
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

/* All of this is best effort: none of it keeps a sensor from being read. */
static void settle(void)
{
        struct rlimit none = {0, 0};
        int fd, score = 0;
        char text[16];
        ssize_t n;

        /* The daemon hands down nothing but 0 to 3; this holds even if it was not us who started us. */
        (void) close_range(WIRE_FD + 1, ~0U, 0);
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void) setrlimit(RLIMIT_CORE, &none);
        (void) signal(SIGPIPE, SIG_IGN);

        fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
        if (fd < 0)
                return;
        n = read(fd, text, sizeof(text) - 1);
        if (n > 0) {
                text[n] = '\0';
                score = atoi(text);
        }
        n = snprintf(text, sizeof(text), "%d", MIN(score + OOM_SCORE_STEP, 1000));
        (void) !pwrite(fd, text, (size_t) n, 0);
        close(fd);
}

/* Where the kernel has no Landlock, other plugins of the same user could write into this one's memory. After
 * settling: from now on /proc/self belongs to root. */
static void protect(void)
{
#ifndef WORKER_SANITIZED
        (void) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
}

/* Is there a host at the other end, and not one that died before PR_SET_PDEATHSIG could tell? */
static bool wire_alive(void)
{
        struct pollfd wire = {.fd = WIRE_FD};
        struct stat status;

        if (fstat(WIRE_FD, &status) < 0 || !S_ISSOCK(status.st_mode))
                return false;
        return poll(&wire, 1, 0) >= 0 && !(wire.revents & (POLLHUP | POLLERR | POLLNVAL));
}

static int run(const char *plugin)
{
        settle();
        protect();
        if (!wire_alive()) {
                fprintf(stderr,
                        "plugd-worker: there is no plugd at descriptor %d: it is started by plugd\n%s",
                        WIRE_FD, usage);
                return EXIT_USAGE;
        }
        return loop_run(WIRE_FD, plugin_folder(), plugin);
}

int main(int argc, char **argv)
{
        if (argc == 2 && strcmp(argv[1], "--version") == 0) {
                puts("plugd-worker " PLUGD_VERSION);
                return EXIT_SUCCESS;
        }
        if (argc == 2 && strcmp(argv[1], "--help") == 0) {
                fputs(usage, stdout);
                return EXIT_SUCCESS;
        }
        if (argc == 3 && strcmp(argv[1], "--describe") == 0)
                return describe(argv[2]);
        if (argc == 3 && argv[1][0] != '-')
                return run(argv[1]);
        fputs(usage, stderr);
        return EXIT_USAGE;
}

#ifdef WORKER_SANITIZED
/* The leak checker wants to ptrace, which the sandbox doesn't let it. */
const char *__asan_default_options(void);
__attribute__((visibility("default"))) const char *__asan_default_options(void)
{
        return "detect_leaks=0";
}
#endif
