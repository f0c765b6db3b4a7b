/* SPDX-License-Identifier: Apache-2.0 */

/* TLS: what is let in, what is not, and the words for it. The server is `openssl s_server`, fed with a
 * CONNACK; the certificates are made anew each time. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "link.h"
#include "util/clock.h"
#include "util/file.h"
#include "util/text.h"

extern char **environ;

static char folder[] = "/tmp/test-link-tls-XXXXXX";

/* In the folder, with what the commands wrote in a log. */
static void shell(const char *command)
{
        _cleanup_(freep) char *whole = text_printf("cd %s && exec 2>>log >>log && %s", folder, command);
        int status = system(whole);

        if (status != 0)
                fail_msg("%s: status %d, see %s/log", command, status, folder);
}

static const char *path(const char *name)
{
        static char *paths[256];
        static unsigned next;
        char **slot = &paths[next++ % ELEMENTSOF(paths)];

        text_set(slot, "%s/%s", folder, name);
        return *slot;
}

#define KEY "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "

static int make_certificates(void **state _unused_)
{
        assert_non_null(mkdtemp(folder));
        shell(KEY "ca.key");
        shell("openssl req -x509 -new -key ca.key -subj /CN=test-ca -days 30 -out ca.pem");
        shell(KEY "other.key");
        shell("openssl req -x509 -new -key other.key -subj /CN=other-ca -days 30 -out other.pem");
        shell("printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' >good.ext");
        shell("printf 'subjectAltName=DNS:elsewhere.test\\n' >wrong.ext");
        shell(KEY "server.key");
        shell("openssl req -new -key server.key -subj /CN=server -out server.csr");
        shell("openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile "
              "good.ext -out good.pem");
        shell("openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile "
              "wrong.ext -out wrong.pem");
        /* Newer ones of `openssl x509` make no certificate that ends before it begins. */
        shell("printf '%s\\n' '[ca]' default_ca=ca database=index.txt new_certs_dir=. rand_serial=yes "
              "default_md=sha256 policy=any '[any]' commonName=supplied >ca.conf && : >index.txt");
        shell("openssl ca -batch -notext -config ca.conf -cert ca.pem -keyfile ca.key -extfile good.ext "
              "-startdate 20200101000000Z -enddate 20200102000000Z -in server.csr -out expired.pem");
        shell("openssl req -x509 -new -key server.key -subj /CN=localhost -days 30 -addext "
              "subjectAltName=DNS:localhost -out self.pem");
        shell(KEY "client.key");
        shell("openssl req -new -key client.key -subj /CN=client -out client.csr");
        shell("openssl x509 -req -in client.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -out "
              "client.pem");
        shell("openssl x509 -req -in client.csr -CA other.pem -CAkey other.key -CAcreateserial -days 30 "
              "-out "
              "stranger.pem");
        shell("openssl pkcs8 -topk8 -in client.key -passout pass:x -out locked.key");
        shell("mkdir hashed && cp ca.pem hashed/ && openssl rehash hashed");
        shell("echo nonsense >nonsense.pem && touch secret.pem && chmod 0 secret.pem");
        return 0;
}

static int remove_certificates(void **state _unused_)
{
        _cleanup_(freep) char *command = text_printf("rm -r %s", folder);

        return system(command);
}

/* --- the server ------------------------------------------------------------------------------------------
 */

typedef struct Server {
        pid_t pid;
        int input; /* what goes in here goes to the client */
        uint16_t port;
} Server;

static bool listens(uint16_t port)
{
        struct sockaddr_in address = {
                .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
        int yes = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        bool taken;

        (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
        taken = bind(fd, (struct sockaddr *) &address, sizeof(address)) < 0 && errno == EADDRINUSE;
        close(fd);
        return taken;
}

static uint16_t free_port(void)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(address);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &address, &size), 0);
        close(fd);
        return ntohs(address.sin_port);
}

static void server_start(Server *server, const char *certificate, const char *const *options)
{
        char accept[32];
        const char *argv[32] = {"openssl", "s_server", "-quiet", "-naccept", "1", "-accept", accept, "-cert",
                path(certificate), "-key", path("server.key")};
        size_t n = 11;
        int pipe_fds[2], r;
        posix_spawn_file_actions_t actions;

        server->port = free_port();
        snprintf(accept, sizeof(accept), "127.0.0.1:%u", server->port);
        while (options && *options)
                argv[n++] = *options++;
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, pipe_fds[0], 0);
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_addopen(&actions, 2, path("log"), O_WRONLY | O_APPEND | O_CREAT, 0600);
        r = posix_spawnp(&server->pid, "openssl", &actions, NULL, (char **) argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        assert_int_equal(r, 0);
        close(pipe_fds[0]);
        server->input = pipe_fds[1];
        for (unsigned i = 0; i < 500 && !listens(server->port); i++)
                usleep(10000);
        assert_true(listens(server->port));
        assert_int_equal(write(server->input, "\x20\x02\x00\x00", 4), 4);
}

