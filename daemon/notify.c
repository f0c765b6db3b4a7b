/* SPDX-License-Identifier: Apache-2.0 */
#include "notify.h"

#include <errno.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "util/text.h"

struct Notify {
        Manager *manager;
        char *status; /* what was told last */
        bool ready;
};

static char *status_line(const Manager *manager)
{
        const char *plug_id = manager_plug_id(manager), *error = manager_last_error(manager);

        if (manager_state(manager) == MANAGER_ONLINE)
                return text_printf("online at %s as %s, %zu sensor%s", manager_server(manager), plug_id,
                        manager_n_hosts(manager), manager_n_hosts(manager) == 1 ? "" : "s");
        return text_printf(
                "%s%s%s", manager_state_to_string(manager_state(manager)), *error ? ": " : "", error);
}

static void on_changed(void *userdata)
{
        Notify *notify = userdata;
        _cleanup_(freep) char *status = NULL;

        if (!notify->ready)
                return;
        status = status_line(notify->manager);
        if (!status || (notify->status && strcmp(status, notify->status) == 0))
                return;
        sd_notifyf(false, "STATUS=%s", status);
        free(notify->status);
        notify->status = TAKE_PTR(status);
}

static const ManagerObserver observer = {.on_changed = on_changed};

int notify_new(Notify **ret, Manager *manager)
{
        _cleanup_(notify_freep) Notify *notify = calloc(1, sizeof(*notify));
        int r;

        if (!notify)
                return -ENOMEM;
        r = manager_add_observer(manager, &observer, notify);
        if (r < 0)
                return r;
        notify->manager = manager;
        *ret = TAKE_PTR(notify);
        return 0;
}

Notify *notify_free(Notify *notify)
{
        if (!notify)
                return NULL;
        if (notify->manager)
                manager_remove_observer(notify->manager, notify);
        free(notify->status);
        free(notify);
        return NULL;
}

void notify_ready(Notify *notify)
{
        notify->ready = true;
        sd_notify(false, "READY=1");
        on_changed(notify);
}

void notify_stopping(Notify *notify)
{
        notify->ready = false;
        sd_notify(false, "STOPPING=1\nSTATUS=stopping: the spool is being synced");
}
