/* SPDX-License-Identifier: Apache-2.0 */

/* Live first: what is new beside what has waited, what is sent once more, the pace of the backlog; and all
 * of it at random against what the server has got. */

#include "delivery-fixture.h"

/* Answers whatever is unanswered until nothing more comes for so long. */
static void answer_until_quiet(Fixture *f, unsigned *answered, uint64_t usec)
{
        uint64_t quiet = clock_monotonic_usec();

        while (clock_monotonic_usec() < quiet + usec) {
                unsigned before = f->link.publishes + f->link.barriers;

                if (*answered < f->link.barriers)
                        delivery_on_unsuback(f->delivery, 1000 + (int) (*answered)++);
                (void) sd_event_run(f->event, 2 * USEC_PER_MSEC);
                if (before != f->link.publishes + f->link.barriers)
                        quiet = clock_monotonic_usec();
        }
        assert_false(f->link.corked);
}

/* Until all is confirmed, and a bit longer. */
static void answer_all(Fixture *f, unsigned *answered)
{
        uint64_t until = clock_monotonic_usec() + 5 * USEC_PER_SEC;

        do
                answer_until_quiet(f, answered, 50 * USEC_PER_MSEC);
        while (f->spool.first < f->spool.end && clock_monotonic_usec() < until);
        assert_int_equal(f->spool.first, f->spool.end);
}

static uint64_t last_of(const Fixture *f, const char *channel)
{
        for (unsigned i = f->link.publishes; i > 0; i--)
                if (strcmp(channel_of(&f->spool, f->link.order[i - 1]), channel) == 0)
                        return f->link.order[i - 1];
        return 0;
}

static void outage(Fixture *f, unsigned n)
{
        begin(f, 0);
        run(f, 5 * USEC_PER_MSEC);
        delivery_stop(f->delivery);
        add(f, n);
}

/* The newest at once, the backlog in order, what is new beside it, and the newest again at the end. */
static void test_live_first(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0;

        f->spool.n_channels = 1;
        outage(f, 2000);
        begin(f, 2000);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 751);
        assert_int_equal(f->link.order[0], 2000);
        for (unsigned i = 1; i <= 750; i++)
                assert_int_equal(f->link.order[i], i);
        /* The backlog waits for answers; what is new doesn't. */
        add(f, 3);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 754);
        for (unsigned i = 751; i < 754; i++)
                assert_int_equal(f->link.order[i], 2001 + i - 751);
        add(f, 300);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1000);

        answer_all(f, &answered);
        assert_int_equal(f->spool.first, 2304);
        assert_int_equal(f->link.publishes, 1 + 2303 + 1);
        assert_int_equal(f->link.order[f->link.publishes - 1], 2303);
        assert_int_equal(stats(f).confirmed, 2303);
        assert_int_equal(stats(f).published, 2305);
        assert_int_equal(f->spool.rests[SPOOL_BACKLOG], 4); /* with the two stops and starts */
        /* And after that only one lane is read. */
        f->spool.lane_reads[SPOOL_BACKLOG] = 0;
        add(f, 10);
        answer_all(f, &answered);
        assert_int_equal(f->spool.first, 2314);
        assert_int_equal(f->link.publishes, 2315);
        assert_int_equal(f->spool.lane_reads[SPOOL_BACKLOG], 0);
}

/* A channel's newest is sent again as soon as its own backlog is through, not before, and once. */
static void test_end_of_each_channel(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0, n[5] = {}, repeats = 0;
        uint64_t last[5] = {}, newest[5] = {};
        bool repeated[5] = {};

        f->spool.n_channels = 5;
        outage(f, 400);
        f->link.room = 5;
        begin(f, 400);
        run(f, 10 * USEC_PER_MSEC);
        add(f, 20);
        f->link.congested = false;
        delivery_on_writable(f->delivery);
        answer_all(f, &answered);
        for (uint64_t i = 1; i < f->spool.end; i++) {
                unsigned c = (unsigned) strtoul(channel_of(&f->spool, i) + 1, NULL, 10);

                newest[c] = i;
                if (i <= 400)
                        last[c] = i;
        }
        /* The five newest of the backlog, newest first. */
        for (unsigned i = 1; i < 5; i++)
                assert_true(f->link.order[i] < f->link.order[i - 1] && f->link.order[i] > 300);
        for (unsigned i = 5; i < f->link.publishes; i++) {
                uint64_t sequence = f->link.order[i];
                unsigned c = (unsigned) strtoul(channel_of(&f->spool, sequence) + 1, NULL, 10);

                n[c]++;
                if (sequence == last[c] && newest[c] > last[c]) {
                        assert_int_equal(f->link.order[i + 1], newest[c]);
                        assert_false(repeated[c]);
                        repeated[c] = true;
                        repeats++;
                }
        }
        assert_true(repeats > 0);
        assert_int_equal(f->link.publishes, 5 + 420 + repeats);
        for (unsigned c = 0; c < 5; c++) {
                char channel[8];

                snprintf(channel, sizeof(channel), "c%u", c);
                assert_int_equal(last_of(f, channel), newest[c]);
        }
}

