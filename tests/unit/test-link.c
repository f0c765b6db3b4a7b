/* SPDX-License-Identifier: Apache-2.0 */

/* The link against a scripted server: what goes over the wire, what is said when it goes wrong, and when it
 * is tried again. TLS has a test of its own, and so have peers that keep silent. */

#include "link-fixture.h"

#include <fcntl.h>
#include <netinet/tcp.h>

#include "util/backoff.h"

/* --- backing off -----------------------------------------------------------------------------------------
 */

static void test_backoff(void **state _unused_)
{
        Backoff backoff = {.first_usec = USEC_PER_SEC, .max_usec = 120 * USEC_PER_SEC};
        uint64_t first = 0, other = 0;

        for (uint64_t nominal = 1; nominal <= 64; nominal *= 2)
                check_interval(backoff_next(&backoff), nominal);
        for (unsigned i = 0; i < 100; i++)
                assert_in_range(backoff_next(&backoff), 96 * USEC_PER_SEC, 120 * USEC_PER_SEC);
        check_interval(backoff_next_limited(&backoff, 3 * USEC_PER_SEC), 3);
        check_interval(backoff_next(&backoff), 6);
        check_interval(backoff_next_limited(&backoff, 1), 1);
        backoff_reset(&backoff);
        first = backoff_next(&backoff);
        check_interval(first, 1);
        for (unsigned i = 0; i < 100 && (other == 0 || other == first); i++) {
                backoff_reset(&backoff);
                other = backoff_next(&backoff);
        }
        assert_int_not_equal(first, other);
}

/* --- CONNECT ---------------------------------------------------------------------------------------------
 */

static uint8_t connect_body[512];
static size_t connect_size;

static void keep_connect(Peer *peer _unused_, uint8_t type, const uint8_t *body, size_t size, void *userdata)
{
        (void) userdata;
        if (type == CONNECT) {
                assert_true(size <= sizeof(connect_body));
                memcpy(connect_body, body, size);
                connect_size = size;
        }
}

static void test_connect_with_empty_login(void **state)
{
        /* MQTT, 4, user name and password and clean session, 240 s, the client id, and two empty strings */
        static const uint8_t expected[] = {
                0, 4, 'M', 'Q', 'T', 'T', 4, 0xc2, 0, 240, 0, 2, 'h', 'w', 0, 0, 0, 0};
        Fixture *f = *state;

        f->peer.on_packet = keep_connect;
        f->profile = (LinkProfile){.client_id = "hw", .user = "", .password = ""};
        bring_up(f);
        assert_int_equal(connect_size, sizeof(expected));
        assert_memory_equal(connect_body, expected, sizeof(expected));
        assert_int_equal(f->peer.n_connects, 1);
}

static void test_connect_with_will(void **state)
{
        Fixture *f = *state;
        size_t at = 10;
        char *texts[5];
        const char *expected[5] = {"hwid/name", "dev-1/data/status", "{\"data\":1}", "dev-1", "secret"};

        f->peer.on_packet = keep_connect;
        f->profile.will_topic = "dev-1/data/status";
        f->profile.will_payload = "{\"data\":1}";
        f->profile.will_size = strlen("{\"data\":1}");
        bring_up(f);
        /* name, password, will of QoS 0 that isn't retained, clean session */
        assert_int_equal(connect_body[7], 0xc6);
        for (size_t i = 0; i < 5; i++) {
                texts[i] = peer_string(connect_body, connect_size, &at);
                assert_string_equal(texts[i], expected[i]);
                free(texts[i]);
        }
        assert_int_equal(at, connect_size);
}

/* --- traffic ---------------------------------------------------------------------------------------------
 */

typedef struct Seen {
        unsigned publishes, subscribes, unsubscribes;
        char topic[64], payload[64];
} Seen;
static Seen seen;

static void serve(Peer *peer, uint8_t type, const uint8_t *body, size_t size, void *userdata)
{
        size_t at = type == PUBLISH ? 0 : 2;
        char *topic;

        (void) userdata;
        if (type != PUBLISH && type != SUBSCRIBE && type != UNSUBSCRIBE)
                return;
        topic = peer_string(body, size, &at);
        assert_non_null(topic);
        snprintf(seen.topic, sizeof(seen.topic), "%s", topic ? topic : "");
        free(topic);
        switch (type) {
        case PUBLISH:
                seen.publishes++;
                snprintf(seen.payload, sizeof(seen.payload), "%.*s", (int) (size - at),
                        (const char *) body + at);
                break;
        case SUBSCRIBE:
                seen.subscribes++;
                assert_int_equal(body[size - 1], 0); /* QoS */
                peer_suback(peer, body, strcmp(seen.topic, "denied") == 0 ? 0x80 : 0);
                break;
        default:
                seen.unsubscribes++;
                peer_unsuback(peer, body);
        }
}

