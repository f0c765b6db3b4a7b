/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who this gateway is: {server, hwid, plug_id, auth} for each platform it has enrolled with, in
 * STATE/credentials.json, mode 0600, never thrown away. And the secrets that the configuration points to.
 * A server is known by its host, in any case of letters; its port makes no difference.
 */

#include "config.h"
#include "util/macros.h"
#include "util/secret.h"

typedef struct Credentials Credentials;

typedef enum CredentialsFound {
        CREDENTIALS_NONE,  /* nothing was ever saved */
        CREDENTIALS_OTHER, /* only of another platform or HWID: ret_words says which */
        CREDENTIALS_MATCHING,
} CredentialsFound;

/* Reads the file; a damaged one is set aside as credentials.json.damaged-N and said (logged), never
 * overwritten: then there are none. Makes the directory where there is none. 0, or -errno with a sentence.
 */
int credentials_new(Credentials **ret, const char *state_directory, char **ret_error);
Credentials *credentials_free(Credentials *credentials);
DEFINE_CLEANUP(Credentials, credentials_free);

CredentialsFound credentials_find(Credentials *credentials, const char *host, const char *hwid,
        const char **ret_plug_id, const char **ret_auth, char **ret_words);
/* Adds or replaces the entry, safely on disk when it returns 0; of one that is replaced, the former auth is
 * kept beside the new one, as "previous". Otherwise nothing has changed. */
int credentials_save(Credentials *credentials, const char *host, const char *hwid, const char *plug_id,
        const char *auth, char **ret_error);

/* A secret: inline text, a file (trailing newline taken off), or $CREDENTIALS_DIRECTORY/NAME, the first of
 * them that is given. name is "plugd.pass" or "plugd.auth". 0; -ENOENT: there is none anywhere (sentence
 * says where it was looked for), or no such file; -EINVAL: empty, over 4 KiB, not one line; -errno.
 * Overwrites memory of what it frees. */
int credentials_secret(const SecretConfig *secret, const char *credentials_directory, const char *name,
        char **ret_secret, char **ret_error);
/* "auto": the Pi's serial number from the device tree, else a hash of the machine id that is plugd's own;
 * anything else: itself. 0, or -errno with a sentence. */
int credentials_hwid(const char *configured, char **ret_hwid, char **ret_error);
