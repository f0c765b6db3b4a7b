/* SPDX-License-Identifier: Apache-2.0 */

/* Delivery between a spool and a link that are scripted here: what is sent when, what is confirmed when, and
 * how long it keeps quiet. */

#include "delivery-fixture.h"

static void test_windows(void **state)
{
        Fixture *f = *state;

        begin_live(f, 5000);
        assert_int_equal(f->link.publishes, 0); /* all in the loop */
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1000);
        assert_int_equal(f->link.barriers, 2);
        assert_int_equal(f->link.behind[0], 500);
        assert_int_equal(f->link.behind[1], 1000);
        assert_string_equal(f->link.barrier_topic, PLUG_ID "/plugd/barrier");
        assert_true(f->link.corks >= 1);

        /* What is not ours, and what was not asked. */
        delivery_on_unsuback(f->delivery, 7);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1000);

        /* An answer makes room; the one after it confirms. */
        answer(f, 0);
        assert_int_equal(f->link.publishes, 1500);
        assert_int_equal(f->link.barriers, 3);
        assert_int_equal(f->spool.first, 1);
        assert_int_equal(stats(f).confirmed, 0);
        answer(f, 0); /* a second time: nothing */
        assert_int_equal(f->link.publishes, 1500);
        answer(f, 1);
        assert_int_equal(f->spool.first, 501);
        assert_int_equal(stats(f).confirmed, 500);
        assert_int_equal(f->link.publishes, 2000);
        /* An answer covers all before it. */
        answer(f, 3);
        assert_int_equal(f->spool.first, 1501);
        assert_int_equal(f->link.publishes, 3000);
        for (unsigned i = 4; i < f->link.barriers; i++)
                answer(f, i);
        assert_int_equal(f->link.publishes, 5000);
        assert_int_equal(f->spool.first, 4501);
        /* One more barrier a second later, and all is confirmed. */
        assert_true(run_until_barriers(f, 11));
        answer(f, 10);
        assert_int_equal(f->spool.first, 5001);
        assert_int_equal(stats(f).confirmed, 5000);
        assert_int_equal(stats(f).published, 5000);
        assert_in_range(stats(f).round_trip_usec, 1, USEC_PER_SEC);
}

static void test_bytes(void **state)
{
        Fixture *f = *state;

        f->spool.data_size = 10000;
        begin_live(f, 500);
        run(f, 50 * USEC_PER_MSEC);
        /* 64 KiB are over with the seventh; 256 KiB with the 27th. */
        assert_int_equal(f->link.behind[0], 7);
        assert_int_equal(f->link.behind[1], 14);
        assert_in_range(f->link.publishes, 26, 28);
        assert_in_range(f->link.bytes, 250 * 1024, 266 * 1024); /* and the topics */
        answer(f, 0);
        assert_in_range(f->link.publishes, 33, 35);

        /* Each bigger than a batch. */
        delivery_stop(f->delivery);
        memset(&f->link, 0, sizeof(f->link));
        f->spool.data_size = 100 * 1024;
        f->spool.first = f->spool.end;
        begin_live(f, 100);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 3);
        assert_int_equal(f->link.barriers, 3);
        answer(f, 0);
        answer(f, 1);
        assert_int_equal(f->link.publishes, 5);
}

static void test_lone_message(void **state)
{
        Fixture *f = *state;
        uint64_t woken, iterations, later;

        begin(f, 0);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 0);
        woken = clock_monotonic_usec();
        add(f, 1);
        assert_int_equal(f->link.publishes, 0); /* not from within */
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1);
        assert_in_range(f->link.publish_usec - woken, 0, 5 * USEC_PER_MSEC);
        assert_int_equal(f->link.corks, 0);
        assert_string_equal(f->link.topic, PLUG_ID "/data/odd");
        assert_string_equal(f->link.first_payload,
                "{\"id\":\"010000000000000000000000\",\"data\":111,\"at\":1700000000001}");

        assert_true(run_until_barriers(f, 1));
        assert_in_range(
                f->link.barrier_usec[0] - f->link.publish_usec, 990 * USEC_PER_MSEC, 1200 * USEC_PER_MSEC);
        answer(f, 0);
        assert_int_equal(f->spool.first, 1);
        assert_true(run_until_barriers(f, 2));
        assert_in_range(f->link.barrier_usec[1] - f->link.barrier_usec[0], 990 * USEC_PER_MSEC,
                1300 * USEC_PER_MSEC);
        answer(f, 1);
        assert_int_equal(f->spool.first, 2);

        /* And then silence: the loop isn't even woken (but by this test). */
        assert_true(sd_event_get_iteration(f->event, &iterations) >= 0);
        for (unsigned i = 0; i < 3; i++)
                assert_int_equal(sd_event_run(f->event, 800 * USEC_PER_MSEC), 0);
        assert_true(sd_event_get_iteration(f->event, &later) >= 0);
        assert_in_range(later - iterations, 0, 6);
        assert_int_equal(f->link.barriers, 2);
}