static void test_traffic(void **state)
{
        Fixture *f = *state;
        int mid = 0, second = 0;

        seen = (Seen){0};
        f->peer.on_packet = serve;
        assert_int_equal(link_publish(f->link, "a", "b", 1), -ENOTCONN);
        assert_int_equal(link_subscribe(f->link, "a", &mid), -ENOTCONN);
        assert_int_equal(link_unsubscribe(f->link, "a", &mid), -ENOTCONN);
        assert_int_equal(link_up_since_usec(f->link), 0);
        assert_false(link_congested(f->link));
        bring_up(f);
        assert_in_range(link_up_since_usec(f->link), clock_realtime_usec() - 5 * USEC_PER_SEC,
                clock_realtime_usec());

        assert_int_equal(link_publish(f->link, "dev-1/data/x", "{}", 2), 0);
        assert_true(WAIT_FOR(f->event, 5, seen.publishes == 1));
        assert_string_equal(seen.topic, "dev-1/data/x");
        assert_string_equal(seen.payload, "{}");

        assert_int_equal(link_subscribe(f->link, "granted", &mid), 0);
        assert_true(WAIT_FOR(f->event, 5, f->subacks == 1));
        assert_int_equal(f->mid, mid);
        assert_true(f->granted);
        assert_int_equal(link_subscribe(f->link, "denied", &second), 0);
        assert_true(WAIT_FOR(f->event, 5, f->subacks == 2));
        assert_int_equal(f->mid, second);
        assert_false(f->granted);

        assert_int_equal(link_unsubscribe(f->link, "nobody", &mid), 0);
        assert_true(WAIT_FOR(f->event, 5, f->unsubacks == 1));
        assert_int_equal(f->mid, mid);

        peer_publish(&f->peer, "some/topic", "hello");
        assert_true(WAIT_FOR(f->event, 5, f->messages == 1));
        assert_string_equal(f->topic, "some/topic");
        assert_string_equal(f->payload, "hello");
        peer_publish(&f->peer, "some/topic", "");
        assert_true(WAIT_FOR(f->event, 5, f->messages == 2));
        assert_string_equal(f->payload, "");

        /* What can't be carried is the caller's fault, and nobody else's. */
        assert_int_equal(link_publish(f->link, "wild/#", "", 0), -EINVAL);
        assert_int_equal(link_publish(f->link, "wild/+/card", "", 0), -EINVAL);
        assert_int_equal(link_publish(f->link, "", "", 0), -EINVAL);
        assert_int_equal(link_publish(f->link, "\xff\xfe", "", 0), -EINVAL);
        assert_int_equal(link_publish(f->link, "a", "", 300 * 1024 * 1024), -EMSGSIZE);
        assert_int_equal(link_subscribe(f->link, "a#", &mid), -EINVAL);
        assert_int_equal(link_publish(f->link, "still/here", "", 0), 0);
        assert_true(WAIT_FOR(f->event, 5, seen.publishes == 2));
        assert_int_equal(f->ends, 0);
}

static void publish_back(Fixture *f)
{
        assert_int_equal(link_publish(f->link, "from/callback", f->payload, strlen(f->payload)), 0);
}

static void test_publish_from_callback(void **state)
{
        Fixture *f = *state;

        seen = (Seen){0};
        f->peer.on_packet = serve;
        f->in_message = publish_back;
        bring_up(f);
        peer_publish(&f->peer, "a", "ping");
        assert_true(WAIT_FOR(f->event, 5, seen.publishes == 1));
        assert_string_equal(seen.topic, "from/callback");
        assert_string_equal(seen.payload, "ping");
}

