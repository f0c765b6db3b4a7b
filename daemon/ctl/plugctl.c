/* SPDX-License-Identifier: Apache-2.0 */

/*
 * plugctl's command line: a table of verbs and one of options, from which come the parsing, the help and
 * what the shell completes.
 */

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>

#include "ctl/ctl.h"
#include "ctl/table.h"
#include "plugd-build.h"
#include "util/text.h"

#define HELP_COLUMNS 79
#define COMPLETE_USEC (1 * USEC_PER_SEC) /* a shell waits for it */

/* What an argument is, for completion. */
typedef enum Kind { KIND_NONE, KIND_SENSOR, KIND_FILE, KIND_VERB } Kind;

typedef struct Verb {
        const char *name, *arguments, *help;
        size_t min, max; /* how many arguments */
        Kind kind;       /* of the first */
        bool waits;      /* has --no-wait */
        int (*run)(Ctl *ctl);
        const char *more, *example; /* for its own help; more: NULL for nothing */
} Verb;

static int verb_help(Ctl *ctl);

static const Verb verbs[] = {
        {"status", "", "Show who and how the gateway is, and its sensors", 0, 0, KIND_NONE, false,
                verb_status,
                "Messages are confirmed when the server is known to have read them; dropped are those lost, "
                "in the spool and before it. All these, and RESTARTS and DROPPED of sensors, which stand "
                "there "
                "where they are not 0, are counted since plugd started.",
                "plugctl status --json"},
        {"sensors", "", "List the sensors, their channels and last values", 0, 0, KIND_NONE, false,
                verb_sensors,
                "SAMPLES, RESTARTS and DROPPED are counted since plugd started; the last two stand there "
                "where they are not 0. SAMPLES are those that were stored to be sent; DROPPED are those "
                "over "
                "the rate limit and those that the spool gave up later, which are in SAMPLES too.",
                "plugctl sensors"},
        {"show", "NAME", "Show all there is to know of a sensor", 1, 1, KIND_SENSOR, false, verb_show,
                "Its counters are as in plugctl help sensors.", "plugctl show climate"},
        {"publish", "CHANNEL JSON", "Publish a value (JSON -: from standard input), print its id", 2, 2,
                KIND_NONE, false, verb_publish,
                "Done when plugd has it in its spool: it is sent when there is a connection. Text is in "
                "quotes in JSON, which the shell must not take away.",
                "plugctl publish Door/Front '\"open\"'"},
        {"enroll", "", "Enrol now, anew if it is enrolled already", 0, 0, KIND_NONE, true, verb_enroll,
                "Waits until the gateway is online as its Plug-ID (0) or it is known why not (1), at most "
                "35 s. plugd goes on whatever becomes of the waiting, and keeps credentials that were good "
                "until it has new ones.",
                "plugctl enroll"},
        {"reconnect", "", "Connect to the server again, now", 0, 0, KIND_NONE, true, verb_reconnect,
                "Waits until the gateway is online (0) or it is known why not (1), at most 25 s. plugd goes "
                "on whatever becomes of the waiting.",
                "plugctl reconnect --no-wait"},
        {"restart", "NAME", "Restart a sensor's process", 1, 1, KIND_SENSOR, false, verb_restart, NULL,
                "plugctl restart climate"},
        {"plugins", "", "List the plugins, their options and channels", 0, 0, KIND_NONE, false, verb_plugins,
                "The options are what a sensor of that plugin can have in the configuration.",
                "plugctl plugins"},
        {"check", "[FILE]", "Check the configuration (ends with 3 if it has errors)", 0, 1, KIND_FILE, false,
                verb_check, "Without FILE: the one that plugd uses.", "plugctl check new.conf"},
        {"help", "[VERB]", "Print this, or more of a verb", 0, 1, KIND_VERB, false, verb_help, NULL,
                "plugctl help publish"},
};

typedef enum Option {
        OPTION_USER,
        OPTION_JSON,
        OPTION_NO_WAIT,
        OPTION_NO_COLOR,
        OPTION_HELP,
        OPTION_VERSION
} Option;

static const struct {
        const char *name, *letter, *help; /* letter: NULL for none */
} options[] = {
        [OPTION_USER] = {"--user", NULL, "Ask the plugd of the session bus, not of the system's"},
        [OPTION_JSON] = {"--json", NULL, "Print JSON, with the names that D-Bus gives"},
        [OPTION_NO_WAIT] = {"--no-wait", NULL, "enroll, reconnect: don't wait for what comes of it"},
        [OPTION_NO_COLOR] = {"--no-color", NULL,
                "Print no colours (as without a terminal, or with NO_COLOR set)"},
        [OPTION_HELP] = {"--help", "-h", "Print this; behind a verb: more of it"},
        [OPTION_VERSION] = {"--version", NULL, "Print the version"},
};