/* While one barrier is unanswered another would say nothing new: it comes right after the answer. */
static void test_slow_answers(void **state)
{
        Fixture *f = *state;

        begin(f, 1);
        assert_true(run_until_barriers(f, 1));
        add(f, 1);
        run(f, 1500 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 2);
        assert_int_equal(f->link.barriers, 1);
        answer(f, 0);
        assert_int_equal(f->link.barriers, 2);
        answer(f, 1);
        assert_int_equal(f->spool.first, 2);
}

static void test_resends_what_is_unconfirmed(void **state)
{
        Fixture *f = *state;

        begin_live(f, 2000);
        run(f, 50 * USEC_PER_MSEC);
        answer(f, 0);
        answer(f, 1);
        assert_int_equal(f->spool.first, 501);
        delivery_stop(f->delivery);
        run(f, 20 * USEC_PER_MSEC);
        add(f, 1);
        delivery_on_writable(f->delivery);
        delivery_on_unsuback(f->delivery, 1002); /* too late: it does not count */
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->spool.first, 501);
        assert_int_equal(f->link.publishes, 2000);

        memset(&f->link, 0, sizeof(f->link));
        begin(f, 1501);
        run(f, 50 * USEC_PER_MSEC);
        /* First what is newest of the two channels; then all in order from the first that isn't confirmed.
         */
        assert_string_equal(f->link.first_payload,
                "{\"id\":\"d10700000000000000000000\",\"data\":111,\"at\":1700000002001}");
        assert_int_equal(f->link.order[0], 2001);
        assert_int_equal(f->link.order[1], 2000);
        for (unsigned i = 2; i < f->link.publishes; i++)
                assert_int_equal(f->link.order[i], 501 + i - 2);
        assert_int_equal(f->link.publishes, 2 + 750);
        assert_int_equal(stats(f).published, 2000 + 752);
        assert_int_equal(stats(f).confirmed, 500);
}

static void test_no_answer(void **state)
{
        Fixture *f = *state;
        uint64_t sent;

        f->config.timeout_usec = USEC_PER_SEC;
        f->spool.first = f->spool.end;
        begin_live(f, 2000);
        run(f, 50 * USEC_PER_MSEC);
        sent = f->link.barrier_usec[0];
        while (f->link.failures == 0 && clock_monotonic_usec() < sent + 3 * USEC_PER_SEC)
                (void) sd_event_run(f->event, 5 * USEC_PER_MSEC);
        assert_int_equal(f->link.failures, 1);
        assert_in_range(clock_monotonic_usec() - sent, USEC_PER_SEC, 1200 * USEC_PER_MSEC);
        assert_non_null(strstr(f->link.text, "within 1 s"));
        assert_null(strstr(f->link.text, "running"));

        /* Smaller batches: a slow way gets them through. */
        f->link.barriers = f->link.publishes = 0;
        f->spool.first = f->spool.end;
        begin_live(f, 2000);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.behind[0], 125);
        assert_int_equal(f->link.publishes, 250);
        run(f, 1100 * USEC_PER_MSEC);
        assert_int_equal(f->link.failures, 2);
        assert_null(strstr(f->link.text, "running"));
        f->spool.first = f->spool.end;
        begin_live(f, 2000);
        run(f, 1200 * USEC_PER_MSEC);
        assert_int_equal(f->link.failures, 3);
        assert_non_null(strstr(f->link.text, "3 barriers (UNSUBSCRIBE) running"));

        /* They grow again, and an answer ends the count. */
        f->link.barriers = f->link.publishes = 0;
        f->spool.first = f->spool.end;
        begin_live(f, 2000);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.behind[0], 7);
        answer(f, 0);
        answer(f, 1);
        assert_int_equal(f->link.behind[2] - f->link.behind[1], 14);
        run(f, 1200 * USEC_PER_MSEC);
        assert_int_equal(f->link.failures, 4);
        assert_null(strstr(f->link.text, "running"));
}

