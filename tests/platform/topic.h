/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Topics as the platform reads them: PLUG_ID/data/CHANNEL, PLUG_ID/ag/prop/set and PLUG_ID/ag/prop/get,
 * where an empty first level stands for the device itself. Pure functions.
 */

#include "util.h"

typedef enum TopicKind {
        TOPIC_OTHER,
        TOPIC_DATA,
        TOPIC_PROPERTY_SET,
        TOPIC_PROPERTY_GET,
} TopicKind;

typedef struct Topic {
        TopicKind kind;
        char plug_id[PLUG_ID_SIZE]; /* "" if the first level is empty */
        const char *channel;        /* of TOPIC_DATA, inside the text that was parsed */
} Topic;

/* -EINVAL, and kind TOPIC_OTHER, for anything that cannot be published to. */
int topic_parse(const char *text, Topic *ret);

bool plug_id_valid(const char *s);
bool object_id_valid(const char *s);
bool channel_valid(const char *s);

/* MQTT's rule of + and #, level by level. A + in `mask` matches an empty level too. */
bool mask_matches(const char *mask, const char *topic);
