/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"
#include "topic.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static void templates_free(Config *config)
{
        for (size_t i = 0; i < config->n_templates; i++) {
                free(config->templates[i].model);
                free(config->templates[i].pass);
        }
        free(config->templates);
        config->templates = NULL;
        config->n_templates = 0;
}

static void rules_free(Config *config)
{
        for (size_t i = 0; i < config->n_rules; i++) {
                free(config->rules[i].who);
                free(config->rules[i].action);
                free(config->rules[i].of);
                free(config->rules[i].channel);
        }
        free(config->rules);
        config->rules = NULL;
        config->n_rules = 0;
}

int config_set_templates(Config *config, json_object *array, const char **ret_why)
{
        size_t n = json_object_array_length(array);

        templates_free(config);
        config->templates = memory_zero(sizeof(Template) * (n + 1));
        for (size_t i = 0; i < n; i++) {
                json_object *entry = json_object_array_get_idx(array, i);
                const char *model = json_text(entry, "model", ""),
                           *allow = json_text(entry, "allow", "both");
                Template *t = &config->templates[config->n_templates];

                *ret_why = "templates: model must be mod- and 24 hex digits, pass a string";
                if (!plug_id_valid(model) || strncmp(model, "mod-", 4) != 0 ||
                        !json_text(entry, "pass", NULL))
                        return -EINVAL;
                *ret_why = "templates: allow is thing, ctrl or both";
                if (strcmp(allow, "thing") != 0 && strcmp(allow, "ctrl") != 0 && strcmp(allow, "both") != 0)
                        return -EINVAL;
                t->model = string_copy(model);
                t->pass = string_copy(json_text(entry, "pass", NULL));
                t->thing = strcmp(allow, "ctrl") != 0;
                t->ctrl = strcmp(allow, "thing") != 0;
                config->n_templates++;
        }
        return 0;
}

int config_set_rules(Config *config, json_object *array, const char **ret_why)
{
        size_t n = json_object_array_length(array);

        rules_free(config);
        config->rules = memory_zero(sizeof(Rule) * (n + 1));
        for (size_t i = 0; i < n; i++) {
                json_object *entry = json_object_array_get_idx(array, i);
                const char *action = json_text(entry, "do", "*");

                *ret_why = "permissions: do is publish, subscribe, property or *";
                if (strcmp(action, "publish") != 0 && strcmp(action, "subscribe") != 0 &&
                        strcmp(action, "property") != 0 && strcmp(action, "*") != 0)
                        return -EINVAL;
                config->rules[config->n_rules++] = (Rule){
                        .who = string_copy(json_text(entry, "who", "*")),
                        .action = string_copy(action),
                        .of = string_copy(json_text(entry, "of", "*")),
                        .channel = string_copy(json_text(entry, "channel", "#")),
                        .permit = json_flag(entry, "permit", false),
                };
        }
        return 0;
}

/* The index of `text` among `names`, or -EINVAL. */
static int choice(const char *text, const char *const *names, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (string_equal(text, names[i]))
                        return (int) i;
        return -EINVAL;
}

int config_set_switches(Config *config, json_object *object, const char **ret_why)
{
        static const char *const empty_logins[] = {"both", "absent", "zero"};
        static const char *const set_answers[] = {"empty", "object", "none"};
        Switches next = config->switches;
        struct {
                const char *name;
                bool *flag;
                int *code;
        } table[] = {
                {"hear_own", &next.hear_own, NULL},
                {"reenrol", &next.reenrol, NULL},
                {"answer_unasked", &next.answer_unasked, NULL},
                {"resolve_reference", &next.resolve_reference, NULL},
                {"foreign_publish", &next.foreign_publish, NULL},
                {"code_password", NULL, &next.code_password},
                {"code_unknown", NULL, &next.code_unknown},
                {"code_client_id", NULL, &next.code_client_id},
        };

        *ret_why = "switches: unknown name, or a value of the wrong type";
        json_object_object_foreach(object, key, value)
        {
                bool known = false;
                int chosen = -EINVAL;

                for (size_t i = 0; i < ARRAY_SIZE(table) && !known; i++) {
                        if (strcmp(table[i].name, key) != 0)
                                continue;
                        known = json_object_is_type(
                                value, table[i].flag ? json_type_boolean : json_type_int);
                        if (known && table[i].flag)
                                *table[i].flag = json_object_get_boolean(value);
                        else if (known)
                                *table[i].code = json_object_get_int(value);
                }
                if (known)
                        continue;
                if (strcmp(key, "empty_login") == 0) {
                        chosen = choice(
                                json_object_get_string(value), empty_logins, ARRAY_SIZE(empty_logins));
                        next.empty_login = (EmptyLogin) chosen;
                } else if (strcmp(key, "set_answer") == 0) {
                        chosen = choice(json_object_get_string(value), set_answers, ARRAY_SIZE(set_answers));
                        next.set_answer = (SetAnswer) chosen;
                }
                if (chosen < 0)
                        return -EINVAL;
        }
        config->switches = next;
        return 0;
}