/* The options that the measurements ask for are on the socket. */
static void test_socket_options(void **state)
{
        Fixture *f = *state;
        struct sockaddr_in other;
        bool found = false;

        bring_up(f);
        for (int fd = 3; fd < 64; fd++) {
                socklen_t size = sizeof(other), four = sizeof(int);
                int nodelay = 0, silence = 0, buffer = 0;

                if (getpeername(fd, (struct sockaddr *) &other, &size) < 0 || other.sin_family != AF_INET ||
                        ntohs(other.sin_port) != f->peer.port)
                        continue;
                found = true;
                assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
                assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &nodelay, &four), 0);
                assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence, &four), 0);
                assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, &four), 0);
                assert_int_not_equal(nodelay, 0);
                assert_int_equal(silence, 20000);
                assert_in_range(buffer, 1, 256 * 1024);
        }
        assert_true(found);
}

#define FLOOD_SIZE 1000

static void test_congestion(void **state)
{
        Fixture *f = *state;
        char payload[FLOOD_SIZE];
        unsigned n = 0;

        memset(payload, 'x', sizeof(payload));
        assert_false(link_drained(f->link));
        bring_up(f);
        assert_true(WAIT_FOR(f->event, 5, link_drained(f->link)));
        peer_read(&f->peer, false);
        /* The peer's kernel takes some megabytes, then it stays that way. */
        do {
                f->writables = 0;
                while (!link_congested(f->link)) {
                        assert_int_equal(link_publish(f->link, "flood", payload, sizeof(payload)), 0);
                        assert_true(++n < 50000);
                }
        } while (WAIT_FOR(f->event, 0.3, f->writables > 0));
        assert_true(link_congested(f->link));
        assert_false(link_drained(f->link));
        assert_int_equal(f->ends, 0);
        link_cork(f->link, true);
        link_cork(f->link, false);
        peer_read(&f->peer, true);
        assert_true(WAIT_FOR(f->event, 10, f->writables > 0));
        assert_false(link_congested(f->link));
        assert_true(WAIT_FOR(f->event, 10, f->peer.n_publishes == n));
        assert_true(WAIT_FOR(f->event, 5, link_drained(f->link)));
        assert_int_equal(f->ends, 0);
        /* Held back in our kernel. */
        link_cork(f->link, true);
        assert_int_equal(link_publish(f->link, "small", "1", 1), 0);
        assert_false(link_congested(f->link));
        assert_false(link_drained(f->link));
        link_cork(f->link, false);
        assert_true(WAIT_FOR(f->event, 5, link_drained(f->link)));
}

static void test_close_while_congested(void **state)
{
        Fixture *f = *state;
        static const char payload[FLOOD_SIZE];
        uint64_t begin;

        bring_up(f);
        peer_read(&f->peer, false);
        while (!link_congested(f->link))
                assert_int_equal(link_publish(f->link, "flood", payload, sizeof(payload)), 0);
        begin = clock_monotonic_usec();
        link_close(f->link);
        assert_in_range(clock_monotonic_usec() - begin, 0, 500 * USEC_PER_MSEC);
        assert_int_equal(link_state(f->link), LINK_CLOSED);
        assert_int_equal(f->ends, 0);
}

/* --- how it ends -----------------------------------------------------------------------------------------
 */

static void test_close_is_polite(void **state)
{
        Fixture *f = *state;

        bring_up(f);
        /* Something unread when the socket closes would make the kernel reset the connection. */
        peer_publish(&f->peer, "unread", "unread");
        link_close(f->link);
        assert_int_equal(link_state(f->link), LINK_CLOSED);
        assert_true(WAIT_FOR(f->event, 5, f->peer.ended == 1));
        assert_int_equal(f->peer.n_disconnects, 1);
        assert_false(f->peer.reset);
        /* Nothing comes back. */
        assert_false(WAIT_FOR(f->event, 1.5, f->peer.accepted > 1));
        assert_int_equal(f->ends + f->messages, 0);
}

static void test_fail_is_not(void **state)
{
        Fixture *f = *state;
        char expected[128];

        link_fail(f->link, "nothing is up");
        bring_up(f);
        link_fail(f->link, "it did not answer");
        assert_int_equal(f->ends, 1);
        assert_int_equal(f->end, LINK_END_OUTAGE);
        snprintf(expected, sizeof(expected), "127.0.0.1:%u: it did not answer", f->peer.port);
        assert_string_equal(f->text, expected);
        check_interval(f->retry_usec, 1);
        assert_int_equal(link_state(f->link), LINK_WAITING);
        assert_int_equal(link_publish(f->link, "a", "b", 1), -ENOTCONN);
        assert_int_equal(link_up_since_usec(f->link), 0);
        assert_true(WAIT_FOR(f->event, 5, f->peer.ended == 1));
        assert_int_equal(f->peer.n_disconnects, 0);
        assert_true(WAIT_FOR(f->event, 5, f->ups == 2));
}