static void server_stop(Server *server)
{
        close(server->input);
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
}

/* --- the client ------------------------------------------------------------------------------------------
 */

typedef struct Outcome {
        bool up, ended;
        LinkEnd end;
        char text[512];
} Outcome;

static int on_profile(LinkProfile *ret, void *userdata _unused_)
{
        *ret = (LinkProfile){.client_id = "hwid", .user = "dev-1", .password = "secret"};
        return 0;
}

static void on_up(void *userdata)
{
        ((Outcome *) userdata)->up = true;
}

static void on_end(LinkEnd end, const char *text, uint64_t retry_usec _unused_, void *userdata)
{
        Outcome *outcome = userdata;

        outcome->ended = true;
        outcome->end = end;
        snprintf(outcome->text, sizeof(outcome->text), "%s", text);
}

static void try(const ServerConfig *config, Outcome *outcome)
{
        static const LinkHandler handler = {.on_profile = on_profile, .on_up = on_up, .on_end = on_end};
        uint64_t until = clock_monotonic_usec() + 15 * USEC_PER_SEC;
        sd_event *event = NULL;
        Link *link = NULL;

        *outcome = (Outcome){0};
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(link_new(&link, event, config), 0);
        link_open(link, &handler, outcome);
        while (!outcome->up && !outcome->ended && clock_monotonic_usec() < until)
                (void) sd_event_run(event, 100 * USEC_PER_MSEC);
        link_free(link);
        sd_event_unref(event);
}

/* words: what the sentence has in it; NULL: it comes up. */
static void expect(
        const char *certificate, const char *const *options, ServerConfig config, const char *words)
{
        Outcome outcome;
        Server server;

        server_start(&server, certificate, options);
        if (!config.host)
                config.host = (char *) "localhost";
        config.port = server.port;
        config.tls = true;
        config.keepalive_sec = 240;
        try(&config, &outcome);
        server_stop(&server);
        if (!words && !outcome.up)
                fail_msg("did not come up: %s", outcome.text);
        if (words && (outcome.up || !strstr(outcome.text, words)))
                fail_msg("\"%s\" is not in \"%s\"", words, outcome.text);
        if (words)
                assert_int_equal(outcome.end, LINK_END_OUTAGE);
        assert_null(strstr(outcome.text, "secret\""));
}

#define CONFIG(...)                                                                                         \
        (ServerConfig)                                                                                      \
        {                                                                                                   \
                __VA_ARGS__                                                                                 \
        }
#define FILE_(name) ((char *) path(name))

static void test_verified(void **state _unused_)
{
        expect("good.pem", NULL, CONFIG(.ca = FILE_("ca.pem")), NULL);
        expect("good.pem", NULL, CONFIG(.ca = FILE_("ca.pem"), .host = (char *) "127.0.0.1"), NULL);
        expect("good.pem", NULL, CONFIG(.ca = FILE_("hashed")), NULL); /* a folder */
}

static void test_system_store(void **state _unused_)
{
        expect("good.pem", NULL, CONFIG(.host = NULL), "unknown authority");
        setenv("SSL_CERT_FILE", path("ca.pem"), 1);
        expect("good.pem", NULL, CONFIG(.host = NULL), NULL);
        /* With a client certificate too. */
        expect("good.pem", (const char *[]){"-Verify", "1", "-CAfile", path("ca.pem"), NULL},
                CONFIG(.cert = FILE_("client.pem"), .key = FILE_("client.key")), NULL);
        unsetenv("SSL_CERT_FILE");
}

static void test_certificates(void **state _unused_)
{
        expect("good.pem", NULL, CONFIG(.ca = FILE_("other.pem")), "unknown authority");
        expect("self.pem", NULL, CONFIG(.ca = FILE_("ca.pem")), "self-signed");
        expect("expired.pem", NULL, CONFIG(.ca = FILE_("ca.pem")),
                "has expired, or the clock here is wrong");
        expect("wrong.pem", NULL, CONFIG(.ca = FILE_("ca.pem")), "for another name");
        expect("good.pem", NULL, CONFIG(.ca = FILE_("ca.pem"), .host = (char *) "127.0.0.2"), "127.0.0.2");
}

static void test_versions(void **state _unused_)
{
        /* Old versions are only to be had at security level 0. */
        static const char *const old[] = {"-tls1_1", "-cipher", "DEFAULT@SECLEVEL=0", NULL};

        expect("good.pem", (const char *[]){"-tls1_2", NULL}, CONFIG(.ca = FILE_("ca.pem")), NULL);
        expect("good.pem", (const char *[]){"-tls1_3", NULL}, CONFIG(.ca = FILE_("ca.pem")), NULL);
        expect("good.pem", old, CONFIG(.ca = FILE_("ca.pem")), "no TLS of version 1.2 or newer");
}

