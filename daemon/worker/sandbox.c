/* SPDX-License-Identifier: Apache-2.0 */

/* The order of things: memory and capabilities first, as they ask for nothing; no new privileges before the
 * rest, as the two others need it; Landlock next, as it needs to open folders; system calls last. A part
 * that the kernel doesn't have is left out and told: the daemon says on D-Bus which of them hold. */

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

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

/* What a descriptor holds, as a pipe does, is memory that no limit of this process counts. */
static void limit_files(char words[static 256])
{
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max <= WORKER_FILES)
                return;
        limit = (struct rlimit){MIN(limit.rlim_cur, WORKER_FILES), WORKER_FILES};
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                note(words, "limit of descriptors", -errno);
}

/* Where the daemon runs as root, a plugin lifts no limits and makes no devices. It opens the files that root
 * does, as a sensor's may belong to others: which these are is a matter of Landlock. */
static void drop_capabilities(char words[static 256])
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];
        const uint32_t kept = CAP_TO_MASK(CAP_DAC_OVERRIDE);

        if (syscall(SYS_capget, &header, sets) < 0) {
                note(words, "capabilities", -errno);
                return;
        }
        for (size_t i = 0; i < ELEMENTSOF(sets); i++) {
                sets[i].effective &= i == 0 ? kept : 0;
                sets[i].permitted &= i == 0 ? kept : 0;
                sets[i].inheritable = 0;
        }
        if (syscall(SYS_capset, &header, sets) < 0)
                note(words, "capabilities", -errno);
}

uint32_t sandbox_enter(const char *plugin_folder, const Devices *devices, char words[static 256])
{
        uint32_t sandbox = 0;
        int r;

        words[0] = '\0';
        limit_memory(words);
        limit_files(words);
        drop_capabilities(words);
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
                note(words, "no new privileges", -errno);
                return 0;
        }
        sandbox |= WIRE_SANDBOX_NO_NEW_PRIVS;

        r = sandbox_landlock(plugin_folder, devices);
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
