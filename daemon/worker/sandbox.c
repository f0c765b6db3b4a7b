/* SPDX-License-Identifier: Apache-2.0 */

/* The order of things: memory first, as it asks for nothing; no new privileges before the rest, as the two
 * others need it; Landlock next, as it needs to open folders; system calls last. A part that the kernel
 * doesn't have is left out and told: the daemon says on D-Bus which of them hold. */

#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "worker.h"

static void note(char words[static 256], const char *what, int r)
{
        size_t used = strlen(words);

        snprintf(words + used, 256 - used, "%s%s: %s", used > 0 ? "; " : "", what, strerror(-r));
}

/* A plugin that leaks runs into this, and not the whole machine. A sanitizer has mappings of its own. */
static void limit_memory(char words[static 256])
{
#ifndef WORKER_SANITIZED
        const rlim_t bytes = (rlim_t) WORKER_MEMORY_MIB << 20;
        struct rlimit limit;

        if (getrlimit(RLIMIT_DATA, &limit) < 0 || limit.rlim_max <= bytes)
                return; /* tighter already */
        limit = (struct rlimit){bytes, bytes};
        if (setrlimit(RLIMIT_DATA, &limit) < 0)
                note(words, "limit of memory", -errno);
#else
        (void) words;
#endif
}

uint32_t sandbox_enter(const char *plugin_folder, char words[static 256])
{
        uint32_t sandbox = 0;
        int r;

        words[0] = '\0';
        limit_memory(words);
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
