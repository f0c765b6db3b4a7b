/* SPDX-License-Identifier: Apache-2.0 */

/* Permissions. They are looked at when something is published or delivered, never at login. */

#include "platform.h"

#include <string.h>
#include <strings.h>

static bool is_controller_of(Platform *platform, const Session *session, const char *plug_id)
{
        Device *device;
        bool is;

        if (session->kind != SESSION_DEVICE || !session->ctrl)
                return false;
        device = store_find_device(platform->store, session->login);
        is = device && device->thing && strcasecmp(device->thing, plug_id) == 0;
        device_free(device);
        return is;
}

static bool who_fits(const Rule *rule, const Session *session)
{
        if (strcmp(rule->who, "*") == 0)
                return true;
        if (session->kind == SESSION_USER)
                return strcmp(rule->who, "user") == 0 || strcmp(rule->who, session->login) == 0;
        return strcmp(rule->who, session->ctrl ? "ctrl" : "thing") == 0 ||
               strcasecmp(rule->who, session->login) == 0;
}

static bool of_fits(const Rule *rule, const Session *session, const char *of)
{
        if (strcmp(rule->of, "*") == 0)
                return true;
        if (strcmp(rule->of, "self") == 0)
                return strcasecmp(session->login, of) == 0;
        return strcasecmp(rule->of, of) == 0;
}

bool permit(
        Platform *platform, const Session *session, const char *action, const char *of, const char *channel)
{
        const Config *config = platform->config;

        if (session->kind != SESSION_DEVICE && session->kind != SESSION_USER)
                return false;
        for (size_t i = 0; i < config->n_rules; i++) {
                const Rule *rule = &config->rules[i];

                if ((strcmp(rule->action, "*") == 0 || strcmp(rule->action, action) == 0) &&
                        who_fits(rule, session) && of_fits(rule, session, of) &&
                        mask_matches(rule->channel, channel))
                        return rule->permit;
        }
        /* By itself: read everything; write as oneself, as a user, and as a controller of the thing. */
        if (strcmp(action, "subscribe") == 0 || session->kind == SESSION_USER ||
                config->switches.foreign_publish)
                return true;
        return strcasecmp(session->login, of) == 0 || is_controller_of(platform, session, of);
}
