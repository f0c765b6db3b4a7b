/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The platform's names: Plug-IDs, channels, masks, client ids, and the topics made of them. Pure. */

#include "util/macros.h"

#define PLUG_ID_LENGTH 28
#define CHANNEL_MAX 200     /* bytes of UTF-8 */
#define TOPIC_PART_MAX 1000 /* of a HWID, and of a name */
#define TOPIC_PASS_MAX 4096

/* "dev-", "mod-" or "com-" and 24 hex digits of either case. */
bool topic_plug_id_valid(const char *text);

/* A channel: levels without '/', '+', '#', none empty, at most CHANNEL_MAX bytes of UTF-8 without control
 * characters. On failure ret_error (may be NULL) gets a sentence that names the channel; caller frees.
 * 0 or -EINVAL. */
int topic_check_channel(const char *channel, char **ret_error);
/* The same, with '+' for a level and '#' last. */
int topic_check_mask(const char *mask, char **ret_error);
/* At least one byte, UTF-8 without '/' and control characters. name: NULL or any UTF-8; it may have '/'. */
int topic_check_hwid(const char *hwid, char **ret_error);
int topic_check_name(const char *name, char **ret_error);
/* A HWID that stands in a topic, a controller's THING_HWID: no '+' and no '#' either. */
int topic_check_thing_hwid(const char *hwid, char **ret_error);
/* A pass that a topic can carry: not empty, no '+', no '#'. The sentence never has the pass in it. */
int topic_check_pass(const char *pass, char **ret_error);

/* All of these return an allocated string, or NULL when out of memory. */
char *topic_client_id(const char *hwid, const char *name);    /* HWID, or HWID/NAME */
char *topic_data(const char *plug_id, const char *channel);   /* PLUG_ID/data/CHANNEL */
char *topic_enrol_thing(const char *model, const char *pass); /* MODEL/thing/PASS */
char *topic_enrol_controller(const char *model, const char *thing_hwid, const char *pass); /* MODEL/ctrl/… */
/* The topic that nobody subscribes to and barriers unsubscribe from: PLUG_ID/plugd/barrier. */
char *topic_barrier(const char *plug_id);
