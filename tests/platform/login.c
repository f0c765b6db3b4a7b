/* SPDX-License-Identifier: Apache-2.0 */

/* CONNECT: by Plug-ID and auth, by e-mail and password, or with neither, to enrol. */

#include "platform.h"
#include "wire.h"

#include <mosquitto.h>
#include <string.h>

static int refuse(Platform *platform, Session *session, int code, const char *why)
{
        note_code(platform, session, "refused", code, why);
        wire_set_connack(code);
        return MOSQ_ERR_AUTH;
}

/* Neither a user name nor a password: whether as absent or as empty fields is a question the seed leaves
 * open. */
static int login_empty(Platform *platform, Session *session)
{
        enum { FLAG_BOTH = 0xC0 };
        EmptyLogin form = platform->config->switches.empty_login;
        int flags = wire_connect_flags();

        if (flags >= 0 && ((form == EMPTY_LOGIN_ABSENT && (flags & FLAG_BOTH) != 0) ||
                                  (form == EMPTY_LOGIN_ZERO && (flags & FLAG_BOTH) != FLAG_BOTH)))
                return refuse(platform, session, platform->config->switches.code_password,
                        "empty login, other form");
        if (string_empty(session->hwid))
                return refuse(platform, session, platform->config->switches.code_client_id, "no HWID");
        session->kind = SESSION_ENROLLING;
        return MOSQ_ERR_SUCCESS;
}

/* The seed: NAME is "a mnemonic string to assign to the device". */
static void assign_name(Platform *platform, const Session *session, const Device *device)
{
        Device renamed = *device;

        if (string_empty(session->name) || string_equal(session->name, device->name))
                return;
        renamed.name = session->name;
        store_device(platform->store, &renamed);
}

static int login_device(Platform *platform, Session *session, const char *username, const char *password)
{
        const Switches *switches = &platform->config->switches;
        Device *device = store_find_device(platform->store, username);
        int r = MOSQ_ERR_SUCCESS;

        if (!device)
                return refuse(platform, session, switches->code_unknown, "unknown Plug-ID");
        if (!string_equal(device->auth, password))
                r = refuse(platform, session, switches->code_password, "wrong auth");
        else if (strcmp(device->hwid, session->hwid) != 0)
                r = refuse(platform, session, switches->code_client_id, "the client id names another HWID");
        else {
                session->kind = SESSION_DEVICE;
                session->ctrl = device->thing != NULL;
                session->login = string_copy(device->plug_id);
                assign_name(platform, session, device);
        }
        device_free(device);
        return r;
}

static int login_user(Platform *platform, Session *session, const char *username, const char *password)
{
        const User *user = config_find_user(platform->config, username);

        if (!user)
                return refuse(platform, session, platform->config->switches.code_unknown, "unknown user");
        if (!string_equal(user->password, password))
                return refuse(platform, session, platform->config->switches.code_password, "wrong password");
        session->kind = SESSION_USER;
        session->login = string_copy(username);
        return MOSQ_ERR_SUCCESS;
}

int login_check(Platform *platform, Session *session, const char *username, const char *password)
{
        const Fault *fault;

        if (platform->config->admin && string_equal(username, "$admin")) {
                if (!string_equal(password, platform->config->admin))
                        return MOSQ_ERR_AUTH;
                session->kind = SESSION_ADMIN;
                return MOSQ_ERR_SUCCESS;
        }
        fault = fault_strike(&platform->faults, FAULT_LOGIN);
        if (fault && fault->mode == FAULT_CLOSE) {
                note(platform, session, "refused", NULL, "fault: closed without CONNACK");
                return MOSQ_ERR_UNKNOWN;
        }
        if (fault)
                return refuse(platform, session, (int) fault->code, "fault");
        if (string_empty(username) && string_empty(password))
                return login_empty(platform, session);
        if (string_empty(username))
                return refuse(platform, session, platform->config->switches.code_unknown, "no user name");
        if (strchr(username, '@'))
                return login_user(platform, session, username, password);
        return login_device(platform, session, username, password);
}
