/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What systemd hears of us: ready, a status line, stopping. Does nothing where there is no NOTIFY_SOCKET. */

#include "manager.h"

typedef struct Notify Notify;

/* Follows the manager's state with the status line. */
int notify_new(Notify **ret, Manager *manager);
Notify *notify_free(Notify *notify);
DEFINE_CLEANUP(Notify, notify_free);

void notify_ready(Notify *notify);
void notify_stopping(Notify *notify); /* and nothing behind it */
