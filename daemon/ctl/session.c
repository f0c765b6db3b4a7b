/* SPDX-License-Identifier: Apache-2.0 */

/*
 * plugctl enroll and reconnect: what the server has a say in. The daemon takes the order and goes on by
 * itself; here its state is watched until it is known what came of it. To stop waiting stops nothing else.
 */

#include "ctl/ctl.h"

#include <errno.h>
#include <string.h>

#include "bus-names.h"
#include "util/clock.h"
#include "util/text.h"

#define ENROLL_USEC (35 * USEC_PER_SEC) /* the server has 30 s to answer, and then logs in */
#define RECONNECT_USEC (25 * USEC_PER_SEC)
#define LOOK_USEC (500 * USEC_PER_MSEC) /* a state that comes and goes may not be told */

typedef enum Outcome { OUTCOME_OPEN, OUTCOME_ONLINE, OUTCOME_FAILED } Outcome;

static const char *get_text(const Json *object, const char *key)
{
        const char *text = json_string(json_get(object, key));

        return text ? text : "";
}

/* An error of before says nothing while the next attempt runs, except where the order has cleared it: then
 * any is of this one. */
static Outcome outcome_of(const Json *manager, bool cleared)
{
        const char *state = get_text(manager, "State");

        if (cleared && *get_text(manager, "LastError"))
                return OUTCOME_FAILED;
        if (strcmp(state, "online") == 0)
                return OUTCOME_ONLINE;
        return strcmp(state, "connecting") == 0 || strcmp(state, "enrolling") == 0 ? OUTCOME_OPEN
                                                                                   : OUTCOME_FAILED;
}

static int on_changed(
        sd_bus_message *message _unused_, void *userdata _unused_, sd_bus_error *error _unused_)
{
        return 0; /* it ends sd_bus_wait(): that is all */
}

/* Handles what has come, and waits for more. */
static int wait_for_change(Ctl *ctl, uint64_t usec)
{
        int r;

        do
                r = sd_bus_process(ctl->bus, NULL);
        while (r > 0);
        return r < 0 ? r : sd_bus_wait(ctl->bus, usec);
}

/* Watches until there is an outcome, or time is up: then it is still open. *ret: the gateway as it is then.
 */
static int watch(
        Ctl *ctl, uint64_t wait_usec, bool cleared, Outcome *ret_outcome, Json **ret, char **ret_error)
{
        uint64_t deadline_usec = clock_monotonic_usec() + wait_usec;
        int r;

        r = sd_bus_match_signal(ctl->bus, NULL, BUS_NAME, BUS_PATH, "org.freedesktop.DBus.Properties",
                "PropertiesChanged", on_changed, NULL);
        while (r >= 0 || r == -EINTR) {
                _cleanup_(json_freep) Json *manager = NULL;
                Outcome outcome;
                uint64_t now_usec;

                r = client_manager(ctl, &manager, ret_error);
                if (r < 0)
                        return r;
                outcome = outcome_of(manager, cleared);
                now_usec = clock_monotonic_usec();
                if (outcome != OUTCOME_OPEN || now_usec >= deadline_usec) {
                        *ret_outcome = outcome;
                        *ret = TAKE_PTR(manager);
                        return 0;
                }
                r = wait_for_change(ctl, MIN(deadline_usec - now_usec, LOOK_USEC));
        }
        text_set(ret_error, "cannot watch plugd: %s", strerror(-r));
        return r;
}

static int report(const Ctl *ctl, const Json *manager)
{
        _cleanup_(json_freep) Json *json = NULL;
        const char *plug_id = get_text(manager, "PlugId");

        if (!ctl->json) {
                printf("online as %s\n", plug_id);
                return CTL_DONE;
        }
        json = json_new_object();
        if (!json || json_set(json, "Done", json_new_boolean(true)) < 0 ||
                json_set(json, "PlugId", json_new_string(plug_id)) < 0)
                return ctl_fault("not enough memory");
        return ctl_print_json(json);
}

/* method: one without arguments. doing: what it is called while it goes on. cleared: it begins with no
 * LastError. */
static int order(Ctl *ctl, const char *method, const char *doing, uint64_t wait_usec, bool cleared)
{
        _cleanup_(freep) char *error = NULL, *taken = NULL;
        _cleanup_(json_freep) Json *manager = NULL;
        Outcome outcome;

        if (client_call(ctl, BUS_PATH, BUS_INTERFACE_MANAGER, method, NULL, &error, NULL) < 0)
                return ctl_fault("%s", error);
        if (ctl->no_wait) {
                text_set(&taken, "%s; \"plugctl status\" tells how it goes", doing);
                return ctl_done(ctl, taken ? taken : doing);
        }
        if (isatty(STDERR_FILENO))
                fprintf(stderr, "%s … (Ctrl-C ends only the waiting)\n", doing);
        if (watch(ctl, wait_usec, cleared, &outcome, &manager, &error) < 0)
                return ctl_fault("%s", error);

        switch (outcome) {
        case OUTCOME_ONLINE:
                return report(ctl, manager);
        case OUTCOME_FAILED:
                if (*get_text(manager, "LastError"))
                        return ctl_fault("%s", get_text(manager, "LastError"));
                return ctl_fault("plugd is %s", get_text(manager, "State"));
        case OUTCOME_OPEN:
                break;
        }
        return ctl_fault("still %s after %u s, and plugd goes on; \"plugctl status\" tells how it goes",
                doing, (unsigned) (wait_usec / USEC_PER_SEC));
}

int verb_enroll(Ctl *ctl)
{
        return order(ctl, "Enroll", "enrolling", ENROLL_USEC, true);
}

int verb_reconnect(Ctl *ctl)
{
        return order(ctl, "Reconnect", "reconnecting", RECONNECT_USEC, false);
}
