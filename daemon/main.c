/* SPDX-License-Identifier: Apache-2.0 */
/* plugd: parse, set up, run. */

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <systemd/sd-event.h>

#include "bus.h"
#include "catalog.h"
#include "config.h"
#include "link.h"
#include "log-journal.h"
#include "manager.h"
#include "notify.h"
#include "paths.h"
#include "plugd-build.h"
#include "util/log.h"
#include "util/text.h"

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define SANITIZED
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define SANITIZED
#endif

enum { EXIT_DONE = 0, EXIT_FAULT = 1, EXIT_USAGE = 2, EXIT_CONFIG = 3 };

typedef struct Options {
        const char *config;
        bool check, user;
        int exit_now; /* what was asked for is done (or wrong): leave with this; -1: go on */
} Options;

static void print_help(void)
{
        printf("plugd %s: connects this machine and its sensors to the CloudPlugs IoT platform.\n"
               "\n"
               "Usage: plugd [OPTIONS]\n"
               "\n"
               "  --config FILE      configuration (default %s/plugd/plugd.conf);\n"
               "                     more sensors are read from sensors.d/*.conf beside it\n"
               "  --check            check the configuration, print what is wrong with it, and exit\n"
               "  --user             run for this user: session bus, folders of the user\n"
               "  --log-level LEVEL  error, warning, notice, info (default) or debug\n"
               "  --version          print the version and exit\n"
               "  --help             print this and exit\n"
               "\n"
               "Exit status: 0 done, 1 fault, 2 usage, 3 configuration.\n"
               "See what it does with plugctl status.\n",
                PLUGD_VERSION, PLUGD_SYSCONFDIR);
}

