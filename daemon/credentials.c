/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The store: one file, read once, written anew as a whole. An auth is given only once, so nothing is thrown
 * away: entries of other platforms stay, what a new enrolment replaces is kept beside it as "previous" (for
 * a person to put back), and a file that can't be understood is set aside.
 *
 *     {"version":1,"platforms":[{"host":"…","hwid":"…","plug_id":"…","auth":"…",
 *                                "previous":{"plug_id":"…","auth":"…"}}]}
 */

#include "credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "credentials-internal.h"
#include "payload.h"
#include "topic.h"
#include "util/bytes.h"
#include "util/file.h"
#include "util/log.h"
#include "util/text.h"

#define VERSION 1
#define ASIDE_MAX 1000

typedef struct Entry {
        char *host, *hwid, *plug_id, *auth;
        char *previous_plug_id, *previous_auth; /* or both NULL */
} Entry;

struct Credentials {
        char *path;
        Entry *entries;
        size_t n_entries;
};

static void entry_deinit(Entry *entry)
{
        free(entry->host);
        free(entry->hwid);
        free(entry->plug_id);
        secret_free(entry->auth);
        free(entry->previous_plug_id);
        secret_free(entry->previous_auth);
        *entry = (Entry){};
}

Credentials *credentials_free(Credentials *credentials)
{
        if (!credentials)
                return NULL;
        for (size_t i = 0; i < credentials->n_entries; i++)
                entry_deinit(&credentials->entries[i]);
        free(credentials->entries);
        free(credentials->path);
        free(credentials);
        return NULL;
}

/* The port isn't part of a platform: 1883 and 8883 are two doors of one. */
static bool entry_matches(const Entry *entry, const char *host, const char *hwid)
{
        return strcasecmp(entry->host, host) == 0 && strcmp(entry->hwid, hwid) == 0;
}

/* Of two that somebody wrote into the file the last: what is saved goes there. */
static Entry *find_entry(const Credentials *credentials, const char *host, const char *hwid)
{
        for (size_t i = credentials->n_entries; i-- > 0;)
                if (entry_matches(&credentials->entries[i], host, hwid))
                        return &credentials->entries[i];
        return NULL;
}

/* --- reading ----------------------------------------------------------------------------------------- */

