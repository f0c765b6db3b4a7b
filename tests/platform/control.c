/* SPDX-License-Identifier: Apache-2.0 */

/* What a test may order while the stand-in runs: one JSON object in, one JSON object out. README.md lists
 * them. */

#include "platform.h"
#include "wire.h"

#include <errno.h>
#include <mosquitto.h>
#include <mosquitto_broker.h>
#include <stdio.h>
#include <string.h>

/* 0 or -EINVAL with *ret_why; what there is to tell goes into `answer`. */
typedef int (*CommandFunction)(
        Platform *platform, json_object *command, json_object *answer, const char **ret_why);

static int run_ping(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        return 0;
}

static int run_fault(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        return fault_order(&platform->faults, command, ret_why);
}

static int run_withhold(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        static const struct {
                const char *name;
                int type;
        } packets[] = {{"CONNACK", 2}, {"PUBLISH", 3}, {"SUBACK", 9}, {"UNSUBACK", 11}, {"PINGRESP", 13}};
        const char *name = json_text(command, "packet", NULL);

        *ret_why = "start the broker with LD_PRELOAD=platform.so for this";
        if (!wire_present())
                return -EINVAL;
        for (size_t i = 0; i < ARRAY_SIZE(packets); i++)
                if (string_equal(packets[i].name, name)) {
                        wire_withhold(packets[i].type, json_number(command, "count", 1));
                        return 0;
                }
        *ret_why = "packet is CONNACK, PUBLISH, SUBACK, UNSUBACK or PINGRESP";
        return -EINVAL;
}

static int run_clear(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        faults_clear(&platform->faults);
        wire_clear();
        return 0;
}

static bool kick_fits(const Session *session, const char *client, const char *login)
{
        if (session->gone || session->kind == SESSION_ADMIN)
                return false;
        return (!client || string_equal(client, session->client_id)) &&
               (!login || string_equal(login, session->login));
}

static int run_kick(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        const char *client = json_text(command, "client", NULL), *login = json_text(command, "login", NULL);
        bool with_will = json_flag(command, "will", false);
        int n = 0;

        /* Kicking calls back and reorders the list, so it starts anew each time. */
        for (Session *s = platform->sessions.first; s;) {
                if (!kick_fits(s, client, login) || s->kicked) {
                        s = s->next;
                        continue;
                }
                s->kicked = true;
                n++;
                mosquitto_kick_client_by_clientid(s->client_id, with_will);
                s = platform->sessions.first;
        }
        json_object_object_add(answer, "kicked", json_object_new_int(n));
        return 0;
}

static int run_set(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        json_object *member = json_member(command, "switches", json_type_object);

        if (member && config_set_switches(platform->config, member, ret_why) < 0)
                return -EINVAL;
        member = json_member(command, "permissions", json_type_array);
        if (member && config_set_rules(platform->config, member, ret_why) < 0)
                return -EINVAL;
        member = json_member(command, "templates", json_type_array);
        return member ? config_set_templates(platform->config, member, ret_why) : 0;
}

static int run_device(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        const char *plug_id = json_text(command, "plug_id", "");
        Device device = {
                .auth = (char *) json_text(command, "auth", NULL),
                .hwid = (char *) json_text(command, "hwid", NULL),
                .name = (char *) json_text(command, "name", ""),
                .model = (char *) json_text(command, "model", NULL),
                .thing = (char *) json_text(command, "thing", NULL),
        };

        *ret_why = "plug_id has to be valid, auth and hwid to be there";
        if (!plug_id_valid(plug_id) || !device.auth || !device.hwid)
                return -EINVAL;
        snprintf(device.plug_id, sizeof(device.plug_id), "%s", plug_id);
        store_device(platform->store, &device);
        return 0;
}

static int run_forget(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        *ret_why = "no such device";
        return store_forget_device(platform->store, json_text(command, "plug_id", "")) ? 0 : -EINVAL;
}

/* A message from elsewhere, as by HTTP: stored and delivered; or with "raw" delivered only, whatever it
 * says. */
static int run_publish(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        const char *topic = json_text(command, "topic", NULL);
        json_object *text = json_member(command, "payload", json_type_string);
        Publish publish = {.topic = topic};

        *ret_why = "topic and payload are strings";
        if (!topic || !text || !strchr(topic, '/'))
                return -EINVAL;
        publish.text = json_object_get_string(text);
        publish.size = (size_t) json_object_get_string_len(text);
        if (json_flag(command, "raw", false))
                publish_deliver(platform, NULL, topic, publish.text, publish.size);
        else
                publish_receive(platform, NULL, &publish);
        return 0;
}

static int run_status(Platform *platform, json_object *command, json_object *answer, const char **ret_why)
{
        static const char *const tables[] = {"arrivals", "records", "events", "devices"};
        json_object *sessions = json_object_new_array();

        for (const Session *s = platform->sessions.first; s; s = s->next) {
                json_object *entry, *subscriptions;

                if (s->gone || s->kind == SESSION_ADMIN)
                        continue;
                entry = json_object_new_object();
                subscriptions = json_object_new_array();
                json_object_object_add(entry, "session", json_object_new_int64(s->number));
                json_object_object_add(entry, "kind", json_object_new_string(session_kind_name(s->kind)));
                json_object_object_add(entry, "client", json_object_new_string(s->client_id));
                json_object_object_add(entry, "login", s->login ? json_object_new_string(s->login) : NULL);
                for (const Subscription *sub = s->subscriptions; sub; sub = sub->next)
                        json_object_array_add(subscriptions, json_object_new_string(sub->asked));
                json_object_object_add(entry, "subscriptions", subscriptions);
                json_object_array_add(sessions, entry);
        }
        json_object_object_add(answer, "sessions", sessions);
        json_object_object_add(answer, "faults", faults_describe(&platform->faults));
        json_object_object_add(answer, "wire", json_object_new_boolean(wire_present()));
        for (size_t i = 0; i < ARRAY_SIZE(tables); i++)
                json_object_object_add(
                        answer, tables[i], json_object_new_int64(store_count(platform->store, tables[i])));
        return 0;
}

json_object *control_run(Platform *platform, const char *text, size_t size)
{
        static const struct {
                const char *name;
                CommandFunction run;
        } commands[] = {
                {"ping", run_ping},
                {"fault", run_fault},
                {"withhold", run_withhold},
                {"clear", run_clear},
                {"kick", run_kick},
                {"set", run_set},
                {"device", run_device},
                {"forget", run_forget},
                {"publish", run_publish},
                {"status", run_status},
        };
        CLEANUP_JSON json_object *command = NULL;
        json_object *answer = json_object_new_object(), *tag = NULL;
        const char *why = "unknown command", *name;
        int r = -EINVAL;
        bool ok;

        command = json_parse(text, size, &ok, &why);
        name = json_text(command, "cmd", NULL);
        if (ok)
                why = "unknown command";
        for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
                if (string_equal(commands[i].name, name)) {
                        r = commands[i].run(platform, command, answer, &why);
                        break;
                }
        json_object_object_add(answer, "ok", json_object_new_boolean(r == 0));
        if (r < 0)
                json_object_object_add(answer, "error", json_object_new_string(why));
        if (ok && json_object_object_get_ex(command, "tag", &tag))
                json_object_object_add(answer, "tag", json_object_get(tag));
        /* Whoever has the answer finds everything before it in the tables. */
        store_flush(platform->store);
        return answer;
}