static Options parse_options(int argc, char **argv)
{
        enum { OPTION_CONFIG = 1, OPTION_CHECK, OPTION_USER, OPTION_LOG_LEVEL, OPTION_VERSION, OPTION_HELP };
        static const struct option options[] = {
                {"config", required_argument, NULL, OPTION_CONFIG},
                {"check", no_argument, NULL, OPTION_CHECK},
                {"user", no_argument, NULL, OPTION_USER},
                {"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
                {"version", no_argument, NULL, OPTION_VERSION},
                {"help", no_argument, NULL, OPTION_HELP},
                {},
        };
        Options parsed = {.exit_now = -1};
        int option;

        while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
                switch (option) {
                case OPTION_CONFIG:
                        parsed.config = optarg;
                        break;
                case OPTION_CHECK:
                        parsed.check = true;
                        break;
                case OPTION_USER:
                        parsed.user = true;
                        break;
                case OPTION_LOG_LEVEL:
                        if (log_level_from_string(optarg) < 0) {
                                fprintf(stderr,
                                        "plugd: --log-level %s: there is error, warning, notice, info and "
                                        "debug\n",
                                        optarg);
                                parsed.exit_now = EXIT_USAGE;
                                return parsed;
                        }
                        log_set_level(log_level_from_string(optarg));
                        break;
                case OPTION_VERSION:
                        puts("plugd " PLUGD_VERSION);
                        parsed.exit_now = EXIT_DONE;
                        return parsed;
                case OPTION_HELP:
                        print_help();
                        parsed.exit_now = EXIT_DONE;
                        return parsed;
                default: /* getopt_long has said what is wrong */
                        fputs("plugd: see plugd --help\n", stderr);
                        parsed.exit_now = EXIT_USAGE;
                        return parsed;
                }
        if (optind < argc) {
                fprintf(stderr, "plugd: '%s' is one argument too many; see plugd --help\n", argv[optind]);
                parsed.exit_now = EXIT_USAGE;
        }
        return parsed;
}

/* --- configuration ---------------------------------------------------------------------------------------
 */

typedef struct Reading {
        Catalog *catalog;
        bool check; /* print for a person, rather than log */
        unsigned errors, warnings;
        unsigned unsure; /* errors that say nothing against the configuration */
} Reading;

static const Descriptor *on_lookup(const char *plugin, char **ret_error, void *userdata)
{
        Reading *reading = userdata;

        const Descriptor *found = catalog_lookup(plugin, ret_error, reading->catalog);

        if (!found && catalog_unsure(reading->catalog, plugin))
                reading->unsure++;
        return found;
}

static void on_report(
        ConfigSeverity severity, const char *file, unsigned line, const char *text, void *userdata)
{
        Reading *reading = userdata;
        bool error = severity == CONFIG_ERROR;
        char position[16] = "";

        if (severity == CONFIG_INCOMPLETE && !reading->check)
                return; /* the manager says it, and only if no earlier enrolment makes up for it */
        if (error)
                reading->errors++;
        else
                reading->warnings++;
        if (line > 0)
                snprintf(position, sizeof(position), "%u:", line);
        if (reading->check)
                fprintf(stderr, "%s:%s %s%s\n", file, position, error ? "" : "warning: ", text);
        else
                log_write(error ? LOG_ERR : LOG_WARNING, NULL, "%s:%s %s", file, position, text);
}

/* The configuration lives on what the catalog knows of the plugins. -EAGAIN: it may be good another time. */
static int read_configuration(const Paths *paths, bool check, Catalog **ret_catalog, Config **ret_config)
{
        _cleanup_(catalog_freep) Catalog *catalog = NULL;
        Reading reading = {.check = check};
        int r;

        r = catalog_new(&catalog, paths);
        if (r < 0)
                return r;
        reading.catalog = catalog;
        r = config_load(paths->config, on_lookup, on_report, &reading, ret_config);
        if (r < 0 && check)
                fprintf(stderr, "%s: %u error%s, %u warning%s\n", paths->config, reading.errors,
                        reading.errors == 1 ? "" : "s", reading.warnings, reading.warnings == 1 ? "" : "s");
        else if (r < 0)
                log_error("the configuration has %u error%s; mend %s and start plugd again (plugd --check "
                          "shows them)",
                        reading.errors, reading.errors == 1 ? "" : "s", paths->config);
        else if (check)
                printf("%s: good (%zu sensor%s, %u warning%s)\n", paths->config, (*ret_config)->n_sensors,
                        (*ret_config)->n_sensors == 1 ? "" : "s", reading.warnings,
                        reading.warnings == 1 ? "" : "s");
        *ret_catalog = TAKE_PTR(catalog);
        return r == -EINVAL && !check && reading.unsure > 0 && reading.unsure == reading.errors ? -EAGAIN
                                                                                                : r;
}

/* --- running
 * ------------------------------------------------------------------------------------------------ */

/* No core dumps with credentials in them, and no other process of this user may look inside. */
static void protect_process(void)
{
#ifndef SANITIZED /* the leak checker looks inside */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
                log_warning("other processes of this user may look into this one: %s", strerror(errno));
#endif
        umask(0077);
        signal(SIGPIPE, SIG_IGN);
}

/* What a signal stops. */
typedef struct Running {
        Manager *manager;
        Notify *notify;
} Running;

static int on_signal(sd_event_source *source, const struct signalfd_siginfo *info, void *userdata)
{
        const Running *running = userdata;

        (void) source;
        log_info("stopping, because of %s", strsignal((int) info->ssi_signo));
        notify_stopping(running->notify);
        manager_stop(running->manager);
        return 0;
}

static int watch_signals(sd_event *event, Running *running)
{
        static const int stops[] = {SIGTERM, SIGINT, SIGHUP};

        for (size_t i = 0; i < ELEMENTSOF(stops); i++) {
                int r = sd_event_add_signal(event, NULL, stops[i], on_signal, running);

                if (r < 0)
                        return r;
        }
        return 0;
}

/* All that the loop needs to know of, blocked before there is a thread or a child of the loop's. */
static void block_signals(void)
{
        sigset_t blocked;

        sigemptyset(&blocked);
        sigaddset(&blocked, SIGTERM);
        sigaddset(&blocked, SIGINT);
        sigaddset(&blocked, SIGHUP);
        sigaddset(&blocked, SIGCHLD);
        sigprocmask(SIG_BLOCK, &blocked, NULL);
}

static int say(const char *what, char *error, int r)
{
        log_error("%s: %s", what, error ? error : strerror(-r));
        return r;
}

/* Takes the config over. The loop's exit code, or -errno. */
static int run(Config *config, const Paths *paths, bool user)
{
        _cleanup_(sd_event_unrefp) sd_event *event = NULL;
        _cleanup_(manager_freep) Manager *manager = NULL;
        _cleanup_(notify_freep) Notify *notify = NULL;
        _cleanup_(bus_freep) Bus *bus = NULL;
        _cleanup_(freep) char *error = NULL;
        _cleanup_(config_freep) Config *owned = config;
        Running running;
        int r;

        block_signals();
        r = sd_event_default(&event);
        if (r < 0)
                return say("there is no event loop", NULL, r);
        log_info("plugd " PLUGD_VERSION ", with %s: %s:%u, %zu sensor%s", config->path, config->server.host,
                config->server.port, config->n_sensors, config->n_sensors == 1 ? "" : "s");
        r = manager_new(&manager, event, TAKE_PTR(owned), paths, &error);
        if (r < 0)
                return say("can't start", error, r);
        r = bus_new(&bus, event, manager, user, &error);
        if (r < 0)
                return say("can't be on D-Bus", error, r);
        r = notify_new(&notify, manager);
        if (r < 0)
                return say("can't tell the service manager", NULL, r);
        running = (Running){manager, notify};
        r = watch_signals(event, &running);
        if (r < 0)
                return say("can't listen to signals", NULL, r);
        r = manager_start(manager);
        if (r < 0)
                return say("can't start", NULL, r);

        /* Fed by the loop itself, so only while it goes round. */
        r = sd_event_set_watchdog(event, true);
        if (r < 0)
                log_warning("no watchdog: %s", strerror(-r));
        notify_ready(notify);
        r = sd_event_loop(event);
        return r < 0 ? say("the event loop failed", NULL, r) : r;
}

int main(int argc, char **argv)
{
        Options options = parse_options(argc, argv);
        _cleanup_(paths_deinit) Paths paths = {};
        _cleanup_(catalog_freep) Catalog *catalog = NULL;
        _cleanup_(freep) char *error = NULL;
        Config *config = NULL;
        int r, read;

        if (options.exit_now >= 0)
                return options.exit_now;
        if (!options.check) {
                log_journal_setup();
                protect_process();
        }

        r = paths_init(&paths, options.user, options.config, &error);
        /* A mistake in the configuration comes before folders that are missing; to check it needs none. */
        if (r == -ENXIO)
                (void) paths_init(&paths, false, options.config, NULL);
        if (!paths.config) {
                say("can't start", error, r);
                return EXIT_FAULT;
        }
        read = read_configuration(&paths, options.check, &catalog, &config);
        if (read < 0) /* a machine that is short of something is no mistake in a file: try again */
                return read == -EAGAIN || read == -ENOMEM ? EXIT_FAULT : EXIT_CONFIG;
        if (options.check || r < 0) {
                config_free(config);
                if (!options.check)
                        say("can't start", error, r);
                return options.check ? EXIT_DONE : EXIT_FAULT;
        }

        r = run(config, &paths, options.user);
        r = r == 0 ? EXIT_DONE : EXIT_FAULT;
        /* A thread may still wait for a name server on behalf of nobody: what the libraries would tear down
         * at exit is under its feet. All of ours has been cleaned up. */
        if (link_orphans() > 0) {
                fflush(NULL);
                _exit(r);
        }
        return r;
}