/* A member that has to be a text that isn't empty. 0, -EBADMSG or -ENOMEM. */
static int copy_member(const Json *object, const char *key, char **ret)
{
        const char *text = json_string(json_get(object, key));

        if (!text || !*text)
                return -EBADMSG;
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

static int read_entry(const Json *json, Entry *ret)
{
        const struct {
                const Json *object;
                const char *key;
                char **ret;
        } members[] = {
                {json, "host", &ret->host},
                {json, "hwid", &ret->hwid},
                {json, "plug_id", &ret->plug_id},
                {json, "auth", &ret->auth},
                {json_get(json, "previous"), "plug_id", &ret->previous_plug_id},
                {json_get(json, "previous"), "auth", &ret->previous_auth},
        };

        for (size_t i = 0; i < ELEMENTSOF(members); i++)
                if (members[i].object) {
                        int r = copy_member(members[i].object, members[i].key, members[i].ret);

                        if (r < 0)
                                return r;
                }
        return ret->plug_id && topic_plug_id_valid(ret->plug_id) ? 0 : -EBADMSG;
}

/* Takes all of the file or nothing. 0, -ENOMEM, or -EBADMSG with words. */
static int read_entries(Credentials *credentials, const char *text, size_t size, char **ret_words)
{
        _cleanup_(json_free_secretp) Json *json = json_parse(text, size, ret_words);
        const Json *platforms = json_get(json, "platforms");
        size_t n = json_size(platforms);

        if (!json)
                return -EBADMSG;
        if (json_type(json_get(json, "version")) == JSON_INTEGER &&
                json_integer(json_get(json, "version")) != VERSION) {
                text_set(ret_words, "it is of version %lld, and this plugd knows version %d",
                        (long long) json_integer(json_get(json, "version")), VERSION);
                return -EBADMSG;
        }
        if (json_type(json_get(json, "version")) != JSON_INTEGER || json_type(platforms) != JSON_ARRAY) {
                text_set(ret_words, "it has no version or no platforms");
                return -EBADMSG;
        }
        credentials->entries = calloc(MAX(n, (size_t) 1), sizeof(Entry));
        if (!credentials->entries)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                int r = read_entry(json_at(platforms, i), &credentials->entries[i]);

                credentials->n_entries++;
                if (r == -EBADMSG)
                        text_set(ret_words,
                                "entry %zu lacks host, hwid, plug_id or auth, or one of them is no such "
                                "thing",
                                i + 1);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void forget_entries(Credentials *credentials)
{
        for (size_t i = 0; i < credentials->n_entries; i++)
                entry_deinit(&credentials->entries[i]);
        free(TAKE_PTR(credentials->entries));
        credentials->n_entries = 0;
}

/* Renames to a name that nothing has yet. */
static int rename_to_new(const char *path, const char *to)
{
        if (renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
                return 0;
        if (errno != EINVAL && errno != ENOSYS)
                return -errno;
        /* Some file systems don't know that flag. */
        if (faccessat(AT_FDCWD, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return -EEXIST;
        return rename(path, to) < 0 ? -errno : 0;
}

static int set_aside(const char *path, const char *words, char **ret_error)
{
        int r = -EEXIST;

        for (unsigned i = 1; i <= ASIDE_MAX && r == -EEXIST; i++) {
                _cleanup_(freep) char *aside = text_printf("%s.damaged-%u", path, i);

                if (!aside)
                        return -ENOMEM;
                r = rename_to_new(path, aside);
                if (r == 0)
                        log_error("The credentials in %s can't be used: %s. The file is kept as %s; "
                                  "put right, it can be renamed back",
                                path, words, aside);
        }
        if (r < 0)
                text_set(ret_error,
                        "the credentials in %s can't be used (%s), nor can the file be set aside: %s", path,
                        words, strerror(-r));
        return r;
}

/* Nobody but its owner has business with this file. */
static void tighten(int fd, const char *path, mode_t mode)
{
        if ((mode & 077) == 0)
                return;
        if (fchmod(fd, 0600) < 0)
                log_warning("%s has mode %04o, others than its owner may get at it, and that can't be "
                            "changed: %s",
                        path, (unsigned) mode & 07777, strerror(errno));
        else
                log_warning("%s had mode %04o, others than its owner could get at it: it is 0600 now", path,
                        (unsigned) mode & 07777);
}

/* 1 and the text, or 0 where there is no such file. */
static int read_file(const char *path, char **ret_text, size_t *ret_size)
{
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        struct stat status;
        size_t used = 0, most;
        char *text;

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        if (fstat(fd, &status) < 0)
                return -errno;
        if (!S_ISREG(status.st_mode))
                return S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
        tighten(fd, path, status.st_mode);

        /* One more than json_parse takes: it says so. */
        most = (size_t) MIN(status.st_size, (off_t) PAYLOAD_SIZE_MAX + 1);
        text = malloc(most + 1);
        if (!text)
                return -ENOMEM;
        while (used < most) {
                ssize_t n = read(fd, text + used, most - used);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0) {
                        int r = -errno;

                        secret_free_size(text, used);
                        return r;
                }
                if (n == 0)
                        break;
                used += (size_t) n;
        }
        *ret_text = text;
        *ret_size = used;
        return 1;
}

int credentials_new(Credentials **ret, const char *state_directory, char **ret_error)
{
        _cleanup_(credentials_freep) Credentials *credentials = calloc(1, sizeof(*credentials));
        _cleanup_(freep) char *words = NULL;
        char *text = NULL;
        size_t size = 0;
        int r;

        if (!credentials)
                return -ENOMEM;
        credentials->path = text_printf("%s/credentials.json", state_directory);
        if (!credentials->path)
                return -ENOMEM;
        r = file_make_directory(state_directory, 0700);
        if (r < 0) {
                text_set(ret_error, "the state directory %s can't be made: %s", state_directory,
                        strerror(-r));
                return r;
        }
        r = read_file(credentials->path, &text, &size);
        if (r < 0) {
                text_set(ret_error,
                        "the credentials in %s can't be read: %s; they have to belong to the user "
                        "that plugd runs as",
                        credentials->path, r == -EINVAL ? "it is not a regular file" : strerror(-r));
                return r;
        }
        if (r > 0) {
                r = read_entries(credentials, text, size, &words);
                secret_free_size(text, size);
                if (r == -EBADMSG) {
                        forget_entries(credentials);
                        r = set_aside(credentials->path, words ? words : "out of memory", ret_error);
                }
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(credentials);
        return 0;
}

CredentialsFound credentials_find(Credentials *credentials, const char *host, const char *hwid,
        const char **ret_plug_id, const char **ret_auth, char **ret_words)
{
        const Entry *entry = find_entry(credentials, host, hwid);

        if (entry) {
                *ret_plug_id = entry->plug_id;
                *ret_auth = entry->auth;
                return CREDENTIALS_MATCHING;
        }
        if (credentials->n_entries == 0)
                return CREDENTIALS_NONE;
        /* The one that was saved last. */
        entry = &credentials->entries[credentials->n_entries - 1];
        text_set(ret_words,
                "the saved credentials are of %s at %s with the HWID \"%s\", and the configuration has %s "
                "with the HWID \"%s\": correct it, or enrol anew with plugctl enroll (with "
                "--user, if plugd runs so)",
                entry->plug_id, entry->host, entry->hwid, host, hwid);
        return CREDENTIALS_OTHER;
}

/* --- writing ----------------------------------------------------------------------------------------- */

static void put_text(Bytes *bytes, const char *text)
{
        bytes_put(bytes, text, strlen(text));
}

/* name is put as it is, with what goes before it. */
static void put_member(Bytes *bytes, const char *name, const char *value)
{
        char *quoted = payload_quote(value);

        put_text(bytes, name);
        if (quoted)
                put_text(bytes, quoted);
        else
                bytes->failed = true;
        secret_free(quoted);
}

static void put_entry(Bytes *bytes, const Entry *entry)
{
        put_member(bytes, "\n  {\"host\": ", entry->host);
        put_member(bytes, ", \"hwid\": ", entry->hwid);
        put_member(bytes, ", \"plug_id\": ", entry->plug_id);
        put_member(bytes, ", \"auth\": ", entry->auth);
        if (entry->previous_auth) {
                put_member(bytes, ",\n   \"previous\": {\"plug_id\": ", entry->previous_plug_id);
                put_member(bytes, ", \"auth\": ", entry->previous_auth);
                put_text(bytes, "}");
        }
        put_text(bytes, "}");
}

static int write_file(const char *path, const void *data, size_t size)
{
        int r = file_write_atomic(path, 0600, data, size);
        _cleanup_(freep) char *folder = NULL;

        if (r != -ENOENT)
                return r;
        /* Somebody took the state directory away; an auth is worth a new one. */
        folder = strndup(path, (size_t) (strrchr(path, '/') - path));
        if (!folder)
                return -ENOMEM;
        r = file_make_directory(folder, 0700);
        return r < 0 ? r : file_write_atomic(path, 0600, data, size);
}

/* All entries but `replaced`, then `added`, on the disk. */
static int write_entries(const Credentials *credentials, const Entry *replaced, const Entry *added)
{
        _cleanup_(bytes_deinit) Bytes bytes = {};
        int r;

        /* At once, as growing would leave copies behind in freed memory. */
        bytes_reserve(&bytes, 2 * PAYLOAD_SIZE_MAX);
        put_text(&bytes, "{\"version\": 1, \"platforms\": [");
        for (size_t i = 0; i < credentials->n_entries; i++)
                if (&credentials->entries[i] != replaced) {
                        put_entry(&bytes, &credentials->entries[i]);
                        put_text(&bytes, ",");
                }
        put_entry(&bytes, added);
        put_text(&bytes, "\n]}\n");
        if (bytes.failed)
                return -ENOMEM;

        if (bytes.size > PAYLOAD_SIZE_MAX)
                r = -EFBIG;
        else
                r = write_file(credentials->path, bytes.data, bytes.size);
        explicit_bzero(bytes.data, bytes.size);
        return r;
}

static int keep_previous(Entry *entry, const char *plug_id, const char *auth)
{
        if (!auth)
                return 0;
        entry->previous_plug_id = strdup(plug_id);
        entry->previous_auth = strdup(auth);
        return entry->previous_plug_id && entry->previous_auth ? 0 : -ENOMEM;
}

/* The former auth stays beside the new one. */
static int make_entry(Entry *entry, const Entry *replaced, const char *host, const char *hwid,
        const char *plug_id, const char *auth)
{
        entry->host = strdup(host);
        entry->hwid = strdup(hwid);
        entry->plug_id = strdup(plug_id);
        entry->auth = strdup(auth);
        if (!entry->host || !entry->hwid || !entry->plug_id || !entry->auth)
                return -ENOMEM;
        if (replaced && strcmp(replaced->auth, auth) == 0)
                return keep_previous(entry, replaced->previous_plug_id, replaced->previous_auth);
        return replaced ? keep_previous(entry, replaced->plug_id, replaced->auth) : 0;
}

/* Puts it last, and what it replaces goes. There is room. */
static void commit_entry(Credentials *credentials, Entry *replaced, Entry *added)
{
        Entry *end = credentials->entries + credentials->n_entries;

        if (replaced) {
                entry_deinit(replaced);
                memmove(replaced, replaced + 1, (size_t) (end - (replaced + 1)) * sizeof(Entry));
                credentials->n_entries--;
        }
        credentials->entries[credentials->n_entries++] = *added;
        *added = (Entry){};
}

int credentials_save(Credentials *credentials, const char *host, const char *hwid, const char *plug_id,
        const char *auth, char **ret_error)
{
        _cleanup_(entry_deinit) Entry added = {};
        Entry *replaced, *larger;
        int r;

        /* All that can fail comes before the writing. */
        larger = reallocarray(credentials->entries, credentials->n_entries + 1, sizeof(Entry));
        if (!larger)
                return -ENOMEM;
        credentials->entries = larger;
        replaced = find_entry(credentials, host, hwid);
        r = make_entry(&added, replaced, host, hwid, plug_id, auth);
        if (r < 0)
                return r;

        r = write_entries(credentials, replaced, &added);
        if (r < 0) {
                text_set(ret_error, "the credentials of %s can't be saved in %s: %s", plug_id,
                        credentials->path, strerror(-r));
                return r;
        }
        commit_entry(credentials, replaced, &added);
        return 0;
}
