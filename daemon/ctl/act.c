/* SPDX-License-Identifier: Apache-2.0 */

/* plugctl publish and restart: what is done at once. */

#include "ctl/ctl.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "bus-names.h"
#include "util/text.h"

/* All of stdin, without the blanks at its end. NULL with a sentence. */
static char *read_input(char **ret_error)
{
        _cleanup_(freep) char *text = malloc(SAMPLE_DATA_MAX + 2);
        size_t size;

        if (!text) {
                text_set(ret_error, "not enough memory");
                return NULL;
        }
        size = fread(text, 1, SAMPLE_DATA_MAX + 1, stdin);
        if (ferror(stdin)) {
                text_set(ret_error, "cannot read standard input: %s", strerror(errno));
                return NULL;
        }
        if (size > SAMPLE_DATA_MAX) {
                text_set(ret_error, "standard input has more than %d bytes", SAMPLE_DATA_MAX);
                return NULL;
        }
        if (memchr(text, '\0', size)) {
                text_set(ret_error, "standard input is not JSON: it has a NUL byte");
                return NULL;
        }
        while (size > 0 && isspace((unsigned char) text[size - 1]))
                size--;
        text[size] = '\0';
        return TAKE_PTR(text);
}

/* A word is the usual slip: in JSON, text has quotes, which the shell takes away. */
static bool looks_like_word(const char *text)
{
        if (!isalpha((unsigned char) *text))
                return false;
        for (; *text; text++)
                if (strchr("\"{}[]", *text))
                        return false;
        return true;
}

int verb_publish(Ctl *ctl)
{
        _cleanup_(freep) char *input = NULL, *id = NULL, *error = NULL;
        const char *channel = ctl->arguments[0], *json = ctl->arguments[1];
        _cleanup_(json_freep) Json *answer = NULL;

        if (strcmp(json, "-") == 0) {
                json = input = read_input(&error);
                if (!json)
                        return ctl_fault("%s", error);
        }
        if (payload_check(json, strlen(json), &error) < 0) {
                if (!input && looks_like_word(json))
                        return ctl_fault("%s (text has quotes in JSON: '\"%s\"')", error, json);
                return ctl_fault("%s", error);
        }
        if (client_call(ctl, BUS_PATH, BUS_INTERFACE_MANAGER, "Publish", &id, &error, channel, json, NULL) <
                0)
                return ctl_fault("%s", error);
        if (!ctl->json) {
                puts(id);
                return CTL_DONE;
        }
        answer = json_new_object();
        if (!answer || json_set(answer, "Id", json_new_string(id)) < 0)
                return ctl_fault("not enough memory");
        return ctl_print_json(answer);
}

int verb_restart(Ctl *ctl)
{
        _cleanup_(freep) char *error = NULL, *text = NULL;

        if (client_sensor_call(ctl, ctl->arguments[0], "Restart", &error) < 0)
                return ctl_fault("%s", error);
        text_set(&text, "restarting %s", ctl->arguments[0]);
        return ctl_done(ctl, text ? text : "restarting");
}
