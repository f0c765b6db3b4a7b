/* SPDX-License-Identifier: Apache-2.0 */

/*
 * One text out of a file and what it includes, fit for libconfig, and the way back from its lines to the
 * files. This is done here, and not left to libconfig, because 1.5 cuts integers to 32 bits without a word
 * (so each gets its L), drops \x00 from strings, takes a comment or a bracket that never ends without
 * saying where it began, and resolves @include from the working directory or not at all.
 */

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "config-internal.h"
#include "util/file.h"
#include "util/text.h"

typedef struct Bracket {
        char kind;
        ConfigPlace place;
} Bracket;

/* A file under way. */
typedef struct Scan {
        ConfigReader *reader;
        ConfigSource *source;
        const char *at, *end;
        ConfigPlace place;
        bool line_empty; /* nothing but blanks on this line so far */
        unsigned depth;  /* of includes */
        struct ScanShared *shared;
} Scan;

/* What goes on from file to included file. */
typedef struct ScanShared {
        Bracket brackets[CONFIG_DEPTH_MAX];
        size_t n_brackets;
        size_t n_bytes;
        bool comma; /* the last token was one */
} ScanShared;

static int scan_file(Scan *scan, const char *path, const ConfigPlace *includer);

static void put(Scan *scan, char c)
{
        bytes_put_u8(&scan->source->text, (uint8_t) c);
        if (c == '\n') {
                scan->source->lines++;
                scan->place.line++;
                scan->line_empty = true;
        }
}

static int segment_begin(Scan *scan)
{
        ConfigSource *source = scan->source;
        ConfigSegment *segments = reallocarray(source->segments, source->n_segments + 1, sizeof(*segments));

        if (!segments) {
                scan->reader->failed = true;
                return -ENOMEM;
        }
        source->segments = segments;
        segments[source->n_segments++] = (ConfigSegment){.first = source->lines, .place = scan->place};
        return 0;
}

#define scan_fail(scan, ...) (config_say((scan)->reader, CONFIG_ERROR, (scan)->place, __VA_ARGS__), -EINVAL)

static int scan_block_comment(Scan *scan)
{
        ConfigPlace start = scan->place;

        for (scan->at += 2; scan->at < scan->end; scan->at++) {
                if (scan->at[0] == '*' && scan->at[1] == '/') {
                        scan->at += 2;
                        put(scan, ' ');
                        return 0;
                }
                if (*scan->at == '\n')
                        put(scan, '\n');
        }
        scan->place = start;
        return scan_fail(scan, "the comment that begins here is never closed by */");
}

static int scan_string(Scan *scan)
{
        ConfigPlace start = scan->place;

        put(scan, *scan->at++);
        while (scan->at < scan->end) {
                char c = *scan->at++;

                put(scan, c);
                if (c == '"')
                        return 0;
                if (c != '\\' || scan->at == scan->end)
                        continue;
                if (tolower((unsigned char) *scan->at) == 'x' && scan->at[1] == '0' && scan->at[2] == '0')
                        return scan_fail(scan, "\\x00 can't be in a string");
                put(scan, *scan->at++);
        }
        scan->place = start;
        return scan_fail(scan, "the string that begins here is never closed by \"");
}

/* What follows the whole part of a floating-point number: its length, 0 if this is none. */
static size_t fraction_length(const char *text)
{
        size_t length = *text == '.' ? strspn(text, "0123456789.") : 0;
        const char *exponent = text + length;
        size_t sign = *exponent && (exponent[1] == '+' || exponent[1] == '-'), digits;

        if (*exponent != 'e' && *exponent != 'E')
                return length;
        digits = strspn(exponent + 1 + sign, "0123456789");
        return digits > 0 ? length + 1 + sign + digits : length;
}

/* Integers become wide ones, and what is too wide for that becomes infinity, which is refused wherever a
 * number goes. All else goes through as it is. */
static void scan_number(Scan *scan)
{
        const char *start = scan->at, *p = start;
        bool hex = p[0] == '0' && (p[1] == 'x' || p[1] == 'X') && isxdigit((unsigned char) p[2]);
        size_t digits, fraction;

        p += hex ? 2 : *p == '+' || *p == '-';
        digits = strspn(p, hex ? "0123456789abcdefABCDEF" : "0123456789");
        p += digits;
        fraction = hex ? 0 : fraction_length(p);
        scan->at = p + fraction;
        if (fraction > 0 || digits == 0) {
                bytes_put(&scan->source->text, start, (size_t) (scan->at - start));
                return;
        }
        errno = 0;
        strtoll(start, NULL, hex ? 16 : 10);
        if (errno == ERANGE) {
                bytes_put(&scan->source->text, "1e999", 5);
        } else {
                bytes_put(&scan->source->text, start, (size_t) (p - start));
                put(scan, 'L');
        }
        scan->at += *p == 'L' ? 1 + (p[1] == 'L') : 0;
}

