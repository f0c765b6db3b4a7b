/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Names that go into topics: what is taken has to be what libmosquitto sends as it stands, and what is
 * refused is refused with a sentence.
 */

#include <ctype.h>

#include <mosquitto.h>

#include "fuzz.h"
#include "topic.h"

static const char plug_id[] = "dev-0123456789abcdef01234567";

/* MQTT carries it, by libmosquitto's word. */
static bool is_carried(const char *text)
{
        return mosquitto_validate_utf8(text, (int) strlen(text)) == MOSQ_ERR_SUCCESS;
}

static bool has_empty_level(const char *name)
{
        size_t length = strlen(name);

        return length == 0 || name[0] == '/' || name[length - 1] == '/' || strstr(name, "//");
}

static void check_channel(const char *name)
{
        char *error = NULL;
        bool good = topic_check_channel(name, &error) == 0, good_mask;
        _cleanup_(freep) char *topic = topic_data(plug_id, name);

        hold(topic);
        hold_error(!good, error);
        hold(good == (strlen(name) <= CHANNEL_MAX && !has_empty_level(name) && is_carried(name) &&
                             mosquitto_pub_topic_check(name) == MOSQ_ERR_SUCCESS));
        if (good)
                hold(mosquitto_pub_topic_check(topic) == MOSQ_ERR_SUCCESS);

        error = NULL;
        good_mask = topic_check_mask(name, &error) == 0;
        hold_error(!good_mask, error);
        hold(good_mask == (strlen(name) <= CHANNEL_MAX && !has_empty_level(name) && is_carried(name) &&
                                  mosquitto_sub_topic_check(name) == MOSQ_ERR_SUCCESS));
        hold(!good || good_mask);
        if (good_mask)
                hold(mosquitto_sub_topic_check(topic) == MOSQ_ERR_SUCCESS);
}

static void check_parts(const char *text)
{
        char *error = NULL;
        bool hwid = topic_check_hwid(text, &error) == 0, thing, name, pass;

        hold_error(!hwid, error);
        error = NULL;
        name = topic_check_name(text, &error) == 0;
        hold_error(!name, error);
        hold(name == (strlen(text) <= TOPIC_PART_MAX && is_carried(text)));
        hold(hwid == (name && *text && !strchr(text, '/')));
        if (hwid) {
                _cleanup_(freep) char *client_id = topic_client_id(text, text);

                hold(client_id && is_carried(client_id) && strncmp(client_id, text, strlen(text)) == 0 &&
                        client_id[strlen(text)] == '/');
        }

        error = NULL;
        thing = topic_check_thing_hwid(text, &error) == 0;
        hold_error(!thing, error);
        hold(thing == (hwid && !strpbrk(text, "+#")));
        error = NULL;
        pass = topic_check_pass(text, &error) == 0;
        hold_error(!pass, error);
        if (thing && pass) {
                _cleanup_(freep) char *topic = topic_enrol_controller(plug_id, text, text);

                hold(topic && mosquitto_sub_topic_check(topic) == MOSQ_ERR_SUCCESS && is_carried(topic));
        }
        if (pass) {
                _cleanup_(freep) char *topic = topic_enrol_thing(plug_id, text);

                hold(topic && mosquitto_sub_topic_check(topic) == MOSQ_ERR_SUCCESS && is_carried(topic));
        }
}

static void check_plug_id(const char *text)
{
        bool good =
                strlen(text) == PLUG_ID_LENGTH && text[3] == '-' &&
                (memcmp(text, "dev", 3) == 0 || memcmp(text, "mod", 3) == 0 || memcmp(text, "com", 3) == 0);

        for (size_t i = 4; good && i < PLUG_ID_LENGTH; i++)
                good = isxdigit((unsigned char) text[i]);
        hold(topic_plug_id_valid(text) == good);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *text = fuzz_text(data, size);

        check_channel(text);
        check_parts(text);
        check_plug_id(text);
        return 0;
}
