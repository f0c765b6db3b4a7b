/* SPDX-License-Identifier: Apache-2.0 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "link-internal.h"
#include "util/clock.h"
#include "util/text.h"

/*
 * TLS, as far as it is ours: which files, which versions, and words for what goes wrong. libmosquitto does
 * the work and gives the reason only as log lines; why a certificate was not accepted is not even in these,
 * so it is asked of the OpenSSL that libmosquitto brought along.
 */

#define SYSTEM_CA_FOLDER "/etc/ssl/certs"

/* Where libmosquitto keeps quiet about which file it can't read, look before it does. */
static int check_file(
        const char *path, const char *what, bool folder_too, bool *ret_folder, char **ret_error)
{
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        struct stat status;
        int r = 0;

        if (fd < 0 || fstat(fd, &status) < 0)
                r = -errno;
        else if (!S_ISREG(status.st_mode) && !(folder_too && S_ISDIR(status.st_mode)))
                r = S_ISDIR(status.st_mode) ? -EISDIR : -EINVAL;
        if (r < 0) {
                text_set(ret_error, "cannot read the %s %s: %s", what, path, strerror(-r));
                return r;
        }
        *ret_folder = S_ISDIR(status.st_mode);
        return 0;
}

/* OpenSSL would ask the terminal for the passphrase of an encrypted key. */
static int on_passphrase(char *buffer, int size, int rwflag, void *userdata)
{
        (void) rwflag;
        (void) userdata;

        if (size > 0)
                *buffer = '\0';
        return 0;
}

int tls_setup(struct mosquitto *client, const ServerConfig *server, char **ret_error)
{
        bool ca_is_folder = false, ignored;
        const char *file = NULL, *folder = NULL;
        int r;

        if (!server->tls)
                return 0;
        if (server->ca && (r = check_file(server->ca, "CA file", true, &ca_is_folder, ret_error)) < 0)
                return r;
        if (server->cert &&
                (r = check_file(server->cert, "client certificate", false, &ignored, ret_error)) < 0)
                return r;
        if (server->key && (r = check_file(server->key, "client key", false, &ignored, ret_error)) < 0)
                return r;

        r = MOSQ_ERR_SUCCESS;
        if (server->ca && ca_is_folder)
                folder = server->ca;
        else if (server->ca)
                file = server->ca;
        else {
                r = mosquitto_int_option(client, MOSQ_OPT_TLS_USE_OS_CERTS, 1);
                /* A client certificate can't be given without some CA: the system's once more. */
                if (server->cert)
                        folder = SYSTEM_CA_FOLDER;
        }
        if (r == MOSQ_ERR_SUCCESS && (file || folder))
                r = mosquitto_tls_set(client, file, folder, server->cert, server->key, on_passphrase);
        /* 1: SSL_VERIFY_PEER. Names are verified unless told otherwise. */
        if (r == MOSQ_ERR_SUCCESS)
                r = mosquitto_tls_opts_set(client, 1, "tlsv1.2", NULL);
        if (r != MOSQ_ERR_SUCCESS) {
                text_set(ret_error, "cannot set TLS up: %s", mosquitto_strerror(r));
                return r == MOSQ_ERR_NOMEM ? -ENOMEM : -EINVAL;
        }
        return 0;
}

static long find_verdict(struct mosquitto *client)
{
        const void *ssl = mosquitto_ssl_get(client);
        long (*get)(const void *);

        *(void **) &get = dlsym(RTLD_DEFAULT, "SSL_get_verify_result");
        return ssl && get ? get(ssl) : 0;
}

void tls_note(TlsTrouble *trouble, struct mosquitto *client, int level, const char *line)
{
        size_t size = strlen(trouble->lines);

        /* Other levels name topics, which may have a pass in them. */
        if (level != MOSQ_LOG_ERR)
                return;
        snprintf(trouble->lines + size, sizeof(trouble->lines) - size, "%s\n", line);
        if (trouble->verdict == 0)
                trouble->verdict = find_verdict(client);
}

