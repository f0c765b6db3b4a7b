/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the gateway is called on D-Bus: for the daemon and for plugctl. */

#define BUS_NAME "com.cloudplugs.Gateway1"
#define BUS_PATH "/com/cloudplugs/Gateway1"
#define BUS_SENSORS_PATH BUS_PATH "/sensors"
#define BUS_INTERFACE_MANAGER BUS_NAME ".Manager"
#define BUS_INTERFACE_SENSOR BUS_NAME ".Sensor"