/* A daemon that has just started knows nothing of the backlog's channels, but learns. */
static void test_after_restart(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0;

        begin(f, 1500);
        assert_int_equal(f->spool.reads, 0); /* whatever is in it */
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.order[0], 1);
        add(f, 1); /* 1501, odd */
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.order[f->link.publishes - 1], 1501);
        answer_all(f, &answered);
        assert_int_equal(f->spool.first, 1502);
        assert_int_equal(f->link.publishes, 1502);
        assert_int_equal(last_of(f, "odd"), 1501);
        assert_int_equal(f->link.order[1501], 1501);
        assert_int_equal(last_of(f, "even/channel"), 1500);
}

static void test_nothing_or_one_is_one_lane(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0;

        outage(f, 1);
        begin(f, 1);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1);
        assert_int_equal(f->spool.lane_reads[SPOOL_BACKLOG], 0);
        add(f, 2);
        answer_all(f, &answered);
        assert_int_equal(f->link.publishes, 3);
        assert_int_equal(f->spool.first, 4);
        delivery_stop(f->delivery);
        begin(f, 0);
        answer_all(f, &answered);
        assert_int_equal(f->link.publishes, 3);
}

/* All that is left is older than what has arrived: then its newest comes once more, and once. */
static void test_one_left_behind(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0;

        f->spool.n_channels = 1;
        outage(f, 3);
        spool_confirm(&f->spool, 2, 3);
        begin(f, 3);
        answer_all(f, &answered);
        answer_until_quiet(f, &answered, 1300 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 2);
        assert_int_equal(f->link.order[0], 1);
        assert_int_equal(f->link.order[1], 3);
        delivery_stop(f->delivery);
        begin(f, 0);
        answer_until_quiet(f, &answered, 100 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 2);
        /* Not after each of those that were there before a newest that made room. */
        add(f, 100);
        f->spool.gone[103] = true;
        answer_all(f, &answered);
        assert_int_equal(f->link.publishes, 2 + 99 + 1);
        assert_int_equal(last_of(f, "c0"), 103);
}

/* The mark stays until the copy has arrived. */
static void test_lost_before_the_copy_arrived(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0;

        f->spool.n_channels = 1;
        outage(f, 600);
        begin(f, 600);
        add(f, 1);
        /* Until all of the backlog has arrived, but nothing behind it. */
        while (stats(f).confirmed < 500) {
                if (answered < f->link.barriers)
                        delivery_on_unsuback(f->delivery, 1000 + (int) answered++);
                (void) sd_event_run(f->event, 2 * USEC_PER_MSEC);
        }
        assert_int_equal(last_of(f, "c0"), 601);
        spool_confirm(&f->spool, 1, 601); /* as if the barrier had come between the last and its copy */
        delivery_stop(f->delivery);
        memset(&f->link, 0, sizeof(f->link));
        answered = 0;
        begin(f, 0);
        f->link.state = LINK_UP;
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1);
        assert_int_equal(f->link.order[0], 601);
        answer_until_quiet(f, &answered, 1300 * USEC_PER_MSEC);
        delivery_stop(f->delivery);
        begin(f, 0);
        answer_until_quiet(f, &answered, 1300 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1); /* no more, once it has */
}

