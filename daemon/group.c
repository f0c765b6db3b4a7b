/* SPDX-License-Identifier: Apache-2.0 */

/* Groups of settings that own everything they point to. The ABI has const pointers, as plugins only read:
 * the casts that take that away are all in here. */

#include "group.h"

#include <errno.h>
#include <string.h>

const char *const group_host_keys[] = {
        "name",
        "plugin",
        "channel",
        "interval",
        "rate_limit",
        "ttl",
        "priority",
        "when_full",
        "enabled",
        NULL,
};

bool group_key_taken(const char *name)
{
        for (const char *const *key = group_host_keys; *key; key++)
                if (strcmp(*key, name) == 0)
                        return true;
        return false;
}

static void value_deinit(struct plugd_value *value)
{
        if (value->type == PLUGD_STRING || value->type == PLUGD_JSON)
                free((char *) value->string);
        if (value->type == PLUGD_GROUPS) {
                struct plugd_group *groups = (struct plugd_group *) value->groups;

                for (uint32_t i = 0; i < value->count; i++)
                        group_deinit(groups + i);
                free(groups);
        }
}

static int group_copy(const struct plugd_group *group, struct plugd_group *ret)
{
        struct plugd_group copy = {0};

        for (size_t i = 0; i < group->n_settings; i++) {
                int r = group_add(&copy, group->settings[i].name, &group->settings[i].value);

                if (r < 0) {
                        group_deinit(&copy);
                        return r;
                }
        }
        *ret = copy;
        return 0;
}

static int value_copy_groups(const struct plugd_value *value, struct plugd_value *ret)
{
        struct plugd_group *groups = calloc(value->count + !value->count, sizeof(*groups));
        struct plugd_value copy = {.type = PLUGD_GROUPS, .groups = groups};

        if (!groups)
                return -ENOMEM;
        for (; copy.count < value->count; copy.count++) {
                int r = group_copy(value->groups + copy.count, groups + copy.count);

                if (r < 0) {
                        value_deinit(&copy);
                        return r;
                }
        }
        *ret = copy;
        return 0;
}

static int value_copy(const struct plugd_value *value, struct plugd_value *ret)
{
        struct plugd_value copy = *value;

        if (value->type == PLUGD_GROUPS)
                return value_copy_groups(value, ret);
        if (value->type == PLUGD_STRING || value->type == PLUGD_JSON) {
                copy.string = strdup(value->string);
                if (!copy.string)
                        return -ENOMEM;
        }
        *ret = copy;
        return 0;
}

int group_add(struct plugd_group *group, const char *name, const struct plugd_value *value)
{
        struct plugd_setting setting = {.name = strdup(name)}, *settings;
        int r = setting.name ? value_copy(value, &setting.value) : -ENOMEM;

        if (r < 0) {
                free((char *) setting.name);
                return r;
        }
        settings = reallocarray(
                (struct plugd_setting *) group->settings, group->n_settings + 1, sizeof(setting));
        if (!settings) {
                free((char *) setting.name);
                value_deinit(&setting.value);
                return -ENOMEM;
        }
        settings[group->n_settings++] = setting;
        group->settings = settings;
        return 0;
}

const struct plugd_value *group_find(const struct plugd_group *group, const char *name)
{
        for (size_t i = 0; i < group->n_settings; i++)
                if (strcmp(group->settings[i].name, name) == 0)
                        return &group->settings[i].value;
        return NULL;
}

void group_deinit(struct plugd_group *group)
{
        struct plugd_setting *settings = (struct plugd_setting *) group->settings;

        for (size_t i = 0; i < group->n_settings; i++) {
                free((char *) settings[i].name);
                value_deinit(&settings[i].value);
        }
        free(settings);
        *group = (struct plugd_group){0};
}