static int set_users(Config *config, json_object *array)
{
        size_t n = json_object_array_length(array);

        config->users = memory_zero(sizeof(User) * (n + 1));
        for (size_t i = 0; i < n; i++) {
                json_object *entry = json_object_array_get_idx(array, i);

                if (!json_text(entry, "email", NULL) || !json_text(entry, "password", NULL))
                        return -EINVAL;
                config->users[config->n_users++] = (User){
                        .email = string_copy(json_text(entry, "email", NULL)),
                        .password = string_copy(json_text(entry, "password", NULL)),
                };
        }
        return 0;
}

static int config_read(Config *config, json_object *root, const char **ret_why)
{
        json_object *member;

        *ret_why = "database: missing";
        config->database = string_copy(json_text(root, "database", NULL));
        if (!config->database)
                return -EINVAL;
        config->admin = string_copy(json_text(root, "admin", NULL));
        if ((member = json_member(root, "templates", json_type_array)) &&
                config_set_templates(config, member, ret_why) < 0)
                return -EINVAL;
        if ((member = json_member(root, "permissions", json_type_array)) &&
                config_set_rules(config, member, ret_why) < 0)
                return -EINVAL;
        if ((member = json_member(root, "switches", json_type_object)) &&
                config_set_switches(config, member, ret_why) < 0)
                return -EINVAL;
        *ret_why = "users: email and password are strings";
        if ((member = json_member(root, "users", json_type_array)) && set_users(config, member) < 0)
                return -EINVAL;
        config->devices = json_object_get(json_member(root, "devices", json_type_array));
        return 0;
}

int config_load(const char *path, Config **ret)
{
        CLEANUP_JSON json_object *root = json_object_from_file(path);
        const char *why = json_util_get_last_err();
        Config *config;

        if (!json_object_is_type(root, json_type_object)) {
                fprintf(stderr, "platform: %s: %s\n", path, root || !why ? "not an object" : why);
                return -EINVAL;
        }
        config = memory_zero(sizeof(*config));
        config->switches = (Switches){
                .answer_unasked = true,
                .resolve_reference = true,
                .code_password = 4,
                .code_unknown = 5,
                .code_client_id = 2,
        };
        if (config_read(config, root, &why) < 0) {
                fprintf(stderr, "platform: %s: %s\n", path, why);
                config_free(config);
                return -EINVAL;
        }
        *ret = config;
        return 0;
}

Config *config_free(Config *config)
{
        if (!config)
                return NULL;
        templates_free(config);
        rules_free(config);
        for (size_t i = 0; i < config->n_users; i++) {
                free(config->users[i].email);
                free(config->users[i].password);
        }
        free(config->users);
        json_object_put(config->devices);
        free(config->database);
        free(config->admin);
        free(config);
        return NULL;
}

const Template *config_find_template(const Config *config, const char *model)
{
        for (size_t i = 0; i < config->n_templates; i++)
                if (strcasecmp(config->templates[i].model, model) == 0)
                        return &config->templates[i];
        return NULL;
}

const User *config_find_user(const Config *config, const char *email)
{
        for (size_t i = 0; i < config->n_users; i++)
                if (strcmp(config->users[i].email, email) == 0)
                        return &config->users[i];
        return NULL;
}