/* drain_rate paces the backlog, and nothing else. */
static void test_drain_rate(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0, backlog = 0, live = 0;
        uint64_t began, taken;

        f->config.drain_rate = 40;
        f->spool.n_channels = 1;
        outage(f, 60);
        began = clock_monotonic_usec();
        begin(f, 60);
        while (f->spool.first <= 60 && clock_monotonic_usec() < began + 5 * USEC_PER_SEC) {
                uint64_t now = clock_monotonic_usec();

                if (answered < f->link.barriers)
                        delivery_on_unsuback(f->delivery, 1000 + (int) answered++);
                if (now - began > live * 10 * USEC_PER_MSEC && now - began < USEC_PER_SEC) {
                        unsigned publishes = f->link.publishes;

                        add(f, 1);
                        live++;
                        (void) sd_event_run(f->event, 0);
                        (void) sd_event_run(f->event, 0);
                        assert_true(f->link.publishes > publishes); /* at once */
                }
                (void) sd_event_run(f->event, 2 * USEC_PER_MSEC);
                for (; backlog < 60 && f->link.publishes > 0 &&
                        f->link.order[f->link.publishes - 1] == backlog + 1;
                        backlog++)
                        ;
        }
        taken = clock_monotonic_usec() - began;
        assert_in_range(live, 5, 101); /* fewer where this machine is busy */
        /* 60 at 40 a second: a burst of four comes on top; and two barriers until the last is confirmed. */
        assert_true(taken > 1350 * USEC_PER_MSEC);
        for (unsigned i = 0, next = 1; i < f->link.publishes; i++)
                if (i > 0 && f->link.order[i] <= 60)
                        assert_int_equal(f->link.order[i], next++);
        assert_int_equal(last_of(f, "c0"), 60 + live);
}

/* While the disk reads the backlog, what is new goes on; and the other way round. */
static void test_one_lane_waits_for_the_disk(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0;

        f->spool.n_channels = 1;
        f->spool.error = -EAGAIN;
        f->spool.error_lanes = 1 << SPOOL_BACKLOG;
        begin(f, 100);
        add(f, 5);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 5);
        assert_int_equal(f->spool.lane_reads[SPOOL_BACKLOG], 1);
        f->spool.error_lanes = 1 << SPOOL_LIVE;
        f->spool.ready(f->spool.ready_userdata);
        add(f, 5);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 105); /* what is newest is still to come */
        f->spool.error = 0;
        f->spool.ready(f->spool.ready_userdata);
        answer_all(f, &answered);
        assert_int_equal(f->link.publishes, 110);
        assert_int_equal(f->spool.first, 111);
}

/* What can't be read of the backlog holds up nothing that is new; it is said once and shown until it can. */
static void test_one_lane_in_trouble(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0;

        f->spool.n_channels = 1;
        f->spool.error = -EACCES;
        f->spool.error_lanes = 1 << SPOOL_BACKLOG;
        begin(f, 100);
        add(f, 5);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 5);
        add(f, 5);
        run(f, 1100 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 10);
        assert_in_range(f->spool.lane_reads[SPOOL_BACKLOG], 2, 3);
        assert_int_equal(logged, 1);
        assert_non_null(strstr(stats(f).trouble, "Permission denied"));
        f->spool.error = 0;
        run(f, 1100 * USEC_PER_MSEC);
        assert_string_equal(stats(f).trouble, "");
        answer_all(f, &answered);
        assert_int_equal(f->link.publishes, 111);
        assert_int_equal(last_of(f, "c0"), 110);
}

/* What never ends in the live lane leaves a turn to the backlog. */
static void test_flood_leaves_turns(void **state)
{
        Fixture *f = *state;
        unsigned backlog = 0;

        begin(f, 1000);
        add(f, 2000);
        for (unsigned i = 0; i < 4; i++) {
                run(f, 10 * USEC_PER_MSEC);
                delivery_on_unsuback(f->delivery, 1000 + (int) i);
                add(f, 500);
        }
        run(f, 10 * USEC_PER_MSEC);
        for (unsigned i = 0; i < f->link.publishes; i++)
                backlog += f->link.order[i] <= 1000;
        assert_true(f->link.publishes >= 2000);
        assert_in_range(backlog, f->link.publishes / 10, f->link.publishes / 4);
}

/* What can't be sent is as good as sent, and its copy isn't tried again and again. */
static void test_bad_in_backlog(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0;

        f->spool.bad_channel = "bad/#";
        outage(f, 100);
        begin(f, 100);
        add(f, 10);
        answer_all(f, &answered);
        assert_int_equal(f->spool.first, 111);
        assert_int_equal(stats(f).skipped, 11);
        assert_int_equal(stats(f).confirmed, 99);
        assert_int_equal(last_of(f, "odd"), 109);
        assert_int_equal(last_of(f, "even/channel"), 108);
}

