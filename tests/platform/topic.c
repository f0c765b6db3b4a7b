/* SPDX-License-Identifier: Apache-2.0 */
#include "topic.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

enum { CHANNEL_SIZE_MAX = 200, OBJECT_ID_DIGITS = 24, PLUG_ID_PREFIX = 4 };

bool object_id_valid(const char *s)
{
        if (strlen(s) != OBJECT_ID_DIGITS)
                return false;
        for (; *s; s++)
                if (!isxdigit((unsigned char) *s))
                        return false;
        return true;
}

bool plug_id_valid(const char *s)
{
        if (strncmp(s, "dev-", PLUG_ID_PREFIX) != 0 && strncmp(s, "mod-", PLUG_ID_PREFIX) != 0 &&
                strncmp(s, "com-", PLUG_ID_PREFIX) != 0)
                return false;
        return object_id_valid(s + PLUG_ID_PREFIX);
}

bool channel_valid(const char *s)
{
        size_t size = strlen(s);

        if (size == 0 || size > CHANNEL_SIZE_MAX || strpbrk(s, "+#"))
                return false;
        return s[0] != '/' && s[size - 1] != '/' && !strstr(s, "//");
}

int topic_parse(const char *text, Topic *ret)
{
        const char *slash = strchr(text, '/');
        const char *rest;
        size_t first;

        *ret = (Topic){.kind = TOPIC_OTHER};
        if (!slash)
                return -EINVAL;
        first = (size_t) (slash - text);
        if (first != 0) {
                if (first != PLUG_ID_SIZE - 1)
                        return -EINVAL;
                memcpy(ret->plug_id, text, first);
                if (!plug_id_valid(ret->plug_id))
                        return -EINVAL;
        }
        rest = slash + 1;
        if (strncmp(rest, "data/", 5) == 0) {
                if (!channel_valid(rest + 5))
                        return -EINVAL;
                ret->kind = TOPIC_DATA;
                ret->channel = rest + 5;
        } else if (strcmp(rest, "ag/prop/set") == 0)
                ret->kind = TOPIC_PROPERTY_SET;
        else if (strcmp(rest, "ag/prop/get") == 0)
                ret->kind = TOPIC_PROPERTY_GET;
        else
                return -EINVAL;
        return 0;
}

bool mask_matches(const char *mask, const char *topic)
{
        for (;;) {
                size_t m = strcspn(mask, "/"), t = strcspn(topic, "/");

                if (m == 1 && mask[0] == '#')
                        return true;
                if (!(m == 1 && mask[0] == '+') && (m != t || memcmp(mask, topic, m) != 0))
                        return false;
                mask += m;
                topic += t;
                if (!*topic)
                        /* a/# matches a as well */
                        return !*mask || strcmp(mask, "/#") == 0;
                if (!*mask)
                        return false;
                mask++;
                topic++;
        }
}
