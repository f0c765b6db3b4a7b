/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The gateway on D-Bus: com.cloudplugs.Gateway1. Reads the manager's and the hosts' state, asks for actions,
 * owns no data. bus.c keeps the connection (and comes back when the bus does), bus-manager.c and
 * bus-sensor.c are the interfaces.
 */

#include <systemd/sd-event.h>

#include "bus-names.h"
#include "manager.h"

typedef struct Bus Bus;

/*
 * Connects, exposes and becomes the manager's observer. Call it before manager_start() and before the loop
 * runs: it waits for the bus's word on the name, but no longer than 2 s, so that a second plugd ends before
 * it has touched anything: -EEXIST with a sentence. Other failures are -ENOMEM and the like.
 *
 * A bus that isn't there, is lost later or doesn't give the name is not a failure: it is said once and tried
 * again after 1 s, growing to a minute. The gateway works without.
 */
int bus_new(Bus **ret, sd_event *event, Manager *manager, bool user, char **ret_error);
/* Leaves the bus at once, and the manager without an observer. */
Bus *bus_free(Bus *bus);
DEFINE_CLEANUP(Bus, bus_free);
