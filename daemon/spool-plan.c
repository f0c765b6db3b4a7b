/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What is to go, worked out from the summaries of a tier's segments: how many bytes of which sensor; and
 * then, segment by segment and record by record in their order, whether this one goes. Pure.
 */

#include <errno.h>
#include <string.h>

#include "spool-internal.h"

#define PRIORITY_MAX 9
#define THIN_MIN 16 /* messages; of fewer the oldest go */

static void plan_forget(Plan *plan)
{
        free(plan->sensors);
        plan->sensors = NULL;
        plan->n_sensors = 0;
        summary_deinit(&plan->totals);
        plan->expired_bytes = 0;
}

void plan_deinit(Plan *plan)
{
        plan_forget(plan);
        counts_deinit(&plan->counts);
}

/* Has all of it outlived its ttl? */
static bool entry_expires(const Plan *plan, const SummaryEntry *entry)
{
        const SpoolPolicy *policy = policies_find(plan->policies, entry->sensor, NULL);

        return entry->timeless == 0 && policy_expires(policy, entry->at_msec, plan->now_msec);
}

int plan_add(Plan *plan, const Summary *summary)
{
        for (size_t i = 0; i < summary->capacity; i++) {
                const SummaryEntry *entry = &summary->slots[i];
                int r;

                if (!entry->sensor)
                        continue;
                plan->last = MAX(plan->last, entry->last);
                if (entry_expires(plan, entry)) {
                        plan->expired_bytes += entry->bytes;
                        continue;
                }
                r = summary_add_entry(&plan->totals, entry);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* --- how much of whom --------------------------------------------------------------------------------- */

static PlanSensor *plan_sensor(Plan *plan, const char *name)
{
        PlanSensor *larger, *sensor;

        for (size_t i = 0; i < plan->n_sensors; i++)
                if (strcmp(plan->sensors[i].name, name) == 0)
                        return &plan->sensors[i];
        larger = reallocarray(plan->sensors, plan->n_sensors + 1, sizeof(*larger));
        if (!larger)
                return NULL;
        plan->sensors = larger;
        sensor = &plan->sensors[plan->n_sensors++];
        *sensor = (PlanSensor){.name = name, .stay = UINT64_MAX};
        sensor->policy = *policies_find(plan->policies, name, &sensor->configured);
        sensor->how = sensor->policy.when_full;
        return sensor;
}

static int plan_sum(Plan *plan)
{
        for (size_t i = 0; i < plan->totals.capacity; i++) {
                SummaryEntry *entry = &plan->totals.slots[i];
                PlanSensor *sensor;

                if (!entry->sensor)
                        continue;
                sensor = plan_sensor(plan, entry->sensor);
                if (!sensor)
                        return -ENOMEM;
                entry->tag = (uint32_t) (sensor - plan->sensors);
                sensor->messages += entry->messages;
                sensor->bytes += entry->bytes;
                if (sensor->configured && !plan->all) {
                        sensor->messages--;
                        sensor->bytes -= MIN(sensor->bytes, (uint64_t) entry->last_size);
                }
        }
        return 0;
}

/* What the sensors of a priority hold above a level. */
static uint64_t above(const Plan *plan, unsigned priority, uint64_t level)
{
        uint64_t sum = 0;

        for (size_t i = 0; i < plan->n_sensors; i++)
                if (plan->sensors[i].policy.priority == priority && plan->sensors[i].bytes > level)
                        sum += plan->sensors[i].bytes - level;
        return sum;
}

/* The highest level above which there are `need` bytes. */
static uint64_t find_level(const Plan *plan, unsigned priority, uint64_t need)
{
        uint64_t low = 0, high = 0;

        for (size_t i = 0; i < plan->n_sensors; i++)
                high = MAX(high, plan->sensors[i].bytes);
        while (low < high) {
                uint64_t middle = low + (high - low + 1) / 2;

                if (above(plan, priority, middle) >= need)
                        low = middle;
                else
                        high = middle - 1;
        }
        return low;
}

static void sensor_gives(PlanSensor *sensor, uint64_t bytes)
{
        if (bytes >= sensor->bytes || (sensor->how == SPOOL_FULL_THIN && sensor->messages < THIN_MIN))
                sensor->how = SPOOL_FULL_OLDEST;
        switch (sensor->how) {
        case SPOOL_FULL_OLDEST:
                sensor->quota = bytes;
                break;
        case SPOOL_FULL_NEWEST:
                sensor->stay = sensor->bytes - bytes;
                break;
        case SPOOL_FULL_THIN: /* all of the older half: in part, what is oldest would be thinned again and
                                 again */
                sensor->half = sensor->messages / 2;
                break;
        }
}

int plan_make(Plan *plan, uint64_t need)
{
        int r = plan_sum(plan);

        if (r < 0)
                return r;
        need -= MIN(need, plan->expired_bytes);
        for (unsigned priority = 0; priority <= PRIORITY_MAX && need > 0; priority++) {
                uint64_t all = above(plan, priority, 0), level = 0;

                if (all > need)
                        level = find_level(plan, priority, need);
                for (size_t i = 0; i < plan->n_sensors; i++) {
                        PlanSensor *sensor = &plan->sensors[i];

                        if (sensor->policy.priority == priority && sensor->bytes > level)
                                sensor_gives(sensor, sensor->bytes - level);
                }
                need -= MIN(need, all);
        }
        return 0;
}

/* --- does it go? -------------------------------------------------------------------------------------- */

static bool is_kept(const Plan *plan, const SummaryEntry *total, uint64_t sequence)
{
        return sequence == plan->last ||
               (sequence == total->last && !plan->all && plan->sensors[total->tag].configured);
}

bool plan_record(Plan *plan, const Record *record)
{
        const Sample *sample = &record->sample;
        const SummaryEntry *total = summary_find(&plan->totals, sample->sensor, sample->channel);
        const SpoolPolicy *policy = total ? &plan->sensors[total->tag].policy
                                          : policies_find(plan->policies, sample->sensor, NULL);
        PlanSensor *sensor;
        bool goes = false;

        if (record->sequence != plan->last && !sample->boot &&
                policy_expires(policy, sample->at_msec, plan->now_msec)) {
                if (record->sequence > plan->counted)
                        counts_add(&plan->counts, sample->sensor, 1, 1);
                plan->gone++;
                return true;
        }
        if (!total || is_kept(plan, total, record->sequence))
                return false;
        sensor = &plan->sensors[total->tag];
        switch (sensor->how) {
        case SPOOL_FULL_OLDEST:
                goes = sensor->here == PLAN_GOES || (sensor->here == PLAN_PART && sensor->quota > 0);
                if (sensor->here == PLAN_PART)
                        sensor->quota -= MIN(sensor->quota, (uint64_t) record->size);
                break;
        case SPOOL_FULL_NEWEST:
                goes = sensor->here == PLAN_GOES ||
                       (sensor->here == PLAN_PART && sensor->stay < record->size);
                if (sensor->here == PLAN_PART)
                        sensor->stay = goes ? 0 : sensor->stay - record->size;
                break;
        case SPOOL_FULL_THIN:
                goes = sensor->index < sensor->half && sensor->index % 2 == 1;
                sensor->index++;
                break;
        }
        if (goes) {
                counts_add(&plan->counts, sample->sensor, 1, 0);
                plan->gone++;
        }
        return goes;
}

/* Of the part of a segment that is to go: rewriting a whole segment for a little isn't worth it, nor is
 * keeping a little of it, only to rewrite it again the next time. */
static PlanFate round_fate(const Plan *plan, uint64_t goes, uint64_t bytes)
{
        if (goes == 0 || (!plan->exact && goes < bytes / 16))
                return PLAN_STAYS;
        return goes >= bytes || (!plan->exact && goes >= bytes / 4) ? PLAN_GOES : PLAN_PART;
}

static PlanFate sensor_fate(const Plan *plan, const PlanSensor *sensor)
{
        uint64_t bytes = sensor->here_bytes;

        switch (sensor->how) {
        case SPOOL_FULL_OLDEST:
                return round_fate(plan, sensor->quota, bytes);
        case SPOOL_FULL_NEWEST:
                return round_fate(plan, bytes - MIN(bytes, sensor->stay), bytes);
        case SPOOL_FULL_THIN:
                return sensor->index < sensor->half && sensor->here_messages + sensor->index % 2 > 1
                               ? PLAN_PART
                               : PLAN_STAYS;
        }
        return PLAN_PART;
}

/* It is as its fate says, except for a part: that is counted record by record. */
static void sensor_passes(PlanSensor *sensor)
{
        switch (sensor->how) {
        case SPOOL_FULL_OLDEST:
                if (sensor->here == PLAN_GOES || (sensor->here == PLAN_STAYS && sensor->here_bytes > 0))
                        sensor->quota -= MIN(sensor->quota, sensor->here_bytes);
                break;
        case SPOOL_FULL_NEWEST:
                if (sensor->here != PLAN_PART)
                        sensor->stay -= MIN(sensor->stay, sensor->here_bytes);
                break;
        case SPOOL_FULL_THIN:
                break;
        }
}

/* What of the segment's may go, by sensor; and whether what outlived its ttl goes, and something is kept. */
static void segment_sum(Plan *plan, const Summary *summary, bool *ret_goes, bool *ret_stays)
{
        for (size_t i = 0; i < plan->n_sensors; i++)
                plan->sensors[i].here_messages = plan->sensors[i].here_bytes = 0;
        for (size_t i = 0; i < summary->capacity; i++) {
                const SummaryEntry *entry = &summary->slots[i], *total;
                PlanSensor *sensor;
                uint64_t kept = 0;

                if (!entry->sensor)
                        continue;
                total = summary_find(&plan->totals, entry->sensor, entry->channel);
                if (!total || entry_expires(plan, entry)) {
                        *ret_goes = true;
                        continue;
                }
                kept = is_kept(plan, total, entry->last);
                sensor = &plan->sensors[total->tag];
                sensor->here_messages += entry->messages - kept;
                sensor->here_bytes += entry->bytes - (kept ? entry->last_size : 0);
                *ret_stays |= kept;
        }
}

static void segment_gone(Plan *plan, const Summary *summary)
{
        for (size_t i = 0; i < summary->capacity; i++) {
                const SummaryEntry *entry = &summary->slots[i];

                if (!entry->sensor)
                        continue;
                counts_add(&plan->counts, entry->sensor, entry->messages,
                        entry_expires(plan, entry) ? entry->messages : 0);
                plan->gone += entry->messages;
        }
}

PlanFate plan_segment(Plan *plan, uint64_t first, uint64_t last, const Summary *summary)
{
        bool goes = false, stays = false;
        PlanFate fate;

        segment_sum(plan, summary, &goes, &stays);
        for (size_t i = 0; i < plan->n_sensors; i++) {
                PlanSensor *sensor = &plan->sensors[i];

                if (sensor->here_messages == 0)
                        continue;
                sensor->here = sensor_fate(plan, sensor);
                sensor_passes(sensor);
                goes |= sensor->here != PLAN_STAYS;
                stays |= sensor->here != PLAN_GOES;
        }
        if (goes && (stays || last >= plan->last || first <= plan->counted))
                return PLAN_PART;
        fate = goes ? PLAN_GOES : PLAN_STAYS;
        for (size_t i = 0; i < plan->n_sensors; i++)
                plan->sensors[i].index += plan->sensors[i].here_messages;
        if (goes)
                segment_gone(plan, summary);
        return fate;
}
