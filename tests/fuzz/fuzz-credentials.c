/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The stored credentials and secrets in files. A file that is understood loses no entry when one is saved;
 * one that isn't is set aside as it was; what was saved is there at the next start. And a secret is what
 * stands in its file, without the newline.
 */

#include "credentials.h"
#include "folder.h"
#include "payload.h"

#define HOST "api.example.org"
#define HWID "0000"
#define PLUG_ID "dev-0123456789abcdef01234567"
#define AUTH "an auth of the fuzzer's"

static Credentials *load(void)
{
        Credentials *credentials = NULL;
        char *error = NULL;

        hold(credentials_new(&credentials, fuzz_folder, &error) == 0 && !error);
        return credentials;
}

static bool has(
        Credentials *credentials, const char *host, const char *hwid, const char *plug_id, const char *auth)
{
        _cleanup_(freep) char *words = NULL;
        const char *found_id, *found_auth;

        return credentials_find(credentials, host, hwid, &found_id, &found_auth, &words) ==
                       CREDENTIALS_MATCHING &&
               strcmp(found_id, plug_id) == 0 && strcmp(found_auth, auth) == 0;
}

/* The last entry of a platform counts. */
static bool is_last(const Json *platforms, size_t index)
{
        const char *host = json_string(json_get(json_at(platforms, index), "host"));
        const char *hwid = json_string(json_get(json_at(platforms, index), "hwid"));

        for (size_t i = index + 1; i < json_size(platforms); i++)
                if (strcasecmp(json_string(json_get(json_at(platforms, i), "host")), host) == 0 &&
                        strcmp(json_string(json_get(json_at(platforms, i), "hwid")), hwid) == 0)
                        return false;
        return true;
}

/* All entries that the file has, but for the one that is ours. */
static void hold_entries(Credentials *credentials, const Json *json)
{
        const Json *platforms = json_get(json, "platforms");

        for (size_t i = 0; i < json_size(platforms); i++) {
                const Json *entry = json_at(platforms, i);
                const char *host = json_string(json_get(entry, "host"));
                const char *hwid = json_string(json_get(entry, "hwid"));

                if ((strcasecmp(host, HOST) == 0 && strcmp(hwid, HWID) == 0) || !is_last(platforms, i))
                        continue;
                hold(has(credentials, host, hwid, json_string(json_get(entry, "plug_id")),
                        json_string(json_get(entry, "auth"))));
        }
}

static void check_store(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *path = text_printf("%s/credentials.json", fuzz_folder_get());
        _cleanup_(freep) char *aside = text_printf("%s.damaged-1", path), *kept = NULL, *first = NULL,
                              *second = NULL;
        _cleanup_(credentials_freep) Credentials *credentials = NULL;
        _cleanup_(json_freep) Json *json = json_parse((const char *) data, size, NULL);
        size_t kept_size = 0, first_size = 0, second_size = 0;
        bool damaged;

        fuzz_write(path, data, size);
        credentials = load();
        damaged = access(path, F_OK) < 0;
        if (damaged) {
                hold(file_read(aside, size, &kept, &kept_size) == 0);
                hold(kept_size == size && memcmp(kept, data, size) == 0);
        } else {
                hold(json && access(aside, F_OK) < 0);
                hold_entries(credentials, json);
        }

        if (credentials_save(credentials, HOST, HWID, PLUG_ID, AUTH, NULL) < 0)
                return; /* there is no room for one more */
        hold(has(credentials, HOST, HWID, PLUG_ID, AUTH));
        credentials = credentials_free(credentials);
        credentials = load();
        hold(has(credentials, HOST, HWID, PLUG_ID, AUTH));
        if (!damaged)
                hold_entries(credentials, json);

        /* The same once more is the same file. */
        hold(file_read(path, PAYLOAD_SIZE_MAX, &first, &first_size) == 0);
        hold(credentials_save(credentials, HOST, HWID, PLUG_ID, AUTH, NULL) == 0);
        hold(file_read(path, PAYLOAD_SIZE_MAX, &second, &second_size) == 0);
        hold(first_size == second_size && memcmp(first, second, first_size) == 0);
}

static void check_secret(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *path = text_printf("%s/secret", fuzz_folder_get());
        SecretConfig config = {.file = path};
        char *secret = NULL, *error = NULL;
        int r;

        fuzz_write(path, data, size);
        r = credentials_secret(&config, NULL, "plugd.pass", &secret, &error);
        hold_error(r < 0, error);
        hold((r == 0) == (secret != NULL));
        if (!secret)
                return;
        hold(*secret && !strpbrk(secret, "\r\n") && strlen(secret) <= 4096);
        hold(strlen(secret) <= size && memcmp(secret, data, strlen(secret)) == 0);
        for (size_t i = strlen(secret); i < size; i++)
                hold(data[i] == '\r' || data[i] == '\n');
        free(secret);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        log_set_sink(fuzz_ignore_log);
        check_store(data, size);
        check_secret(data, size);
        return 0;
}