static void test_comes_back(void **state)
{
        Fixture *f = *state;
        uint64_t lost;

        bring_up(f);
        peer_drop(&f->peer, false);
        assert_true(WAIT_FOR(f->event, 5, f->ends == 1));
        assert_non_null(strstr(f->text, "closed the connection"));
        assert_int_equal(f->end, LINK_END_OUTAGE);
        check_interval(f->retry_usec, 1);
        lost = clock_monotonic_usec();
        assert_true(WAIT_FOR(f->event, 5, f->ups == 2));
        assert_in_range(clock_monotonic_usec() - lost, f->retry_usec - 1000, f->retry_usec + USEC_PER_SEC);

        peer_drop(&f->peer, true);
        assert_true(WAIT_FOR(f->event, 5, f->ends == 2));
        assert_non_null(strstr(f->text, "reset the connection"));
        /* It had answered nothing: that is no health. */
        check_interval(f->retry_usec, 2);
}

/* Noticed by a publish, told by the loop. */
static void test_publish_into_reset(void **state)
{
        Fixture *f = *state;
        int r = 0;

        bring_up(f);
        peer_drop(&f->peer, true);
        for (unsigned i = 0; i < 10 && r == 0; i++)
                r = link_publish(f->link, "a", "b", 1);
        assert_int_equal(r, -ENOTCONN);
        assert_int_equal(link_publish(f->link, "a", "b", 1), -ENOTCONN);
        assert_int_equal(f->ends, 0);
        assert_true(WAIT_FOR(f->event, 5, f->ends == 1));
        assert_non_null(strstr(f->text, "reset the connection"));
        assert_int_equal(link_state(f->link), LINK_WAITING);
}

static void test_reconnect(void **state)
{
        Fixture *f = *state;

        link_reconnect(f->link);
        assert_int_equal(link_state(f->link), LINK_CLOSED);
        bring_up(f);
        link_reconnect(f->link);
        assert_int_equal(f->ends, 1);
        assert_int_equal(f->retry_usec, 0);
        assert_true(WAIT_FOR(f->event, 0.7, f->ups == 2)); /* no back-off */
        assert_int_equal(f->peer.n_disconnects, 1);
        /* And it ends a wait. */
        link_fail(f->link, "x");
        link_fail(f->link, "not up any more");
        assert_int_equal(f->ends, 2);
        assert_int_equal(link_state(f->link), LINK_WAITING);
        link_reconnect(f->link);
        assert_true(WAIT_FOR(f->event, 0.7, f->ups == 3));
        assert_int_equal(f->ends, 2);
        assert_int_equal(link_connections(f->link), 3);
}

static void close_and_open(Fixture *f)
{
        link_close(f->link);
        assert_int_equal(link_state(f->link), LINK_CLOSED);
        link_open(f->link, &handler, f);
        f->in_message = NULL;
        f->in_end = NULL;
}

static void test_close_and_open_in_callback(void **state)
{
        Fixture *f = *state;

        f->in_message = close_and_open;
        bring_up(f);
        peer_publish(&f->peer, "a", "1");
        assert_true(WAIT_FOR(f->event, 5, f->ups == 2));
        assert_int_equal(f->messages, 1);
        assert_int_equal(f->ends, 0);
        assert_int_equal(f->peer.n_disconnects, 1);

        f->in_end = close_and_open;
        peer_drop(&f->peer, false);
        assert_true(WAIT_FOR(f->event, 5, f->ends == 1));
        assert_true(WAIT_FOR(f->event, 0.7, f->ups == 3)); /* at once: the back-off begins anew */
}

static void fail_link(Fixture *f)
{
        f->in_message = NULL;
        link_fail(f->link, "in a callback");
}

static void test_fail_in_callback(void **state)
{
        Fixture *f = *state;

        f->in_message = fail_link;
        bring_up(f);
        peer_publish(&f->peer, "a", "1");
        peer_publish(&f->peer, "a", "2");
        assert_true(WAIT_FOR(f->event, 5, f->ends == 1));
        assert_true(WAIT_FOR(f->event, 5, f->ups == 2));
        assert_int_equal(f->messages, 1);
        assert_int_equal(f->peer.n_disconnects, 0);
}

