/* SPDX-License-Identifier: Apache-2.0 */

/* The sensors' policies, and how many messages of each were dropped. Pure. */

#include <errno.h>
#include <string.h>

#include "spool-internal.h"

#define COUNTS_MAX 1024

static int compare_sensors(const void *a, const void *b)
{
        const SpoolSensor *x = a, *y = b;

        return strcmp(x->name, y->name);
}

int policies_init(SpoolPolicies *policies, const SpoolPolicy *fallback, const SpoolSensor *sensors, size_t n)
{
        *policies = (SpoolPolicies){.fallback = *fallback, .any_ttl = fallback->ttl_usec > 0};
        if (n == 0)
                return 0;
        policies->sensors = calloc(n, sizeof(*policies->sensors));
        if (!policies->sensors)
                return -ENOMEM;
        for (; policies->n < n; policies->n++) {
                char *name = strdup(sensors[policies->n].name);

                if (!name) {
                        policies_deinit(policies);
                        return -ENOMEM;
                }
                policies->any_ttl |= sensors[policies->n].policy.ttl_usec > 0;
                policies->sensors[policies->n] =
                        (SpoolSensor){.name = name, .policy = sensors[policies->n].policy};
        }
        qsort(policies->sensors, n, sizeof(*policies->sensors), compare_sensors);
        return 0;
}

void policies_deinit(SpoolPolicies *policies)
{
        for (size_t i = 0; i < policies->n; i++)
                free((char *) (uintptr_t) policies->sensors[i].name);
        free(policies->sensors);
        policies->sensors = NULL;
        policies->n = 0;
}

const SpoolPolicy *policies_find(const SpoolPolicies *policies, const char *sensor, bool *ret_configured)
{
        const SpoolSensor wanted = {.name = sensor}, *found = NULL;

        if (policies->n > 0)
                found = bsearch(&wanted, policies->sensors, policies->n, sizeof(*policies->sensors),
                        compare_sensors);
        if (ret_configured)
                *ret_configured = found != NULL;
        return found ? &found->policy : &policies->fallback;
}

bool policy_expires(const SpoolPolicy *policy, uint64_t at_msec, uint64_t now_msec)
{
        return policy->ttl_usec > 0 && at_msec > 0 && now_msec > at_msec &&
               now_msec - at_msec > policy->ttl_usec / 1000;
}

/* --- counts ------------------------------------------------------------------------------------------- */

void counts_deinit(SpoolCounts *counts)
{
        for (size_t i = 0; i < counts->n; i++)
                free(counts->sensors[i].sensor);
        free(counts->sensors);
        *counts = (SpoolCounts){};
}

static SpoolCount *counts_find(SpoolCounts *counts, const char *sensor)
{
        SpoolCount *larger;
        char *name;

        if (counts->last < counts->n && strcmp(counts->sensors[counts->last].sensor, sensor) == 0)
                return &counts->sensors[counts->last];
        for (size_t i = 0; i < counts->n; i++)
                if (strcmp(counts->sensors[i].sensor, sensor) == 0) {
                        counts->last = i;
                        return &counts->sensors[i];
                }
        if (counts->n == COUNTS_MAX)
                return NULL;
        larger = reallocarray(counts->sensors, counts->n + 1, sizeof(*larger));
        if (!larger)
                return NULL;
        counts->sensors = larger;
        name = strdup(sensor);
        if (!name)
                return NULL;
        counts->last = counts->n++;
        counts->sensors[counts->last] = (SpoolCount){.sensor = name};
        return &counts->sensors[counts->last];
}

void counts_add(SpoolCounts *counts, const char *sensor, uint64_t dropped, uint64_t expired)
{
        SpoolCount *count;

        if (dropped == 0)
                return;
        count = counts_find(counts, sensor);
        if (count) {
                count->dropped += dropped;
                count->expired += expired;
        }
        counts->dropped += dropped;
        counts->expired += expired;
}

void counts_merge(SpoolCounts *counts, const SpoolCounts *other)
{
        uint64_t named = 0, expired = 0;

        for (size_t i = 0; i < other->n; i++) {
                counts_add(counts, other->sensors[i].sensor, other->sensors[i].dropped,
                        other->sensors[i].expired);
                named += other->sensors[i].dropped;
                expired += other->sensors[i].expired;
        }
        counts->dropped += other->dropped - named;
        counts->expired += other->expired - expired;
}
