/* SPDX-License-Identifier: Apache-2.0 */

/* What this machine is called at the platform. It has to be the same at every start, for good. */

#include <errno.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "credentials-internal.h"
#include "topic.h"
#include "util/file.h"
#include "util/text.h"

#define SERIAL_MAX 256

/* What the hash of the machine id is for: it makes it plugd's own. Never to be changed. */
#define PLUGD_APP_ID SD_ID128_MAKE(48, 12, 45, 78, 6f, 11, 43, 48, be, 12, 8b, d7, 87, 21, 88, 06)

static const char *const serial_files[] = {
        "/proc/device-tree/serial-number", "/sys/firmware/devicetree/base/serial-number", NULL};

/* The serial number in a file of the device tree, which ends it with a NUL; NULL if it has no usable one.
 * Boards without a number of their own have zeros there, all the same ones. */
static char *read_serial(const char *path)
{
        _cleanup_(freep) char *serial = NULL;
        size_t size;

        if (file_read(path, SERIAL_MAX, &serial, &size) < 0)
                return NULL;
        while (size > 0 && (serial[size - 1] == '\0' || serial[size - 1] == '\n' || serial[size - 1] == ' '))
                serial[--size] = '\0';
        if (strlen(serial) != size || strspn(serial, "0") == size || topic_check_hwid(serial, NULL) < 0)
                return NULL;
        return TAKE_PTR(serial);
}

int hwid_discover(const char *const *files, char **ret_hwid, char **ret_error)
{
        char text[SD_ID128_STRING_MAX];
        sd_id128_t id;
        char *hwid;
        int r;

        for (; *files; files++) {
                hwid = read_serial(*files);
                if (hwid) {
                        *ret_hwid = hwid;
                        return 0;
                }
        }
        r = sd_id128_get_machine_app_specific(PLUGD_APP_ID, &id);
        if (r < 0) {
                text_set(ret_error,
                        "there is no serial number in the device tree and no usable /etc/machine-id (%s): "
                        "run systemd-machine-id-setup, or set device.hwid",
                        strerror(-r));
                return r;
        }
        hwid = strdup(sd_id128_to_string(id, text));
        if (!hwid)
                return -ENOMEM;
        *ret_hwid = hwid;
        return 0;
}

int credentials_hwid(const char *configured, char **ret_hwid, char **ret_error)
{
        char *hwid;
        int r;

        if (strcmp(configured, "auto") == 0)
                return hwid_discover(serial_files, ret_hwid, ret_error);
        r = topic_check_hwid(configured, ret_error);
        if (r < 0)
                return r;
        hwid = strdup(configured);
        if (!hwid)
                return -ENOMEM;
        *ret_hwid = hwid;
        return 0;
}