/* The time counts from the last answer: what gets through slowly is not dead. */
static void test_progress_is_enough(void **state)
{
        Fixture *f = *state;

        f->config.timeout_usec = USEC_PER_SEC;
        begin_live(f, 5000);
        run(f, 700 * USEC_PER_MSEC);
        for (unsigned i = 0; i < 4; i++) {
                answer(f, i);
                run(f, 700 * USEC_PER_MSEC);
        }
        assert_int_equal(f->link.failures, 0);
        assert_int_equal(f->spool.first, 1501);
}

static void test_congestion(void **state)
{
        Fixture *f = *state;
        unsigned reads;

        f->link.room = 3;
        begin_live(f, 100);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 3);
        reads = f->spool.reads;
        add(f, 1);
        run(f, 100 * USEC_PER_MSEC);
        assert_int_equal(f->spool.reads, reads);
        f->link.congested = false;
        delivery_on_writable(f->delivery);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 101);
        assert_true(run_until_barriers(f, 1));
        assert_int_equal(f->link.behind[0], 101);
}

static void count_confirmed(void *userdata)
{
        ++*(unsigned *) userdata;
}

static void test_without_barrier(void **state)
{
        Fixture *f = *state;
        unsigned confirmed = 0;

        f->config.barrier = false;
        begin(f, 0);
        delivery_set_confirmed(f->delivery, count_confirmed, &confirmed);
        run(f, 10 * USEC_PER_MSEC);
        assert_int_equal(confirmed, 0);
        add(f, 1200);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1200);
        assert_int_equal(f->link.barriers, 0);
        assert_int_equal(f->spool.first, 1201);
        assert_int_equal(stats(f).confirmed, 1200);
        assert_in_range(confirmed, 1, 4);
        /* What the kernel has not taken yet stays in the spool. */
        f->link.room = 5;
        add(f, 5);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1205);
        assert_int_equal(f->spool.first, 1201);
        f->link.congested = false;
        delivery_on_writable(f->delivery);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->spool.first, 1206);
        run(f, 1500 * USEC_PER_MSEC);
        assert_int_equal(f->link.barriers, 0);
}

/* What is only in our kernel is not there yet: it stays, and is bounded. */
static void test_without_barrier_on_a_slow_way(void **state)
{
        Fixture *f = *state;
        uint64_t iterations, later;

        f->config.barrier = false;
        f->link.undrained = true;
        begin_live(f, 1500);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1000);
        assert_int_equal(f->spool.first, 1);
        f->link.undrained = false;
        run(f, 200 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1500);
        assert_int_equal(f->spool.first, 1501);
        /* Nobody looks but at times, and when there is nothing to look for never. */
        f->link.undrained = true;
        add(f, 1);
        assert_true(sd_event_get_iteration(f->event, &iterations) >= 0);
        for (unsigned i = 0; i < 10; i++)
                (void) sd_event_run(f->event, 60 * USEC_PER_MSEC);
        assert_true(sd_event_get_iteration(f->event, &later) >= 0);
        assert_in_range(later - iterations, 2, 14);
        assert_int_equal(f->spool.first, 1501);
        /* Broken in the meantime: it is sent again. */
        delivery_stop(f->delivery);
        f->link.undrained = false;
        run(f, 200 * USEC_PER_MSEC);
        assert_int_equal(f->spool.first, 1501);
        begin(f, 1);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->spool.first, 1502);
        assert_int_equal(f->link.publishes, 1501 + 1);
        assert_int_equal(sd_event_run(f->event, 300 * USEC_PER_MSEC), 0);
}

