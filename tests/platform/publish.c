/* SPDX-License-Identifier: Apache-2.0 */

/* Published data: taken in, stored, delivered. What is refused is refused in silence, and noted for the
 * test. */

#include "payload.h"
#include "platform.h"

#include <mosquitto_broker.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* An arrival that went no further, and why. */
static void turn_away(Platform *platform, Session *session, Arrival *arrival, const Publish *publish,
        const char *fate, const char *why)
{
        arrival->fate = fate;
        if (!arrival->data) {
                arrival->payload = publish->text;
                arrival->payload_size = publish->size;
        }
        store_arrival(platform->store, arrival);
        note(platform, session, fate, publish->topic, why);
}

/* The device that the topic speaks of, in the spelling that the store has. False if there is no such device.
 */
static bool resolve_device(Platform *platform, const Session *session, Topic *topic)
{
        const char *own = session_plug_id(session);
        Device *device;

        if (!topic->plug_id[0] || (own && strcasecmp(topic->plug_id, own) == 0)) {
                if (own)
                        snprintf(topic->plug_id, sizeof(topic->plug_id), "%s", own);
                return own != NULL;
        }
        device = store_find_device(platform->store, topic->plug_id);
        if (device)
                memcpy(topic->plug_id, device->plug_id, sizeof(topic->plug_id));
        device_free(device);
        return device != NULL;
}

void publish_deliver(
        Platform *platform, const Session *from, const char *topic, const char *text, size_t size)
{
        Topic parts;

        topic_parse(topic, &parts);
        for (Session *s = platform->sessions.first; s; s = s->next) {
                const char *channel = parts.kind == TOPIC_DATA ? parts.channel : strchr(topic, '/') + 1;

                if (s->gone || !s->subscriptions || (s == from && !platform->config->switches.hear_own))
                        continue;
                if (session_subscribed(s, topic) && permit(platform, s, "subscribe", parts.plug_id, channel))
                        mosquitto_broker_publish_copy(s->client_id, topic, (int) size, text, 0, false, NULL);
        }
}

static void receive_data(
        Platform *platform, Session *session, const Topic *topic, const Publish *publish, Arrival *arrival)
{
        Payload payload;
        const char *why, *fate = "stored";
        CLEANUP_FREE char *completed = NULL;
        char full[512];
        const Fault *fault;
        int64_t seq;

        if (payload_parse(publish->text, publish->size, &payload, &why) < 0) {
                turn_away(platform, session, arrival, publish, "invalid", why);
                return;
        }
        arrival->data = payload.data;
        arrival->data_size = payload.data_size;
        arrival->id = payload.has_id ? payload.id : NULL;
        arrival->at = payload.has_at ? &payload.at : NULL;
        if (session && !permit(platform, session, "publish", topic->plug_id, topic->channel))
                turn_away(platform, session, arrival, publish, fate = "denied", "not permitted");
        else if ((fault = fault_strike(&platform->faults, FAULT_PUBLISH))) {
                turn_away(platform, session, arrival, publish, fate = "dropped", "fault");
                if (fault->mode == FAULT_CLOSE && session)
                        answer_close(&platform->answers, session);
        }
        if (strcmp(fate, "stored") == 0) {
                completed = payload_complete(&payload, publish->text, publish->size, arrival->time_usec);
                arrival->fate = fate;
                seq = store_arrival(platform->store, arrival);
                store_record(platform->store, seq, topic->plug_id, topic->channel, payload.id, payload.at,
                        payload.data, payload.data_size);
                snprintf(full, sizeof(full), "%s/data/%s", topic->plug_id, topic->channel);
                publish_deliver(platform, session, full, completed ? completed : publish->text,
                        completed ? strlen(completed) : publish->size);
        }
        payload_deinit(&payload);
}

void publish_receive(Platform *platform, Session *session, const Publish *publish)
{
        Topic topic;
        Arrival arrival = {
                .time_usec = now_usec(),
                .session = session ? session->number : 0,
                .client_id = session ? session->client_id : NULL,
                .device = session_plug_id(session),
                .topic = publish->topic,
                .retain = publish->retain,
                .will = publish->will,
                .qos = publish->qos,
        };

        if (publish->will)
                note(platform, session, "will", publish->topic, NULL);
        if (publish->qos > 0)
                note_code(platform, session, "violation", publish->qos, "PUBLISH with a QoS above 0");
        if (session && session->kind == SESSION_ENROLLING) {
                turn_away(platform, session, &arrival, publish, "denied", "not enrolled");
                return;
        }
        if (topic_parse(publish->topic, &topic) < 0) {
                turn_away(platform, session, &arrival, publish, "invalid", "topic");
                return;
        }
        if (!resolve_device(platform, session, &topic)) {
                turn_away(platform, session, &arrival, publish, "invalid", "no such device");
                return;
        }
        arrival.device = topic.plug_id;
        arrival.channel = topic.channel;
        if (topic.kind == TOPIC_DATA)
                receive_data(platform, session, &topic, publish, &arrival);
        else {
                arrival.payload = publish->text;
                arrival.payload_size = publish->size;
                arrival.fate = "property";
                store_arrival(platform->store, &arrival);
                if (session)
                        property_receive(platform, session, &topic, publish);
        }
}