typedef struct CommandLine {
        bool given[ELEMENTSOF(options)];
        const char **words; /* the verb and what comes behind it */
        size_t n_words;
} CommandLine;

int ctl_fault(const char *format, ...)
{
        _cleanup_(freep) char *text = NULL;
        va_list arguments;

        fflush(stdout);
        fputs("plugctl: ", stderr);
        va_start(arguments, format);
        if (vasprintf(&text, format, arguments) < 0)
                text = NULL;
        va_end(arguments);
        style_print(stderr, false, STYLE_PLAIN, text ? text : "not enough memory");
        fputc('\n', stderr);
        return CTL_FAULT;
}

int ctl_print_json(const Json *json)
{
        _cleanup_(freep) char *text = json_format(json, true);

        if (!text)
                return ctl_fault("not enough memory");
        puts(text);
        return CTL_DONE;
}

int ctl_done(const Ctl *ctl, const char *text)
{
        _cleanup_(json_freep) Json *json = NULL;

        if (!ctl->json) {
                puts(text);
                return CTL_DONE;
        }
        json = json_new_object();
        if (!json || json_set(json, "Done", json_new_boolean(true)) < 0)
                return ctl_fault("not enough memory");
        return ctl_print_json(json);
}

static const Verb *find_verb(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return &verbs[i];
        return NULL;
}

/* A verb has options of its own. */
static bool has_option(const Verb *verb, Option option)
{
        return option != OPTION_NO_WAIT || (verb && verb->waits);
}

/* Of this verb, or all (NULL). */
static void print_options(const Verb *verb)
{
        puts("\nOptions, before or after the verb:");
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (!verb || has_option(verb, (Option) i))
                        printf("  %s%s%-*s  %s\n", options[i].letter ? options[i].letter : "",
                                options[i].letter ? ", " : "", options[i].letter ? 18 : 22, options[i].name,
                                options[i].help);
}

static int print_verb_help(const Verb *verb)
{
        _cleanup_(freep) char *text = NULL;

        printf("plugctl [OPTION…] %s%s%s\n\n", verb->name, *verb->arguments ? " " : "", verb->arguments);
        text_set(&text, "%s.%s%s", verb->help, verb->more ? " " : "", verb->more ? verb->more : "");
        if (!text || style_print_lines(stdout, false, STYLE_PLAIN, text, "", HELP_COLUMNS) < 0)
                return ctl_fault("not enough memory");
        print_options(verb);
        printf("\nExample:\n  %s\n", verb->example);
        return CTL_DONE;
}

static void print_help(void)
{
        puts("plugctl [OPTION…] VERB [ARGUMENT…]\n\nAsks plugd, the CloudPlugs gateway.\n");
        for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                printf("  %s %-*s  %s\n", verbs[i].name, 21 - (int) strlen(verbs[i].name),
                        verbs[i].arguments, verbs[i].help);
        print_options(NULL);
        puts("\nEnds with 0 when done, 1 on a fault, 2 if it was called wrongly; check with what plugd "
             "--check says.");
}

static int no_verb(const char *name)
{
        ctl_fault("there is no verb %s; try plugctl --help", name);
        return CTL_USAGE;
}

static int help_on(const char *name)
{
        const Verb *verb = find_verb(name);

        return verb ? print_verb_help(verb) : no_verb(name);
}

static int verb_help(Ctl *ctl)
{
        if (ctl->n_arguments > 0)
                return help_on(ctl->arguments[0]);
        print_help();
        return CTL_DONE;
}

/* A negative number and "-" are arguments. */
static bool is_option(const char *word)
{
        return word[0] == '-' && word[1] != '\0' && !isdigit((unsigned char) word[1]);
}

static int find_option(const char *word)
{
        for (size_t i = 0; i < ELEMENTSOF(options); i++)
                if (strcmp(options[i].name, word) == 0 ||
                        (options[i].letter && strcmp(options[i].letter, word) == 0))
                        return (int) i;
        return -ENOENT;
}

/* 0, or CTL_USAGE after saying why. words has room for all of argv. */
static int parse(int argc, char **argv, CommandLine *ret)
{
        bool only_words = false;

        for (int i = 1; i < argc; i++) {
                int option;

                if (only_words || !is_option(argv[i])) {
                        ret->words[ret->n_words++] = argv[i];
                        continue;
                }
                if (strcmp(argv[i], "--") == 0) {
                        only_words = true;
                        continue;
                }
                option = find_option(argv[i]);
                if (option < 0) {
                        ctl_fault("there is no option %s; try plugctl --help", argv[i]);
                        return CTL_USAGE;
                }
                ret->given[option] = true;
        }
        return 0;
}

