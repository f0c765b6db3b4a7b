/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The description of the platform that a test wants: a JSON file named by plugin_opt_config, read at the
 * start. Switches and permissions may be changed later by control commands; what was enrolled lives in the
 * store.
 */

#include "util.h"

typedef enum EmptyLogin {
        EMPTY_LOGIN_BOTH,
        EMPTY_LOGIN_ABSENT,
        EMPTY_LOGIN_ZERO, /* present, of length zero */
} EmptyLogin;

typedef enum SetAnswer {
        SET_ANSWER_EMPTY,  /* no payload at all */
        SET_ANSWER_OBJECT, /* {} */
        SET_ANSWER_NONE,
} SetAnswer;

typedef struct Template {
        char *model;
        char *pass;
        bool thing, ctrl;
} Template;

typedef struct User {
        char *email;
        char *password;
} User;

/* The first rule that fits decides. Each part is "*" or a value. */
typedef struct Rule {
        char *who;     /* Plug-ID or e-mail of the one who acts, or "thing", "ctrl", "user" */
        char *action;  /* "publish", "subscribe" (also: receive), "property" */
        char *of;      /* Plug-ID in the topic, or "self" */
        char *channel; /* mask */
        bool permit;
} Rule;

typedef struct Switches {
        bool hear_own;          /* does the publisher hear its own message? */
        bool reenrol;           /* may a known HWID enrol again? */
        bool answer_unasked;    /* are ag/prop answers sent without a subscription? */
        bool resolve_reference; /* does ag/prop/get follow {"channel": …}? */
        bool foreign_publish;   /* may a device publish as any other device, rules aside? */
        SetAnswer set_answer;
        EmptyLogin empty_login;
        int code_password, code_unknown, code_client_id; /* CONNACK codes */
} Switches;

typedef struct Config {
        char *database;
        char *admin; /* the password of the control connection; NULL for none */
        Template *templates;
        size_t n_templates;
        User *users;
        size_t n_users;
        Rule *rules;
        size_t n_rules;
        json_object *devices; /* those to be in the store from the start */
        Switches switches;
} Config;

/* -errno, after saying on stderr what is wrong. */
int config_load(const char *path, Config **ret);
Config *config_free(Config *config);

/* For control commands: as the members "templates", "permissions" and "switches" of the file. -EINVAL,
 * *ret_why. */
int config_set_templates(Config *config, json_object *array, const char **ret_why);
int config_set_rules(Config *config, json_object *array, const char **ret_why);
int config_set_switches(Config *config, json_object *object, const char **ret_why);

const Template *config_find_template(const Config *config, const char *model);
const User *config_find_user(const Config *config, const char *email);