static void test_client_certificate(void **state _unused_)
{
        const char *const must[] = {"-Verify", "1", "-verify_return_error", "-CAfile", path("ca.pem"), NULL};
        const char *const must_1_2[] = {
                "-tls1_2", "-Verify", "1", "-verify_return_error", "-CAfile", path("ca.pem"), NULL};

        expect("good.pem", must,
                CONFIG(.ca = FILE_("ca.pem"), .cert = FILE_("client.pem"), .key = FILE_("client.key")),
                NULL);
        expect("good.pem", must, CONFIG(.ca = FILE_("ca.pem")), "asks for a client certificate");
        expect("good.pem", must_1_2, CONFIG(.ca = FILE_("ca.pem")), "ask for a client certificate");
        expect("good.pem", must,
                CONFIG(.ca = FILE_("ca.pem"), .cert = FILE_("stranger.pem"), .key = FILE_("client.key")),
                "client certificate");
}

static void test_files(void **state _unused_)
{
        const ServerConfig base = {
                .ca = FILE_("ca.pem"), .cert = FILE_("client.pem"), .key = FILE_("client.key")};
        ServerConfig config;

#define WITH(member, name, words)                                                                           \
        config = base;                                                                                      \
        config.member = FILE_(name);                                                                        \
        expect("good.pem", NULL, config, words)
        WITH(ca, "absent.pem", "absent.pem: No such file");
        WITH(cert, "absent.pem", "absent.pem: No such file");
        WITH(key, "absent.key", "absent.key: No such file");
        WITH(cert, "hashed", "hashed: Is a directory");
        WITH(ca, "nonsense.pem", "nonsense.pem holds no certificate");
        WITH(cert, "nonsense.pem", "nonsense.pem can't be used");
        WITH(key, "nonsense.pem", "nonsense.pem can't be used");
        WITH(key, "locked.key", "passphrase");
        WITH(key, "server.key", "does not belong to the client certificate");
        if (geteuid() != 0) {
                WITH(ca, "secret.pem", "secret.pem: Permission denied");
        }
#undef WITH
}

/* The other end hangs up without a word, once the connection is up. */
static void test_lost(void **state _unused_)
{
        static const LinkHandler handler = {.on_profile = on_profile, .on_up = on_up, .on_end = on_end};
        ServerConfig config = {
                .host = (char *) "localhost", .tls = true, .ca = FILE_("ca.pem"), .keepalive_sec = 240};
        uint64_t until = clock_monotonic_usec() + 15 * USEC_PER_SEC;
        sd_event *event = NULL;
        Outcome outcome = {0};
        Link *link = NULL;
        Server server;

        server_start(&server, "good.pem", NULL);
        config.port = server.port;
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(link_new(&link, event, &config), 0);
        link_open(link, &handler, &outcome);
        while (!outcome.up && !outcome.ended && clock_monotonic_usec() < until)
                (void) sd_event_run(event, 100 * USEC_PER_MSEC);
        assert_true(outcome.up);
        server_stop(&server);
        while (!outcome.ended && clock_monotonic_usec() < until)
                (void) sd_event_run(event, 100 * USEC_PER_MSEC);
        /* Which of the two depends on what the killed server's kernel still held for it. */
        assert_true(strstr(outcome.text, "localhost closed the connection") ||
                    strstr(outcome.text, "localhost reset the connection"));
        assert_int_equal(link_publish(link, "a", "b", 1), -ENOTCONN);
        link_free(link);
        sd_event_unref(event);
}

/* A client that speaks TLS to a server that doesn't. */
static void test_plain_server(void **state _unused_)
{
        ServerConfig config = {.host = (char *) "127.0.0.1", .tls = true, .keepalive_sec = 240};
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t size = sizeof(address);
        Outcome outcome;
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        pid_t child;

        assert_int_equal(bind(fd, (struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(fd, 1), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *) &address, &size), 0);
        config.port = ntohs(address.sin_port);
        child = fork();
        if (child == 0) {
                char scrap[4096];
                int client = accept(fd, NULL, NULL);

                (void) !read(client, scrap, sizeof(scrap));
                (void) !write(client, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
                (void) !read(client, scrap, sizeof(scrap));
                _exit(0);
        }
        close(fd);
        try(&config, &outcome);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        assert_true(outcome.ended);
        assert_non_null(strstr(outcome.text, "does not speak TLS on this port"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_verified),
                cmocka_unit_test(test_system_store),
                cmocka_unit_test(test_certificates),
                cmocka_unit_test(test_versions),
                cmocka_unit_test(test_client_certificate),
                cmocka_unit_test(test_files),
                cmocka_unit_test(test_lost),
                cmocka_unit_test(test_plain_server),
        };

        return cmocka_run_group_tests_name("link-tls", tests, make_certificates, remove_certificates);
}