/* --- failing to connect ----------------------------------------------------------------------------------
 */

static void reconnect(Fixture *f)
{
        link_reconnect(f->link);
}

static void test_connack(void **state)
{
        static const struct {
                int code;
                LinkEnd end;
                uint64_t sec;
                const char *words;
        } cases[] = {
                {1, LINK_END_REFUSED, 5, "MQTT 3.1.1"},
                {2, LINK_END_REFUSED, 5, "client id"},
                {3, LINK_END_OUTAGE, 1, "not available"},
                {4, LINK_END_REFUSED, 5, "user name or password"},
                {5, LINK_END_REFUSED, 5, "not authorised"},
                {77, LINK_END_REFUSED, 5, "77"},
        };
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                f->ends = 0;
                f->peer.connack = cases[i].code;
                link_open(f->link, &handler, f);
                assert_int_equal(link_state(f->link), LINK_CONNECTING);
                assert_true(WAIT_FOR(f->event, 5, f->ends == 1));
                assert_int_equal(f->end, cases[i].end);
                assert_non_null(strstr(f->text, cases[i].words));
                assert_non_null(strstr(f->text, "127.0.0.1"));
                assert_null(strstr(f->text, "secret"));
                check_interval(f->retry_usec, cases[i].sec);
                assert_int_equal(link_state(f->link), LINK_WAITING);
        }
        assert_int_equal(f->ups, 0);
}

/* 5 s doubling to 10 min, while every attempt is refused. */
static void test_refusals_back_off(void **state)
{
        Fixture *f = *state;
        unsigned ends = 0;

        f->peer.connack = 5;
        link_open(f->link, &handler, f);
        for (uint64_t nominal = 5; nominal <= 320; nominal *= 2) {
                assert_true(WAIT_FOR(f->event, 5, f->ends == ends + 1));
                ends = f->ends;
                check_interval(f->retry_usec, nominal);
                reconnect(f);
        }
        assert_true(WAIT_FOR(f->event, 5, f->ends == ends + 1));
        assert_in_range(f->retry_usec, 480 * USEC_PER_SEC, 600 * USEC_PER_SEC);
        /* Being let in ends that. */
        f->peer.connack = 0;
        reconnect(f);
        assert_true(WAIT_FOR(f->event, 5, f->ups == 1));
        f->peer.connack = 5;
        reconnect(f);
        assert_true(WAIT_FOR(f->event, 5, f->ends == ends + 3));
        check_interval(f->retry_usec, 5);
}

/* A server that takes logins and drops them at once is not hammered: 1 s doubling to 2 min. */
static void drop_after_connack(Peer *peer, uint8_t type, const uint8_t *body _unused_, size_t size _unused_,
        void *userdata _unused_)
{
        if (type == CONNECT)
                peer_drop(peer, false);
}

static void test_outages_back_off(void **state)
{
        Fixture *f = *state;
        unsigned ends = 0;

        f->peer.connack = 0;
        f->peer.on_packet = drop_after_connack;
        link_open(f->link, &handler, f);
        for (uint64_t nominal = 1; nominal <= 64; nominal *= 2) {
                assert_true(WAIT_FOR(f->event, 5, f->ends == ends + 1));
                ends = f->ends;
                assert_int_equal(f->end, LINK_END_OUTAGE);
                check_interval(f->retry_usec, nominal);
                reconnect(f);
        }
        assert_true(WAIT_FOR(f->event, 5, f->ends == ends + 1));
        assert_in_range(f->retry_usec, 96 * USEC_PER_SEC, 120 * USEC_PER_SEC);
        assert_true(f->ups > 0);
}

/* After a connection that worked, the wait is no longer than it had worked. */
static void test_worked_for_a_while(void **state)
{
        Fixture *f = *state;
        int mid;

        f->peer.on_packet = drop_after_connack;
        f->peer.connack = 0;
        link_open(f->link, &handler, f);
        for (unsigned n = 1; n <= 5; n++) {
                assert_true(WAIT_FOR(f->event, 5, f->ends == n));
                f->peer.on_packet = n < 5 ? drop_after_connack : serve;
                reconnect(f);
        }
        assert_true(WAIT_FOR(f->event, 5, link_state(f->link) == LINK_UP));
        assert_int_equal(link_unsubscribe(f->link, "nobody", &mid), 0);
        assert_true(WAIT_FOR(f->event, 5, f->unsubacks == 1));
        peer_drop(&f->peer, false);
        assert_true(WAIT_FOR(f->event, 5, f->ends == 6));
        check_interval(f->retry_usec, 1); /* not the 32 s that it would be */
}