/* X509_V_ERR_…, as in openssl-verification-options(1). */
static char *explain_verdict(long verdict, const char *host)
{
        const char *(*describe)(long);
        char today[32] = "?";
        time_t now = (time_t) (clock_realtime_usec() / USEC_PER_SEC);
        struct tm tm;

        if (gmtime_r(&now, &tm))
                strftime(today, sizeof(today), "%Y-%m-%d", &tm);
        switch (verdict) {
        case 9: /* not yet valid */
                return text_printf(
                        "the certificate of %s is not valid yet, or the clock here is wrong (it says "
                        "%s)",
                        host, today);
        case 10: /* has expired */
                return text_printf(
                        "the certificate of %s has expired, or the clock here is wrong (it says %s)", host,
                        today);
        case 18: /* self-signed */
                return text_printf("the certificate of %s is self-signed, by no authority that is trusted "
                                   "here: if it is yours, name it in server.tls.ca",
                        host);
        case 2:  /* issuer not found */
        case 19: /* self-signed in chain */
        case 20: /* issuer not found here */
        case 21: /* can't verify the first */
                return text_printf("the certificate of %s comes from an unknown authority: if it is yours, "
                                   "name its certificate in server.tls.ca",
                        host);
        case 62: /* host name */
        case 64: /* address */
                return text_printf("the certificate of %s is not for this name: check server.host", host);
        default:
                *(void **) &describe = dlsym(RTLD_DEFAULT, "X509_verify_cert_error_string");
                return text_printf("the certificate of %s is not accepted: %s", host,
                        describe ? describe(verdict) : "verification failed");
        }
}

char *tls_explain(const TlsTrouble *trouble, const ServerConfig *server)
{
        /* What stands in a log line, and a sentence with the host or a file in it. */
        const struct {
                const char *sign, *sentence, *subject;
        } known[] = {
                {"host name verification failed",
                        "the certificate of %s is for another name: check server.host", server->host},
                {"load CA certificates", "the CA file %s holds no certificate that can be used", server->ca},
                {"load client certificate", "the client certificate %s can't be used: it is no PEM file",
                        server->cert},
                {"key values mismatch", "the client key %s does not belong to the client certificate",
                        server->key},
                {"load client key",
                        "the client key %s can't be used: it is no PEM file, or it needs a "
                        "passphrase, which plugd can't be given",
                        server->key},
                {"wrong version number",
                        "%s does not speak TLS on this port: check server.port, or set "
                        "server.tls = false if it shall be without",
                        server->host},
                {"certificate required",
                        "%s asks for a client certificate: set server.tls.cert and server.tls.key",
                        server->host},
                {"alert protocol version", "%s speaks no TLS of version 1.2 or newer", server->host},
                {"unsupported protocol", "%s speaks no TLS of version 1.2 or newer", server->host},
                {"alert handshake failure",
                        "%s ended the TLS handshake: it may ask for a client certificate "
                        "(server.tls.cert), or there is no cipher in common",
                        server->host},
                {"alert bad certificate", "%s does not accept the client certificate", server->host},
                {"alert unsupported certificate", "%s does not accept the client certificate", server->host},
                {"alert certificate",
                        "%s does not accept the client certificate: unknown, expired or revoked",
                        server->host},
                {"alert unknown ca", "%s does not know the authority of the client certificate",
                        server->host},
        };
        const char *reason, *end;

        /* A peer that hangs up without TLS's goodbye has no reason to give. */
        if (!server->tls || trouble->lines[0] == '\0' || strstr(trouble->lines, "unexpected eof"))
                return NULL;
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (strstr(trouble->lines, known[i].sign)) {
                        const char *subject = known[i].subject ? known[i].subject : "";
                        const char *percent = strstr(known[i].sentence, "%s");

                        return text_printf("%.*s%s%s", (int) (percent - known[i].sentence),
                                known[i].sentence, subject, percent + 2);
                }
        if (strstr(trouble->lines, "certificate verify failed"))
                return explain_verdict(trouble->verdict, server->host);
        /* "OpenSSL Error[0]: error:0A00018E:SSL routines::ca md too weak": the end of the line says it. */
        reason = strstr(trouble->lines, "OpenSSL Error");
        reason = reason ? reason : trouble->lines;
        end = strchrnul(reason, '\n');
        for (const char *colon = reason; (colon = memchr(colon, ':', (size_t) (end - colon)));)
                reason = ++colon;
        return text_printf("TLS with %s failed: %.*s", server->host, (int) (end - reason), reason);
}
