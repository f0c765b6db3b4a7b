/* SPDX-License-Identifier: Apache-2.0 */

/* The platform's names. What is refused here would be refused, or taken apart wrongly, by the server or by
 * libmosquitto: so it is refused with words, before it is on the way. */

#include "topic.h"

#include <errno.h>
#include <string.h>

#include "util/text.h"

#define SHOWN_MAX 64 /* bytes of a wrong name that its sentence shows */

bool topic_plug_id_valid(const char *text)
{
        return (strncmp(text, "dev-", 4) == 0 || strncmp(text, "mod-", 4) == 0 ||
                       strncmp(text, "com-", 4) == 0) &&
               strspn(text + 4, "0123456789abcdefABCDEF") == PLUG_ID_LENGTH - 4 &&
               text[PLUG_ID_LENGTH] == '\0';
}

/* Decodes the character at *p, which is valid UTF-8, and goes behind it. */
static uint32_t next_character(const char **p)
{
        const uint8_t *byte = (const uint8_t *) *p;
        unsigned follow = *byte >= 0xf0 ? 3 : *byte >= 0xe0 ? 2 : *byte >= 0xc0 ? 1 : 0;
        uint32_t code = follow == 0 ? *byte : *byte & (0x3fu >> follow);

        for (unsigned i = 1; i <= follow; i++)
                code = code << 6 | (byte[i] & 0x3f);
        *p += follow + 1;
        return code;
}

static bool is_control(uint32_t code)
{
        return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

/* Unicode sets these aside for no characters, and libmosquitto refuses a topic with one. */
static bool is_noncharacter(uint32_t code)
{
        return (code & 0xfffe) == 0xfffe || (code >= 0xfdd0 && code <= 0xfdef);
}

/* Why MQTT can't carry this text, or NULL. */
static const char *text_trouble(const char *text)
{
        if (!text_is_utf8(text, strlen(text)))
                return "is not UTF-8";
        while (*text) {
                uint32_t code = next_character(&text);

                if (is_control(code))
                        return "has a control character in it";
                if (is_noncharacter(code))
                        return "has something in it that Unicode keeps for no character";
        }
        return NULL;
}

/* How many bytes the character here has, 0 if it isn't UTF-8. Stops at a NUL. */
static size_t character_length(const char *text)
{
        for (size_t n = 1; n <= 4 && text[n - 1]; n++)
                if (text_is_utf8(text, n))
                        return n;
        return 0;
}

/* The beginning of a wrong name for a sentence: it may be anything, the sentence is UTF-8 on one line. */
static const char *shown(const char *text, char buffer[static SHOWN_MAX + 8])
{
        size_t used = 0;

        while (*text && used < SHOWN_MAX) {
                size_t length = character_length(text);
                const char *next = text;

                if (length == 0 || is_control(next_character(&next))) {
                        buffer[used++] = '?';
                        text += MAX(length, (size_t) 1);
                } else {
                        memcpy(buffer + used, text, length);
                        used += length;
                        text += length;
                }
        }
        strcpy(buffer + used, *text ? "…" : "");
        return buffer;
}

/* what: "channel" or "mask"; why: the rest of the sentence. */
static int refuse(char **ret_error, const char *what, const char *name, const char *why)
{
        char buffer[SHOWN_MAX + 8];

        text_set(ret_error, "the %s \"%s\" %s", what, shown(name, buffer), why);
        return -EINVAL;
}

static int check_levels(const char *what, const char *name, bool mask, char **ret_error)
{
        const char *trouble;
        size_t length;

        if (!*name) {
                text_set(ret_error, "the %s is empty", what);
                return -EINVAL;
        }
        if (strlen(name) > CHANNEL_MAX)
                return refuse(ret_error, what, name, "is longer than 200 bytes");
        trouble = text_trouble(name);
        if (trouble)
                return refuse(ret_error, what, name, trouble);

        for (const char *level = name;; level += length + 1) {
                bool last;

                length = strcspn(level, "/");
                last = level[length] == '\0';
                if (length == 0)
                        return refuse(ret_error, what, name,
                                "has an empty level: no '/' may be first, last or behind another");
                if (mask && length == 1 && *level == '+')
                        ;
                else if (mask && length == 1 && *level == '#') {
                        if (!last)
                                return refuse(ret_error, what, name,
                                        "goes on behind '#', which can only be the last level");
                } else if (strcspn(level, "+#") < length)
                        return refuse(ret_error, what, name,
                                mask ? "has '+' or '#' beside something else: each has to be a level of its "
                                       "own"
                                     : "has '+' or '#' in it, which a channel can't have");
                if (last)
                        return 0;
        }
}

int topic_check_channel(const char *channel, char **ret_error)
{
        return check_levels("channel", channel, false, ret_error);
}

int topic_check_mask(const char *mask, char **ret_error)
{
        return check_levels("mask", mask, true, ret_error);
}

/* What both parts of a client id, and a HWID in a topic, have to be. */
static int check_part(const char *what, const char *text, char **ret_error)
{
        const char *trouble = text_trouble(text);

        if (strlen(text) > TOPIC_PART_MAX)
                return refuse(ret_error, what, text, "is longer than 1000 bytes");
        return trouble ? refuse(ret_error, what, text, trouble) : 0;
}

int topic_check_hwid(const char *hwid, char **ret_error)
{
        if (!*hwid) {
                text_set(ret_error, "the HWID is empty");
                return -EINVAL;
        }
        if (strchr(hwid, '/'))
                return refuse(ret_error, "HWID", hwid,
                        "has a '/' in it, which would end it: the name follows there");
        return check_part("HWID", hwid, ret_error);
}

int topic_check_thing_hwid(const char *hwid, char **ret_error)
{
        if (strpbrk(hwid, "+#"))
                return refuse(
                        ret_error, "HWID", hwid, "has '+' or '#' in it, which no MQTT topic can carry");
        return topic_check_hwid(hwid, ret_error);
}

int topic_check_name(const char *name, char **ret_error)
{
        return name ? check_part("name", name, ret_error) : 0;
}

int topic_check_pass(const char *pass, char **ret_error)
{
        const char *trouble = NULL;

        if (!*pass)
                trouble = "is empty";
        else if (strlen(pass) > TOPIC_PASS_MAX)
                trouble = "is longer than 4096 bytes";
        else if (strpbrk(pass, "+#"))
                trouble = "has '+' or '#' in it, which no MQTT topic can carry: "
                          "set another one in the production template";
        else
                trouble = text_trouble(pass);
        if (!trouble)
                return 0;
        text_set(ret_error, "the enrolling pass %s", trouble);
        return -EINVAL;
}

char *topic_client_id(const char *hwid, const char *name)
{
        return name && *name ? text_printf("%s/%s", hwid, name) : strdup(hwid);
}

char *topic_data(const char *plug_id, const char *channel)
{
        return text_printf("%s/data/%s", plug_id, channel);
}

char *topic_enrol_thing(const char *model, const char *pass)
{
        return text_printf("%s/thing/%s", model, pass);
}

char *topic_enrol_controller(const char *model, const char *thing_hwid, const char *pass)
{
        return text_printf("%s/ctrl/%s/%s", model, thing_hwid, pass);
}

char *topic_barrier(const char *plug_id)
{
        return text_printf("%s/plugd/barrier", plug_id);
}
