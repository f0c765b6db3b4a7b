/* SPDX-License-Identifier: Apache-2.0 */

/* Does what it is told, one word of its script at each read(): every way in which a plugin may answer. The
 * last word is repeated. */

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "plugin.h"

static const struct plugd_option options[] = {
        {
                .name = "script",
                .type = PLUGD_STRING,
                .fallback = "ok",
                .help = "Words: ok again gone fail mute errno wrong nan binary nowhere badnan badtype text "
                        "json nojson boolean number past future long longest quotes print shout chat log "
                        "crash leak stuck; crash-in-close, of which read() makes nothing",
        },
        {.name = "open_failures", .type = PLUGD_INTEGER, .fallback = "0", .min = 0, .max = 100},
        {.name = "slow", .type = PLUGD_NUMBER, .fallback = "0", .min = 0, .max = 60, .unit = "s"},
};

enum { NUMBER, TEXT, JSON, BOOLEAN };
static const struct plugd_channel channels[] = {
        {.name = "number",
                .unit = "°C",
                .type = PLUGD_NUMBER,
                .flags = PLUGD_READABLE,
                .help = "A \"number\"."},
        {.name = "text", .type = PLUGD_STRING, .flags = PLUGD_READABLE},
        {.name = "json", .type = PLUGD_JSON, .flags = PLUGD_READABLE},
        {.name = "boolean", .type = PLUGD_BOOLEAN, .flags = PLUGD_READABLE | PLUGD_WRITABLE},
};

typedef struct Script {
        const struct plugd_host *host;
        const char *next;
        double slow_sec;
        int64_t reads;
        int event_fd; /* -1, or readable until read() has been called often */
        bool crash_in_close;
        void *volatile leaked;
} Script;

/* Opens of this process, whatever instance: it is the worker's patience that is looked at. */
static int64_t opens;

static int emit_at(Script *script, uint32_t channel, struct plugd_value value, int64_t when_ns)
{
        return script->host->emit(script->host, channel, &value, when_ns);
}

static int emit_string(Script *script, uint32_t channel, uint32_t type, const char *text)
{
        return emit_at(script, channel, (struct plugd_value){.type = type, .string = text}, 0);
}

static int emit_integer(Script *script, int64_t integer, int64_t when_ns)
{
        return emit_at(
                script, NUMBER, (struct plugd_value){.type = PLUGD_INTEGER, .integer = integer}, when_ns);
}

static int64_t now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* What emit() refused goes out as text, so that a test sees it. */
static int report(Script *script, int r)
{
        return emit_string(script, TEXT, PLUGD_STRING, r == 0 ? "taken" : strerror(-r));
}

static int emit_long(Script *script, size_t size)
{
        char *text = malloc(size + 1);
        int r;

        if (!text)
                return -ENOMEM;
        memset(text, 'x', size);
        text[size] = '\0';
        r = emit_string(script, TEXT, PLUGD_STRING, text);
        free(text);
        return r;
}

/* Within the limit until each of them is escaped. */
static int emit_quotes(Script *script)
{
        char text[40001];

        memset(text, '"', sizeof(text) - 1);
        text[sizeof(text) - 1] = '\0';
        return emit_string(script, TEXT, PLUGD_STRING, text);
}

static int log_all(const struct plugd_host *host)
{
        host->log(host, PLUGD_ERROR, "an error that is none of this call");
        host->log(host, PLUGD_ERROR, "another");
        host->log(host, PLUGD_WARNING, "a warning\nof two lines");
        host->log(host, PLUGD_NOTICE, "a notice");
        host->log(host, PLUGD_INFO, "an information");
        host->log(host, PLUGD_DEBUG, "for the curious");
        return 0;
}

/* Takes 4 MiB, and never gives them back. */
static int leak(Script *script)
{
        void *memory = malloc(4 << 20);

        if (!memory)
                return -ENOMEM;
        memset(memory, 1, 4 << 20);
        script->leaked = memory;
        return emit_integer(script, script->reads, 0);
}

/* Leaves its event descriptor readable for a long time, and says how far it has come. */
static int stay_stuck(Script *script)
{
        uint64_t value;

        if (script->reads % 50 == 0)
                script->host->log(script->host, PLUGD_NOTICE, "read %lld times", (long long) script->reads);
        return script->reads == 200 && read(script->event_fd, &value, sizeof(value)) < 0 ? -errno : 0;
}

static int chat(const struct plugd_host *host)
{
        for (int i = 0; i < 10; i++)
                host->log(host, PLUGD_WARNING, "chat %d", i);
        return 0;
}

static int shout(void)
{
        for (int i = 0; i < 20000; i++)
                fprintf(stderr, "shout %d\n", i);
        return 0;
}

static void die(void)
{
        signal(SIGABRT, SIG_DFL);
        abort();
}