static bool want_color(const CommandLine *line)
{
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");

        return !line->given[OPTION_NO_COLOR] && !(no_color && *no_color) &&
               !(term && strcmp(term, "dumb") == 0) && isatty(STDOUT_FILENO);
}

/* Of a terminal; 0: it is none. */
static size_t line_width(void)
{
        struct winsize size;

        return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

static int run(const CommandLine *line)
{
        Ctl ctl = {
                .user = line->given[OPTION_USER],
                .json = line->given[OPTION_JSON],
                .color = want_color(line),
                .width = line_width(),
                .no_wait = line->given[OPTION_NO_WAIT],
        };
        const Verb *verb;
        size_t n;
        int r;

        if (line->given[OPTION_HELP]) {
                if (line->n_words > 0)
                        return help_on(line->words[0]);
                print_help();
                return CTL_DONE;
        }
        if (line->given[OPTION_VERSION]) {
                puts("plugctl " PLUGD_VERSION);
                return CTL_DONE;
        }
        if (line->n_words == 0) {
                ctl_fault("what to do? Try plugctl --help, or plugctl status");
                return CTL_USAGE;
        }
        verb = find_verb(line->words[0]);
        if (!verb)
                return no_verb(line->words[0]);
        if (line->given[OPTION_NO_WAIT] && !has_option(verb, OPTION_NO_WAIT)) {
                ctl_fault("%s has no option --no-wait; try plugctl %s --help", verb->name, verb->name);
                return CTL_USAGE;
        }
        n = line->n_words - 1;
        if (n < verb->min || n > verb->max) {
                ctl_fault("%s takes %s: plugctl %s%s%s", verb->name,
                        verb->max == 0  ? "no argument"
                        : n == 0        ? "an argument"
                        : n < verb->min ? "one more argument"
                                        : "fewer arguments",
                        verb->name, *verb->arguments ? " " : "", verb->arguments);
                return CTL_USAGE;
        }
        ctl.arguments = line->words + 1;
        ctl.n_arguments = n;
        r = verb->run(&ctl);
        sd_bus_close_unref(ctl.bus);
        return r;
}

/* --- completion --------------------------------------------------------------------------------------- */

static void offer(const char *candidate, const char *begin)
{
        if (strncmp(candidate, begin, strlen(begin)) == 0)
                puts(candidate);
}

static void offer_sensors(bool user, const char *begin)
{
        Ctl ctl = {.user = user, .timeout_usec = COMPLETE_USEC};
        _cleanup_(json_freep) Json *sensors = NULL;
        _cleanup_(freep) char *error = NULL;

        if (client_sensors(&ctl, &sensors, &error) >= 0)
                for (size_t i = 0; i < json_size(sensors); i++) {
                        const char *name = json_string(json_get(json_at(sensors, i), "Name"));

                        if (name)
                                offer(name, begin);
                }
        sd_bus_close_unref(ctl.bus);
}

/* plugctl --complete WORD…, for the shell: the words so far, of which the last may be begun. Prints what it
 * can become, a line each; "@file" stands for any file's name. Quiet whatever happens. */
static int complete(int argc, char **argv)
{
        const char *begin = argc > 0 ? argv[argc - 1] : "";
        const Verb *verb = NULL;
        size_t n_words = 0;
        bool user = false;

        for (int i = 0; i < argc - 1; i++) {
                if (is_option(argv[i]))
                        user = user || strcmp(argv[i], options[OPTION_USER].name) == 0;
                else if (n_words++ == 0)
                        verb = find_verb(argv[i]);
        }
        if (begin[0] == '-') {
                for (size_t i = 0; i < ELEMENTSOF(options); i++)
                        if (has_option(verb, (Option) i))
                                offer(options[i].name, begin);
        } else if (n_words == 0 || (verb && verb->kind == KIND_VERB && n_words == 1))
                for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
                        offer(verbs[i].name, begin);
        else if (verb && verb->kind == KIND_SENSOR && n_words == 1)
                offer_sensors(user, begin);
        else if (verb && verb->kind == KIND_FILE && n_words == 1)
                puts("@file");
        return CTL_DONE;
}

int main(int argc, char **argv)
{
        _cleanup_(freep) const char **words = calloc((size_t) argc + 1, sizeof(char *));
        CommandLine line = {.words = words};
        int r;

        if (!words)
                return ctl_fault("not enough memory");
        if (argc > 1 && strcmp(argv[1], "--complete") == 0)
                return complete(argc - 2, argv + 2);
        r = parse(argc, argv, &line);
        if (r == 0)
                r = run(&line);
        if (r == CTL_DONE && (fflush(stdout) != 0 || ferror(stdout)))
                return ctl_fault("cannot write: %s", strerror(errno));
        return r;
}