/* Evicted while it waits: before it is read, in the middle, and the newest of a channel. */
static void test_evicted_in_the_middle(void **state)
{
        Fixture *f = *state;
        unsigned answered = 0;

        f->spool.n_channels = 1;
        outage(f, 2000);
        begin(f, 2000);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 751);
        for (unsigned i = 900; i <= 2000; i++)
                f->spool.gone[i] = true;
        answer_all(f, &answered);
        assert_int_equal(f->spool.first, 2001);
        /* It was sent as a copy before it went: so it is what the server should have. */
        assert_int_equal(f->link.publishes, 1 + 899 + 1);
        assert_int_equal(last_of(f, "c0"), 2000);
}

/* One message more than the limit, never two, whatever lane they come from. */
static void test_bytes_of_both_lanes(void **state)
{
        Fixture *f = *state;

        f->spool.data_size = SAMPLE_DATA_MAX;
        f->spool.n_channels = 3;
        outage(f, 100);
        begin(f, 100);
        run(f, 20 * USEC_PER_MSEC);
        add(f, 100);
        run(f, 20 * USEC_PER_MSEC);
        assert_in_range(f->link.bytes, 3 * SAMPLE_DATA_MAX, 256 * 1024 + SAMPLE_DATA_MAX + 1024);
}

static void test_without_barrier_in_lanes(void **state)
{
        Fixture *f = *state;

        f->config.barrier = false;
        f->spool.n_channels = 1;
        outage(f, 1500);
        f->spool.first = 1;
        for (unsigned i = 1; i <= 1500; i++)
                f->spool.gone[i] = false;
        begin(f, 1500);
        add(f, 3);
        run(f, 100 * USEC_PER_MSEC);
        assert_int_equal(f->spool.first, 1504);
        assert_int_equal(f->link.order[0], 1501);
        assert_int_equal(last_of(f, "c0"), 1503);
        assert_int_equal(f->link.barriers, 0);
        assert_int_equal(stats(f).confirmed, 1503);
}

/* --- at random ---------------------------------------------------------------------------------------- */

/* The server, over all connections. */
static struct {
        Fixture *f;
        bool got[RECORDS_MAX];         /* it has read it */
        uint64_t got_n;                /* of this connection's publishes */
        uint64_t last[8];              /* each channel's last value */
        char payload[RECORDS_MAX][64]; /* as it was sent first */
        uint64_t random;
        unsigned answered, repeats;
} server;

static uint64_t roll(uint64_t sides)
{
        server.random = server.random * UINT64_C(6364136223846793005) + 1442695040888963407;
        return (server.random >> 33) % sides;
}

/* However often: the same bytes. */
static void on_publish(const char *topic, uint64_t sequence, const char *payload, size_t size)
{
        char *known = server.payload[sequence];

        assert_true(size < sizeof(server.payload[0]));
        assert_string_equal(topic + strlen(PLUG_ID "/data/"), channel_of(&server.f->spool, sequence));
        if (!known[0])
                memcpy(known, payload, size);
        else
                server.repeats++;
        assert_memory_equal(known, payload, size);
        assert_int_equal(known[size], '\0');
}

static void server_reads(uint64_t until)
{
        const Link *link = &server.f->link;

        for (; server.got_n < until; server.got_n++) {
                uint64_t sequence = link->order[server.got_n];

                server.got[sequence] = true;
                server.last[strtoul(channel_of(&server.f->spool, sequence) + 1, NULL, 10)] = sequence;
        }
}

static void on_confirm(uint64_t sequence)
{
        assert_true(server.got[sequence]);
}

static void reconnect(Fixture *f)
{
        /* Of what was sent last, some was read. */
        server_reads(server.got_n + roll(f->link.publishes - server.got_n + 1));
        delivery_stop(f->delivery);
        add(f, (unsigned) roll(200));
        if (roll(4) == 0) { /* the daemon starts anew, and knows no channel */
                delivery_free(f->delivery);
                assert_int_equal(delivery_new(&f->delivery, f->event, &f->spool, &f->link, &f->config), 0);
        }
        memset(&f->link, 0, sizeof(f->link));
        f->link.delivery = f->delivery;
        f->link.state = LINK_UP;
        f->link.on_publish = on_publish;
        server.got_n = 0;
        server.answered = 0;
        assert_int_equal(delivery_start(f->delivery, PLUG_ID), 0);
}

