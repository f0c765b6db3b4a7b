/* SPDX-License-Identifier: Apache-2.0 */

/* The order of things: no new privileges first, as the two others need it; Landlock next, as it needs to
 * open folders; system calls last. A part that the kernel doesn't have is left out and told: the daemon says
 * on D-Bus which of them hold. */

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>

#include "worker.h"

static void note(char words[static 256], const char *what, int r)
{
        size_t used = strlen(words);

        snprintf(words + used, 256 - used, "%s%s: %s", used > 0 ? "; " : "", what, strerror(-r));
}

uint32_t sandbox_enter(const char *plugin_folder, char words[static 256])
{
        uint32_t sandbox = 0;
        int r;

        words[0] = '\0';
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
                note(words, "no new privileges", -errno);
                return 0;
        }
        sandbox |= WIRE_SANDBOX_NO_NEW_PRIVS;

        r = sandbox_landlock(plugin_folder);
        if (r < 0)
                note(words, "Landlock", r);
        else
                sandbox |= WIRE_SANDBOX_LANDLOCK;

        r = sandbox_seccomp();
        if (r < 0)
                note(words, "seccomp", r);
        else
                sandbox |= WIRE_SANDBOX_SECCOMP;
        return sandbox;
}