static int scan_open(Scan *scan)
{
        ScanShared *shared = scan->shared;

        if (shared->n_brackets == ELEMENTSOF(shared->brackets))
                return scan_fail(scan, "brackets go deeper than %d", CONFIG_DEPTH_MAX);
        shared->brackets[shared->n_brackets++] = (Bracket){*scan->at, scan->place};
        put(scan, *scan->at++);
        return 0;
}

static int scan_close(Scan *scan)
{
        ScanShared *shared = scan->shared;
        char kind = *scan->at, opens = kind == '}' ? '{' : kind == ']' ? '[' : '(';
        const Bracket *last;

        if (shared->n_brackets == 0)
                return scan_fail(scan, "this %c closes nothing", kind);
        last = &shared->brackets[shared->n_brackets - 1];
        if (last->kind != opens)
                return scan_fail(scan, "a %c here, but the %c of line %u is still open", kind, last->kind,
                        last->place.line);
        if (shared->comma && kind != '}')
                return scan_fail(scan, "the comma before this %c has to go", kind);
        shared->n_brackets--;
        put(scan, *scan->at++);
        return 0;
}

/* @include "name", first on its line; relative names are looked up in the folder of the file they are in. */
static int scan_include(Scan *scan)
{
        const char *p = scan->at + strlen("@include"), *quote;
        const char *path = scan->reader->files[scan->place.file].path, *slash = strrchr(path, '/');
        _cleanup_(freep) char *name = NULL, *whole = NULL;
        ConfigPlace place = scan->place;
        Scan inner = *scan;
        int r;

        p += strspn(p, " \t");
        quote = *p == '"' ? strpbrk(p + 1, "\"\\\n") : NULL;
        if (!quote || *quote != '"' || quote == p + 1)
                return scan_fail(scan, "@include wants a file name in quotes");
        if (scan->depth == CONFIG_INCLUDES_MAX)
                return scan_fail(scan, "files include files deeper than %d", CONFIG_INCLUDES_MAX);
        name = strndup(p + 1, (size_t) (quote - p - 1));
        whole = !name                    ? NULL
                : *name == '/' || !slash ? strdup(name)
                                         : text_printf("%.*s/%s", (int) (slash - path), path, name);
        if (!whole) {
                scan->reader->failed = true;
                return -ENOMEM;
        }
        inner.depth++;
        r = scan_file(&inner, whole, &place);
        if (r < 0)
                return r;
        scan->at = quote + 1;
        return segment_begin(scan);
}

static int scan_token(Scan *scan)
{
        unsigned char c = (unsigned char) *scan->at;
        bool comma = c == ',';
        int r = 0;

        if (c == '"') {
                r = scan_string(scan);
        } else if (isdigit(c) || c == '+' || c == '-' || c == '.') {
                scan_number(scan);
        } else if (isalpha(c) || c == '*') {
                while (isalnum((unsigned char) *scan->at) || (*scan->at && strchr("*_-", *scan->at)))
                        put(scan, *scan->at++);
        } else if (c == '{' || c == '[' || c == '(') {
                r = scan_open(scan);
        } else if (c == '}' || c == ']' || c == ')') {
                r = scan_close(scan);
        } else if (c == '@' && scan->line_empty && strncmp(scan->at, "@include", 8) == 0) {
                r = scan_include(scan);
        } else if (c & 0x80 || c == '@' || iscntrl(c)) {
                r = scan_fail(scan, "syntax error: a character that can be only in a string or comment");
        } else {
                if ((c == '=' || c == ':') && ++scan->source->n_settings > CONFIG_SETTINGS_MAX)
                        return scan_fail(
                                scan, "there are more than %d keys in this file", CONFIG_SETTINGS_MAX);
                put(scan, *scan->at++);
        }
        scan->shared->comma = comma;
        scan->line_empty = false;
        return r;
}

static int scan_text(Scan *scan)
{
        int r = 0;

        while (scan->at < scan->end && r >= 0) {
                const char *p = scan->at;

                if (isspace((unsigned char) *p)) {
                        put(scan, *p == '\n' ? '\n' : ' ');
                        scan->at++;
                } else if (*p == '#' || (p[0] == '/' && p[1] == '/')) {
                        scan->at += strcspn(p, "\n");
                } else if (p[0] == '/' && p[1] == '*') {
                        r = scan_block_comment(scan);
                } else {
                        r = scan_token(scan);
                }
        }
        if (r < 0)
                return r;
        if (!scan->line_empty)
                put(scan, '\n');
        return 0;
}