static void expect_failure(Fixture *f, const char *words)
{
        f->ends = 0;
        link_open(f->link, &handler, f);
        assert_true(WAIT_FOR(f->event, 10, f->ends == 1));
        if (!strstr(f->text, words))
                fail_msg("\"%s\" is not in \"%s\"", words, f->text);
        assert_int_equal(f->end, LINK_END_OUTAGE);
        check_interval(f->retry_usec, 1);
        assert_int_equal(f->ups, 0);
}

static void send_garbage(Peer *peer, uint8_t type, const uint8_t *body _unused_, size_t size _unused_,
        void *userdata _unused_)
{
        static const char garbage[] =
                "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html; charset=utf-8\r\n"
                "Content-Length: 0\r\nConnection: close\r\n\r\n";

        if (type == CONNECT)
                peer_send(peer, garbage, strlen(garbage));
}

static void close_on_connect(Peer *peer, uint8_t type _unused_, const uint8_t *body _unused_,
        size_t size _unused_, void *userdata _unused_)
{
        peer_drop(peer, false);
}

static void reset_on_connect(Peer *peer, uint8_t type _unused_, const uint8_t *body _unused_,
        size_t size _unused_, void *userdata _unused_)
{
        peer_drop(peer, true);
}

static void test_failures_have_words(void **state)
{
        Fixture *f = *state;
        char words[64];

        f->peer.connack = -1;
        f->peer.on_packet = close_on_connect;
        expect_failure(f, "closed the connection before CONNACK");
        f->peer.on_packet = reset_on_connect;
        expect_failure(f, "reset the connection before CONNACK");
        f->peer.on_packet = send_garbage;
        expect_failure(f, "not MQTT");

        peer_deinit(&f->peer);
        snprintf(words, sizeof(words), "127.0.0.1:%u refused the connection", f->server.port);
        expect_failure(f, words);
        peer_init(&f->peer, f->event);
}

static void test_no_such_host(void **state)
{
        Fixture *f = *state;
        /* A label of more than 63 bytes never gets as far as a DNS server. */
        ServerConfig server = {
                .host = (char *) "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.test",
                .port = 1883,
                .keepalive_sec = 240};

        link_free(f->link);
        assert_int_equal(link_new(&f->link, f->event, &server), 0);
        expect_failure(f, "cannot resolve aaaa");
}

static void test_profile_fails(void **state)
{
        Fixture *f = *state;

        f->profile_result = -EACCES;
        expect_failure(f, "cannot log in");
        f->profile_result = 0;
        f->profile.client_id = "\xff";
        expect_failure(f, "client id");
        assert_int_equal(f->peer.accepted, 0);
}

/* Nothing is called back from link_open(). */
static void test_open_is_quiet(void **state)
{
        Fixture *f = *state;

        f->profile_result = -EACCES;
        link_open(f->link, &handler, f);
        assert_int_equal(f->ends, 0);
        link_open(f->link, &handler, f);
        link_close(f->link);
        assert_false(WAIT_FOR(f->event, 0.2, f->ends > 0));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_backoff),
                TEST(test_connect_with_empty_login),
                TEST(test_connect_with_will),
                TEST(test_traffic),
                TEST(test_publish_from_callback),
                TEST(test_socket_options),
                TEST(test_congestion),
                TEST(test_close_while_congested),
                TEST(test_close_is_polite),
                TEST(test_fail_is_not),
                TEST(test_comes_back),
                TEST(test_publish_into_reset),
                TEST(test_reconnect),
                TEST(test_close_and_open_in_callback),
                TEST(test_fail_in_callback),
                TEST(test_connack),
                TEST(test_refusals_back_off),
                TEST(test_outages_back_off),
                TEST(test_worked_for_a_while),
                TEST(test_failures_have_words),
                TEST(test_no_such_host),
                TEST(test_profile_fails),
                TEST(test_open_is_quiet),
        };

        return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
