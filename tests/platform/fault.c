/* SPDX-License-Identifier: Apache-2.0 */
#include "fault.h"

#include <errno.h>
#include <string.h>

static const char *const point_names[] = {
        [FAULT_LOGIN] = "login",
        [FAULT_ENROL] = "enrol",
        [FAULT_PROPERTY] = "property",
        [FAULT_PUBLISH] = "publish",
        [FAULT_SUBSCRIBE] = "subscribe",
};

static const char *const mode_names[] = {
        [FAULT_REFUSE] = "refuse",
        [FAULT_ERROR] = "error",
        [FAULT_TEXT] = "text",
        [FAULT_SILENT] = "silent",
        [FAULT_CLOSE] = "close",
        [FAULT_DELAY] = "delay",
};

static const bool fits[ARRAY_SIZE(point_names)][ARRAY_SIZE(mode_names)] = {
        [FAULT_LOGIN] = {[FAULT_REFUSE] = true, [FAULT_CLOSE] = true},
        [FAULT_ENROL] = {[FAULT_ERROR] = true,
                [FAULT_TEXT] = true,
                [FAULT_SILENT] = true,
                [FAULT_CLOSE] = true,
                [FAULT_DELAY] = true},
        [FAULT_PROPERTY] = {[FAULT_ERROR] = true,
                [FAULT_TEXT] = true,
                [FAULT_SILENT] = true,
                [FAULT_CLOSE] = true,
                [FAULT_DELAY] = true},
        [FAULT_PUBLISH] = {[FAULT_SILENT] = true, [FAULT_CLOSE] = true},
        [FAULT_SUBSCRIBE] = {[FAULT_SILENT] = true, [FAULT_CLOSE] = true},
};

static int find_name(const char *const *names, size_t n, const char *name)
{
        for (size_t i = 0; i < n; i++)
                if (string_equal(names[i], name))
                        return (int) i;
        return -EINVAL;
}

static void fault_free(Fault *fault)
{
        free(fault->msg);
        free(fault->text);
        free(fault);
}

int fault_order(Faults *faults, json_object *description, const char **ret_why)
{
        int point = find_name(point_names, ARRAY_SIZE(point_names), json_text(description, "point", NULL));
        int mode = find_name(mode_names, ARRAY_SIZE(mode_names), json_text(description, "mode", NULL));
        Fault **tail = &faults->first, *fault;

        *ret_why = "point is login, enrol, property, publish or subscribe";
        if (point < 0)
                return -EINVAL;
        *ret_why = "mode is refuse, error, text, silent, close or delay, and has to fit the point";
        if (mode < 0 || !fits[point][mode])
                return -EINVAL;
        fault = memory_zero(sizeof(*fault));
        *fault = (Fault){
                .point = (FaultPoint) point,
                .mode = (FaultMode) mode,
                .count = json_number(description, "count", 1),
                .code = json_number(description, "code", mode == FAULT_REFUSE ? 5 : 500),
                .delay_msec = json_number(description, "delay_ms", 0),
                .msg = string_copy(json_text(description, "msg", "ordered by the test")),
                .text = string_copy(json_text(description, "text", "nonsense")),
        };
        while (*tail)
                tail = &(*tail)->next;
        *tail = fault;
        return 0;
}

const Fault *fault_strike(Faults *faults, FaultPoint point)
{
        /* Used-up ones stay until the next call, so that the caller may read what it was given. */
        for (Fault **p = &faults->first; *p;) {
                Fault *fault = *p;

                if (fault->count == 0) {
                        *p = fault->next;
                        fault_free(fault);
                        continue;
                }
                if (fault->point == point) {
                        if (fault->count > 0)
                                fault->count--;
                        return fault;
                }
                p = &fault->next;
        }
        return NULL;
}

void faults_clear(Faults *faults)
{
        while (faults->first) {
                Fault *fault = faults->first;

                faults->first = fault->next;
                fault_free(fault);
        }
}

json_object *faults_describe(const Faults *faults)
{
        json_object *array = json_object_new_array();

        for (const Fault *f = faults->first; f; f = f->next) {
                json_object *entry;

                if (f->count == 0)
                        continue;
                entry = json_object_new_object();
                json_object_object_add(entry, "point", json_object_new_string(point_names[f->point]));
                json_object_object_add(entry, "mode", json_object_new_string(mode_names[f->mode]));
                json_object_object_add(entry, "count", json_object_new_int64(f->count));
                json_object_array_add(array, entry);
        }
        return array;
}