/* What MQTT can't carry does not hold up the rest: it is logged, counted, and goes with its window. */
static void test_bad_messages(void **state)
{
        Fixture *f = *state;

        f->spool.bad_channel = "bad/#";
        begin_live(f, 1000);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 900);
        assert_int_equal(stats(f).skipped, 100);
        assert_int_equal(logged, 100);
        answer(f, 0);
        answer(f, 1);
        assert_int_equal(f->spool.first, 501);
        assert_int_equal(stats(f).confirmed, 450);
        assert_true(run_until_barriers(f, 3));
        answer(f, 2);
        assert_int_equal(f->spool.first, 1001);
        assert_int_equal(stats(f).confirmed, 900);

        /* Nothing but such a one. */
        f->spool.bad_channel = "too/long";
        f->spool.first = f->spool.end = 2000;
        add(f, 1);
        assert_true(run_until_barriers(f, 4));
        answer(f, 3);
        assert_true(run_until_barriers(f, 5));
        answer(f, 4);
        assert_int_equal(f->spool.first, 2001);
        assert_int_equal(stats(f).skipped, 101);
}

/* The link has noticed, and tells from the loop: until then nothing spins. */
static void test_lost_underway(void **state)
{
        Fixture *f = *state;
        unsigned reads;

        begin_live(f, 5000);
        run(f, 50 * USEC_PER_MSEC);
        f->link.broken = true;
        answer(f, 0);
        reads = f->spool.reads;
        run(f, 200 * USEC_PER_MSEC);
        assert_in_range(f->spool.reads, reads, reads + 2);
        assert_int_equal(f->link.publishes, 1000);
        assert_int_equal(f->link.failures, 0);
}

static void test_spool_in_trouble(void **state)
{
        Fixture *f = *state;

        f->spool.error = -EIO;
        begin_live(f, 10);
        run(f, 2500 * USEC_PER_MSEC);
        assert_in_range(f->spool.reads, 2, 4);
        assert_int_equal(logged, 1);
        assert_string_equal(
                stats(f).trouble, "the spool can't be read: Input/output error; trying again every second");
        f->spool.error = 0;
        run(f, 1200 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 10);
        assert_string_equal(stats(f).trouble, "");
}

/* What the spool has to get from the disk first is waited for, without asking again and again. */
static void test_spool_reads_from_disk(void **state)
{
        Fixture *f = *state;
        unsigned reads;

        f->spool.error = -EAGAIN;
        begin_live(f, 10);
        run(f, 100 * USEC_PER_MSEC);
        reads = f->spool.reads;
        assert_int_equal(reads, 1);
        add(f, 1);
        run(f, 1500 * USEC_PER_MSEC);
        assert_int_equal(f->spool.reads, reads);
        assert_int_equal(f->link.publishes, 0);
        f->spool.error = 0;
        f->spool.ready(f->spool.ready_userdata);
        run(f, 100 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 11);
        assert_int_equal(logged, 0);
}

static void test_barrier_without_memory(void **state)
{
        Fixture *f = *state;
        uint64_t iterations, later;

        f->link.unsubscribe_error = -ENOMEM;
        begin_live(f, 5000);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 500);
        assert_true(sd_event_get_iteration(f->event, &iterations) >= 0);
        for (unsigned i = 0; i < 4; i++)
                (void) sd_event_run(f->event, 500 * USEC_PER_MSEC);
        assert_true(sd_event_get_iteration(f->event, &later) >= 0);
        assert_in_range(later - iterations, 0, 12);
        f->link.unsubscribe_error = 0;
        run(f, 1200 * USEC_PER_MSEC);
        assert_in_range(f->link.barriers, 1, 4);
        answer(f, 0);
        answer(f, 1);
        assert_in_range(f->spool.first, 501, 1002);
        assert_int_equal(f->link.failures, 0);
}

/* Records that are evicted while they wait are passed over. */
static void test_evicted(void **state)
{
        Fixture *f = *state;

        begin_live(f, 3000);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1000);
        f->spool.first = 2501;
        f->link.publishes = 0;
        delivery_stop(f->delivery);
        begin(f, 500);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 2 + 500); /* each channel's newest comes first */
        assert_int_equal(f->link.order[0], 3000);
        assert_int_equal(f->link.order[2], 2501);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_windows),
                TEST(test_bytes),
                TEST(test_lone_message),
                TEST(test_slow_answers),
                TEST(test_resends_what_is_unconfirmed),
                TEST(test_no_answer),
                TEST(test_progress_is_enough),
                TEST(test_congestion),
                TEST(test_without_barrier),
                TEST(test_without_barrier_on_a_slow_way),
                TEST(test_bad_messages),
                TEST(test_lost_underway),
                TEST(test_spool_in_trouble),
                TEST(test_spool_reads_from_disk),
                TEST(test_barrier_without_memory),
                TEST(test_evicted),
        };

        return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