static void server_answers(Fixture *f)
{
        server_reads(f->link.behind[server.answered]);
        delivery_on_unsuback(f->delivery, 1000 + (int) server.answered++);
}

static void one_run(Fixture *f, uint64_t seed)
{
        unsigned steps = 0;

        memset(&server, 0, sizeof(server));
        server.f = f;
        server.random = seed;
        f->spool.n_channels = 1 + (unsigned) roll(7);
        f->spool.on_confirm = on_confirm;
        f->config.drain_rate = roll(3) == 0 ? 3000 : 0;
        begin(f, 0);
        f->link.on_publish = on_publish;
        while (f->spool.end < 6000 && steps++ < 20000) {
                if (roll(4) == 0)
                        add(f, (unsigned) roll(roll(10) == 0 ? 400 : 10));
                (void) sd_event_run(f->event, roll(10) == 0 ? 200 : 0);
                if (server.answered < f->link.barriers && roll(3) == 0)
                        server_answers(f);
                if (roll(40) == 0) {
                        f->link.congested = !f->link.congested;
                        if (!f->link.congested)
                                delivery_on_writable(f->delivery);
                }
                if (roll(30) == 0) {
                        f->spool.error = roll(2) ? -EAGAIN : 0;
                        f->spool.error_lanes = 1 + (unsigned) roll(3);
                        if (f->spool.error == 0)
                                f->spool.ready(f->spool.ready_userdata);
                }
                if (roll(100) == 0 || f->link.barriers > BARRIERS_MAX - 10 ||
                        f->link.publishes > ORDER_MAX - 2000)
                        reconnect(f);
        }
        f->spool.error = 0;
        f->link.congested = false;
        reconnect(f);
        f->spool.ready(f->spool.ready_userdata);
        for (uint64_t channels = 0; channels + 1 < UINT64_C(1) << f->spool.n_channels;) { /* one of each */
                channels |= UINT64_C(1) << strtoul(channel_of(&f->spool, f->spool.end) + 1, NULL, 10);
                add(f, 1);
        }
        for (steps = 0; f->spool.first < f->spool.end; steps++) {
                assert_true(steps < 20000);
                (void) sd_event_run(f->event, 2000);
                if (server.answered < f->link.barriers)
                        server_answers(f);
                if (f->link.barriers > BARRIERS_MAX - 10)
                        reconnect(f);
        }
        /* Whatever is still on its way gets there. */
        while (sd_event_run(f->event, 100 * USEC_PER_MSEC) > 0)
                if (server.answered < f->link.barriers)
                        server_answers(f);
        server_reads(f->link.publishes);
        for (uint64_t i = 1; i < f->spool.end; i++) {
                assert_true(server.got[i]);
                assert_true(f->spool.gone[i]);
        }
        for (uint64_t i = f->spool.end; i-- > 1;) {
                unsigned c = (unsigned) strtoul(channel_of(&f->spool, i) + 1, NULL, 10);

                if (server.last[c] < RECORDS_MAX)
                        assert_int_equal(server.last[c], i);
                server.last[c] = RECORDS_MAX; /* looked at */
        }
        print_message("%" PRIu64 " messages, %u repeats\n", f->spool.end - 1, server.repeats);
}

static void test_random(void **state)
{
        for (uint64_t seed = 1; seed <= 6; seed++) {
                one_run(*state, seed);
                assert_int_equal(teardown(state), 0);
                assert_int_equal(setup(state), 0);
        }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_live_first),
                TEST(test_end_of_each_channel),
                TEST(test_after_restart),
                TEST(test_nothing_or_one_is_one_lane),
                TEST(test_one_left_behind),
                TEST(test_lost_before_the_copy_arrived),
                TEST(test_drain_rate),
                TEST(test_one_lane_waits_for_the_disk),
                TEST(test_one_lane_in_trouble),
                TEST(test_flood_leaves_turns),
                TEST(test_bad_in_backlog),
                TEST(test_evicted_in_the_middle),
                TEST(test_bytes_of_both_lanes),
                TEST(test_without_barrier_in_lanes),
                TEST(test_random),
        };

        return cmocka_run_group_tests_name("delivery-lanes", tests, NULL, NULL);
}