static int perform(Script *script, const char *word)
{
        const struct plugd_host *host = script->host;

        if (strcmp(word, "ok") == 0)
                return emit_integer(script, script->reads, 0);
        if (strcmp(word, "again") == 0)
                return -EAGAIN;
        if (strcmp(word, "gone") == 0) {
                host->log(host, PLUGD_ERROR, "the script is gone: put it back");
                return -ENODEV;
        }
        if (strcmp(word, "fail") == 0) {
                host->log(host, PLUGD_ERROR, "first this went wrong");
                host->log(host, PLUGD_ERROR, "the script says fail: say something else");
                return -EIO;
        }
        if (strcmp(word, "mute") == 0)
                return -EIO;
        if (strcmp(word, "errno") == 0)
                return -99999;
        if (strcmp(word, "badnan") == 0)
                return emit_at(script, NUMBER, (struct plugd_value){.type = PLUGD_NUMBER, .number = NAN}, 0);
        if (strcmp(word, "badtype") == 0)
                return emit_string(script, BOOLEAN, PLUGD_STRING, "yes");
        if (strcmp(word, "quotes") == 0)
                return emit_quotes(script);
        if (strcmp(word, "leak") == 0)
                return leak(script);
        if (strcmp(word, "stuck") == 0)
                return stay_stuck(script);
        if (strcmp(word, "chat") == 0)
                return chat(host);
        if (strcmp(word, "crash-in-close") == 0)
                return 0;
        if (strcmp(word, "wrong") == 0)
                return report(script, emit_string(script, NUMBER, PLUGD_STRING, "no number"));
        if (strcmp(word, "nan") == 0)
                return report(script, emit_at(script, NUMBER,
                                              (struct plugd_value){.type = PLUGD_NUMBER, .number = NAN}, 0));
        if (strcmp(word, "binary") == 0)
                return report(script, emit_string(script, TEXT, PLUGD_STRING, "\xff\xfe"));
        if (strcmp(word, "nowhere") == 0)
                return report(script, emit_at(script, 77, (struct plugd_value){.type = PLUGD_NUMBER}, 0));
        if (strcmp(word, "text") == 0)
                return emit_string(script, TEXT, PLUGD_STRING, "\"quoted\"\n21 °C");
        if (strcmp(word, "json") == 0)
                return emit_string(script, JSON, PLUGD_JSON, "{\"a\": [1, null]}");
        if (strcmp(word, "nojson") == 0)
                return report(script, emit_string(script, JSON, PLUGD_JSON, "{\"a\": "));
        if (strcmp(word, "boolean") == 0)
                return emit_at(
                        script, BOOLEAN, (struct plugd_value){.type = PLUGD_BOOLEAN, .boolean = 1}, 0);
        if (strcmp(word, "number") == 0)
                return emit_at(
                        script, NUMBER, (struct plugd_value){.type = PLUGD_NUMBER, .number = 21.5}, 0);
        if (strcmp(word, "past") == 0)
                return emit_integer(script, -1, now_ns() - 3000000000);
        if (strcmp(word, "future") == 0)
                return emit_integer(script, 1, now_ns() + 3600000000000);
        if (strcmp(word, "long") == 0)
                return emit_long(script, 65000);
        if (strcmp(word, "longest") == 0)
                return report(script, emit_long(script, 65537));
        if (strcmp(word, "print") == 0)
                return fprintf(stderr, "printed by a library\x01\xff\nand the rest") > 0 ? 0 : -EIO;
        if (strcmp(word, "shout") == 0)
                return shout();
        if (strcmp(word, "log") == 0)
                return log_all(host);
        if (strcmp(word, "crash") == 0)
                die();
        host->log(host, PLUGD_ERROR, "the script has a word that nobody knows: '%s'", word);
        return -EINVAL;
}

static int script_open(const struct plugd_host *host, void **ret_instance)
{
        Script *script;
        const struct plugd_value value = {.type = PLUGD_INTEGER};

        if (opens++ < host->option(host, "open_failures")->integer) {
                host->log(host, PLUGD_ERROR, "open %lld of the script fails: wait", (long long) opens);
                return -ENXIO;
        }
        if (host->emit(host, NUMBER, &value, 0) != -EINVAL || host->declare(host, channels) != -EINVAL)
                return -EPROTO; /* neither is for here */
        script = calloc(1, sizeof(*script));
        if (!script)
                return -ENOMEM;
        *script = (Script){
                .host = host,
                .next = host->option(host, "script")->string,
                .slow_sec = host->option(host, "slow")->number,
                .event_fd = -1,
        };
        script->crash_in_close = strstr(script->next, "crash-in-close") != NULL;
        if (strstr(script->next, "stuck")) {
                script->event_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
                if (script->event_fd < 0) {
                        free(script);
                        return -errno;
                }
        }
        *ret_instance = script;
        return 0;
}

static int script_read(void *instance)
{
        Script *script = instance;
        char word[32];
        size_t length = strcspn(script->next, " ");

        if (script->slow_sec > 0)
                usleep((useconds_t) (script->slow_sec * 1e6));
        snprintf(word, sizeof(word), "%.*s", (int) length, script->next);
        if (script->next[length])
                script->next += length + 1;
        script->reads++;
        return perform(script, word);
}

static int script_event_fd(void *instance)
{
        return ((const Script *) instance)->event_fd;
}

static int script_write(void *instance, uint32_t channel, const struct plugd_value *value)
{
        (void) instance;
        (void) channel;
        (void) value;
        return -ENOTSUP;
}

static void script_close(void *instance)
{
        Script *script = instance;

        if (script->crash_in_close)
                die();
        if (script->event_fd >= 0)
                close(script->event_fd);
        free(instance);
}

const struct plugd_plugin plugd_plugin_v1 = {
        .abi = PLUGD_ABI,
        .size = sizeof(struct plugd_plugin),
        .name = "script",
        .description = "Does what it is told.",
        .options = options,
        .n_options = sizeof(options) / sizeof(options[0]),
        .channels = channels,
        .n_channels = sizeof(channels) / sizeof(channels[0]),
        .open = script_open,
        .read = script_read,
        .event_fd = script_event_fd,
        .write = script_write,
        .close = script_close,
};