/* Why a file can't be read, said where it was asked for. */
static int scan_unreadable(
        Scan *scan, const char *path, const ConfigPlace *includer, int error, const char *why)
{
        if (includer)
                config_say(scan->reader, CONFIG_ERROR, *includer, "%s can't be included: %s", path, why);
        else
                config_say(scan->reader, CONFIG_ERROR, scan->place, "can't be read: %s", why);
        return includer ? -EINVAL : error;
}

/* Notes the file among the reader's, with what is known of it. */
static int scan_register(Scan *scan, const char *path, const struct stat *status)
{
        ConfigReader *reader = scan->reader;
        ConfigFile *files = reallocarray(reader->files, reader->n_files + 1, sizeof(*files));
        char *copy = strdup(path);

        if (files)
                reader->files = files;
        if (!files || !copy) {
                free(copy);
                reader->failed = true;
                return -ENOMEM;
        }
        files[reader->n_files] = (ConfigFile){
                .path = copy, .mode = status->st_mode, .owner = status->st_uid, .group = status->st_gid};
        scan->place = (ConfigPlace){.file = reader->n_files++};
        return 0;
}

/* The place of the first byte that isn't text. */
static void scan_seek(Scan *scan, size_t size)
{
        const char *p = scan->at, *end = p + size;

        scan->place.line = 1;
        while (p < end) {
                const char *next = memchr(p, '\n', (size_t) (end - p));

                next = next ? next + 1 : end;
                if (!text_is_utf8(p, (size_t) (next - p)))
                        return;
                scan->place.line++;
                p = next;
        }
}

static int scan_file(Scan *scan, const char *path, const ConfigPlace *includer)
{
        _cleanup_(freep) char *text = NULL;
        struct stat status = {0};
        size_t size;
        int r, error;

        error = stat(path, &status) < 0 ? -errno : 0;
        r = scan_register(scan, path, &status);
        if (r < 0)
                return r;
        if (error < 0)
                return scan_unreadable(scan, path, includer, error, strerror(-error));
        /* A pipe might keep us waiting for ever. */
        if (!S_ISREG(status.st_mode) && !S_ISCHR(status.st_mode))
                return scan_unreadable(scan, path, includer, S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL,
                        S_ISDIR(status.st_mode) ? "it is a folder" : "it is not a regular file");
        r = file_read(path, CONFIG_FILE_MAX - scan->shared->n_bytes, &text, &size);
        if (r == -EFBIG)
                return scan_unreadable(scan, path, includer, r, "more than 1 MiB is too much");
        if (r < 0)
                return scan_unreadable(scan, path, includer, r, strerror(-r));

        scan->shared->n_bytes += size;
        scan->at = text;
        scan->end = text + size;
        scan->line_empty = true;
        if (!text_is_utf8(text, size)) {
                scan_seek(scan, size);
                r = scan_fail(scan, "this is not UTF-8 text");
        } else {
                scan->place.line = 1;
                if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
                        scan->at += 3;
                r = segment_begin(scan);
                if (r >= 0)
                        r = scan_text(scan);
        }
        explicit_bzero(text, size); /* a secret may be in it */
        return r;
}

int config_source_read(ConfigReader *reader, const char *path, ConfigSource *ret)
{
        ConfigSource source = {.lines = 1};
        ScanShared shared = {0};
        Scan scan = {.reader = reader, .source = &source, .shared = &shared};
        int r = scan_file(&scan, path, NULL);

        if (r >= 0 && shared.n_brackets > 0) {
                const Bracket *open = &shared.brackets[shared.n_brackets - 1];

                config_say(reader, CONFIG_ERROR, open->place, "the %c that opens here is never closed",
                        open->kind);
                r = -EINVAL;
        }
        if (r >= 0) {
                bytes_put_u8(&source.text, 0);
                if (source.text.failed) {
                        reader->failed = true;
                        r = -ENOMEM;
                }
        }
        if (r < 0) {
                config_source_deinit(&source);
                return r;
        }
        *ret = source;
        return 0;
}

void config_source_deinit(ConfigSource *source)
{
        if (source->text.data)
                explicit_bzero(source->text.data, source->text.size);
        bytes_deinit(&source->text);
        free(source->segments);
        *source = (ConfigSource){0};
}

ConfigPlace config_source_place(const ConfigSource *source, unsigned line)
{
        ConfigPlace place = {0};

        for (size_t i = 0; i < source->n_segments && source->segments[i].first <= MAX(line, 1u); i++) {
                place = source->segments[i].place;
                place.line += MAX(line, 1u) - source->segments[i].first;
        }
        return line == 0 ? (ConfigPlace){.file = place.file} : place;
}
