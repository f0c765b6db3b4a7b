/* SPDX-License-Identifier: Apache-2.0 */

/* The secrets that the configuration has or points to. No sentence has any of a secret in it. */

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "credentials-internal.h"
#include "util/log.h"
#include "util/text.h"

#define SECRET_MAX 4096

/* where: "pass_file /etc/plugd/pass", for the sentence. */
static int take_secret(const char *text, size_t size, const char *where, char **ret_secret, char **ret_error)
{
        const char *trouble = NULL;
        char *secret;

        while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == '\r'))
                size--;
        if (size == 0)
                trouble = "is empty";
        else if (size > SECRET_MAX)
                trouble = "is longer than 4096 bytes: that is no secret of the platform's";
        else if (memchr(text, '\0', size))
                trouble = "has a NUL byte in it: it has to be one line of text";
        else if (memchr(text, '\n', size) || memchr(text, '\r', size))
                trouble = "has more than one line: the secret has to stand there alone";
        if (trouble) {
                text_set(ret_error, "%s %s", where, trouble);
                return -EINVAL;
        }
        secret = strndup(text, size);
        if (!secret)
                return -ENOMEM;
        *ret_secret = secret;
        return 0;
}

/* Reads at most size bytes and says how many there were. Never waits for a writer. */
static int read_some(const char *path, char *buffer, size_t size, size_t *ret_size, struct stat *ret_status)
{
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        size_t used = 0;

        if (fd < 0 || fstat(fd, ret_status) < 0)
                return -errno;
        if (S_ISDIR(ret_status->st_mode))
                return -EISDIR;
        if (!S_ISREG(ret_status->st_mode))
                return -EBADFD;
        while (used < size) {
                ssize_t n = read(fd, buffer + used, size - used);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                used += (size_t) n;
        }
        *ret_size = used;
        return 0;
}

static int read_secret(
        const char *path, const char *where, bool own_mode, char **ret_secret, char **ret_error)
{
        char buffer[SECRET_MAX + 2]; /* room for a newline, and for seeing that there is more */
        struct stat status;
        size_t size = 0;
        int r;

        r = read_some(path, buffer, sizeof(buffer), &size, &status);
        if (r == -EBADFD)
                text_set(ret_error, "%s is not a regular file", where);
        else if (r == -EACCES)
                text_set(ret_error,
                        "%s can't be read: permission denied; let the user that plugd runs as own it",
                        where);
        else if (r < 0)
                text_set(ret_error, "%s can't be read: %s", where, strerror(-r));
        else {
                if (own_mode && (status.st_mode & (S_IROTH | S_IWOTH)))
                        log_warning(
                                "%s has a secret in it that every user of this machine can read or change: "
                                "chmod o-rw %s",
                                path, path);
                r = take_secret(buffer, size, where, ret_secret, ret_error);
        }
        explicit_bzero(buffer, sizeof(buffer));
        return r;
}

int credentials_secret(const SecretConfig *secret, const char *credentials_directory, const char *name,
        char **ret_secret, char **ret_error)
{
        _cleanup_(freep) char *where = NULL, *path = NULL;
        const char *key = strrchr(name, '.') ? strrchr(name, '.') + 1 : name; /* "plugd.pass": pass */
        int r;

        if (secret->text) {
                where = text_printf("the %s in the configuration", key);
                return where ? take_secret(secret->text, strlen(secret->text), where, ret_secret, ret_error)
                             : -ENOMEM;
        }
        if (secret->file) {
                where = text_printf("the %s_file %s", key, secret->file);
                return where ? read_secret(secret->file, where, true, ret_secret, ret_error) : -ENOMEM;
        }
        if (!credentials_directory) {
                text_set(ret_error,
                        "there is no %s: neither %s nor %s_file is configured, and there is no systemd "
                        "credential "
                        "%s ($CREDENTIALS_DIRECTORY is not set)",
                        key, key, key, name);
                return -ENOENT;
        }
        path = text_printf("%s/%s", credentials_directory, name);
        where = text_printf("the systemd credential %s", path ? path : "");
        if (!path || !where)
                return -ENOMEM;
        r = read_secret(path, where, false, ret_secret, ret_error);
        if (r == -ENOENT)
                text_set(ret_error,
                        "there is no %s: neither %s nor %s_file is configured, and there is no systemd "
                        "credential %s",
                        key, key, key, path);
        return r;
}
