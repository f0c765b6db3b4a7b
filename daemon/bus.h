/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The gateway on D-Bus: com.cloudplugs.Gateway1. Reads the manager's and the hosts' state, asks for actions,
 * owns no data. bus.c keeps the connection (and comes back when the bus does), bus-manager.c and
 * bus-sensor.c are the interfaces.
 */

#include <systemd/sd-bus.h>

#include "manager.h"

#define BUS_NAME "com.cloudplugs.Gateway1"
#define BUS_PATH "/com/cloudplugs/Gateway1"
#define BUS_SENSORS_PATH BUS_PATH "/sensors"
#define BUS_INTERFACE_MANAGER BUS_NAME ".Manager"
#define BUS_INTERFACE_SENSOR BUS_NAME ".Sensor"

typedef struct Bus Bus;

/* Connects and exposes. A bus that isn't there is said once and tried again: the gateway works without.
 * -EEXIST with a sentence: the name has an owner, another plugd runs. */
int bus_new(Bus **ret, sd_event *event, Manager *manager, bool user, char **ret_error);
Bus *bus_free(Bus *bus);
DEFINE_CLEANUP(Bus, bus_free);
