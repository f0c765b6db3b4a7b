/* SPDX-License-Identifier: Apache-2.0 */

/* The link and peers that keep silent: before the login, after it, and those that only have nothing to say.
 */

#include "link-fixture.h"

#include <sys/resource.h>

#include "link-internal.h"

static double cpu_seconds(void)
{
        struct rusage usage;

        getrusage(RUSAGE_SELF, &usage);
        return (double) (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double) (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void test_stop_does_not_wait(void **state)
{
        Fixture *f = *state;
        uint64_t begin;

        f->peer.connack = -1;
        link_open(f->link, &handler, f);
        assert_true(WAIT_FOR(f->event, 5, f->peer.n_connects == 1));
        begin = clock_monotonic_usec();
        link_close(f->link);
        assert_in_range(clock_monotonic_usec() - begin, 0, 200 * USEC_PER_MSEC);
        /* The thread hears of it, and says goodbye. */
        assert_true(WAIT_FOR(f->event, 5, link_orphans() == 0 && f->peer.ended == 1));
        assert_int_equal(f->ends, 0);
}

/* Four at once, because each takes its time: a peer that takes TCP and nothing else, plain and TLS; one
 * whose queue of connections is full, so that not even TCP gets through; and one that answers no ping. */
static void test_patience(void **state)
{
        Fixture *f = *state;
        enum { PLAIN, TLS, FULL, PING, N };
        Fixture others[N] = {0};
        ServerConfig servers[N];
        Peer peers[N];
        int fillers[64];
        size_t n_fillers = 0;
        uint64_t begin = clock_monotonic_usec();
        double cpu = cpu_seconds();

        for (size_t i = 0; i < N; i++) {
                peer_init(&peers[i], f->event);
                peers[i].connack = i == PING ? 0 : -1;
        }
        (void) sd_event_source_set_enabled(peers[FULL].listener, SD_EVENT_OFF);
        assert_int_equal(listen(peers[FULL].listen_fd, 0), 0);
        for (; n_fillers < ELEMENTSOF(fillers); n_fillers++) {
                struct sockaddr_in address = {.sin_family = AF_INET,
                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                        .sin_port = htons(peers[FULL].port)};

                fillers[n_fillers] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
                (void) connect(fillers[n_fillers], (struct sockaddr *) &address, sizeof(address));
                if (n_fillers > 4)
                        break;
        }
        for (size_t i = 0; i < N; i++) {
                servers[i] = f->server;
                others[i].profile = f->profile;
                servers[i].tls = i == TLS;
                servers[i].port = peers[i].port;
                servers[i].keepalive_sec = i == PING ? 6 : 240;
                assert_int_equal(link_new(&others[i].link, f->event, &servers[i]), 0);
                link_open(others[i].link, &handler, &others[i]);
        }
        assert_true(WAIT_FOR(f->event, 5, others[PING].ups == 1));

        assert_true(WAIT_FOR(f->event, 15, others[PING].ends == 1));
        assert_int_equal(peers[PING].n_pings, 1);
        assert_non_null(strstr(others[PING].text, "ping"));
        assert_in_range(clock_monotonic_usec() - begin, 11 * USEC_PER_SEC, 15 * USEC_PER_SEC);
        link_close(others[PING].link);

        assert_true(WAIT_FOR(f->event, 25, others[PLAIN].ends && others[TLS].ends && others[FULL].ends));
        assert_in_range(clock_monotonic_usec() - begin, 20 * USEC_PER_SEC, 22 * USEC_PER_SEC);
        assert_non_null(strstr(others[PLAIN].text, "no CONNACK within 20 s"));
        assert_non_null(strstr(others[TLS].text, "no CONNACK within 20 s"));
        assert_non_null(strstr(others[FULL].text, "no answer from 127.0.0.1"));
        assert_non_null(strstr(others[FULL].text, "within 20 s"));
        for (size_t i = 0; i < N; i++)
                assert_int_equal(others[i].ends, 1);
        /* Waiting costs nothing, in the thread neither. */
        assert_true(cpu_seconds() - cpu < 5.0);                  /* of 20 and more; valgrind is slow */
        assert_true(WAIT_FOR(f->event, 5, link_orphans() == 1)); /* the one in connect() */

        begin = clock_monotonic_usec();
        for (size_t i = 0; i < N; i++)
                link_free(others[i].link);
        assert_in_range(clock_monotonic_usec() - begin, 0, 200 * USEC_PER_MSEC);
        for (size_t i = 0; i <= n_fillers && i < ELEMENTSOF(fillers); i++)
                close(fillers[i]);
        for (size_t i = 0; i < N; i++)
                peer_deinit(&peers[i]);
        /* Now that nobody listens there, connect() returns at its next try. */
        assert_true(WAIT_FOR(f->event, 40, link_orphans() == 0));
}

#define KEEPALIVE_SEC 8
#define PONG_USEC (3500 * USEC_PER_MSEC)

static void answer_pings(Peer *peer, uint8_t type, const uint8_t *body _unused_, size_t size _unused_,
        void *userdata _unused_)
{
        if (type == PINGREQ)
                peer_send(peer, (uint8_t[]){0xd0, 0}, 2);
}

/* Three at once: a server that freezes, whose kernel still takes everything; one that is idle and well; and
 * one that is well, takes messages and says nothing but what pings make it say. */
static void test_silence(void **state)
{
        Fixture *f = *state;
        enum { FROZEN, IDLE, BUSY, N };
        Fixture others[N] = {0};
        Peer peers[N];
        const uint64_t patience = KEEPALIVE_SEC * USEC_PER_SEC + PONG_USEC, before = link_pong_usec;
        uint64_t begin, now;

        link_pong_usec = PONG_USEC;
        for (size_t i = 0; i < N; i++) {
                ServerConfig server = f->server;

                peer_init(&peers[i], f->event);
                peers[i].on_packet = answer_pings;
                server.port = peers[i].port;
                server.keepalive_sec = KEEPALIVE_SEC;
                others[i].profile = f->profile;
                assert_int_equal(link_new(&others[i].link, f->event, &server), 0);
                link_open(others[i].link, &handler, &others[i]);
                assert_true(WAIT_FOR(f->event, 5, others[i].ups == 1));
        }
        peer_read(&peers[FROZEN], false);
        begin = clock_monotonic_usec();
        while ((now = clock_monotonic_usec()) < begin + 5 * KEEPALIVE_SEC * USEC_PER_SEC / 2) {
                assert_int_equal(link_publish(others[BUSY].link, "a", "1", 1), 0);
                if (others[FROZEN].ends == 0)
                        assert_in_range(now - begin, 0, patience + 2 * USEC_PER_SEC);
                else if (others[FROZEN].retry_usec > 0) { /* the moment when it was noticed */
                        assert_in_range(
                                now - begin, patience - 2 * USEC_PER_SEC, patience + 2 * USEC_PER_SEC);
                        assert_non_null(
                                strstr(others[FROZEN].text, "nothing has come from 127.0.0.1 for 1"));
                        assert_non_null(strstr(others[FROZEN].text, "not even the answer to a ping"));
                        others[FROZEN].retry_usec = 0;
                        link_close(others[FROZEN].link);
                }
                (void) WAIT_FOR(f->event, 0.2, false);
        }
        assert_int_equal(others[FROZEN].ends, 1);
        assert_int_equal(others[IDLE].ends + others[BUSY].ends, 0);
        /* That nothing comes in is reason enough for a ping: something goes out all the time. */
        assert_in_range(peers[BUSY].n_pings, 2, 3);
        assert_in_range(peers[IDLE].n_pings, 2, 3);
        assert_true(peers[BUSY].n_publishes > 50);

        link_pong_usec = before;
        for (size_t i = 0; i < N; i++) {
                link_free(others[i].link);
                peer_deinit(&peers[i]);
        }
}

/* Whoever was held up (a process that was stopped) asks before it judges. */
static void test_held_up(void **state)
{
        Fixture *f = *state;
        const uint64_t before = link_pong_usec;

        link_pong_usec = 0;
        f->peer.on_packet = answer_pings;
        link_free(f->link);
        f->server.keepalive_sec = 5;
        assert_int_equal(link_new(&f->link, f->event, &f->server), 0);
        bring_up(f);
        assert_false(WAIT_FOR(f->event, 2, f->ends > 0));
        poll(NULL, 0, 4000);
        assert_false(WAIT_FOR(f->event, 1.5, f->ends > 0));
        assert_int_equal(f->peer.n_pings, 1);
        link_pong_usec = before;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_held_up),
                TEST(test_stop_does_not_wait),
                TEST(test_patience),
                TEST(test_silence),
        };

        return cmocka_run_group_tests_name("link-silence", tests, NULL, NULL);
}
