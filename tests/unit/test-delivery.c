/* SPDX-License-Identifier: Apache-2.0 */

/* Delivery between a spool and a link that are scripted here: what is sent when, what is confirmed when, and
 * how long it keeps quiet. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "delivery.h"
#include "util/clock.h"
#include "util/log.h"

#define PLUG_ID "dev-0123456789abcdef01234567"
#define BARRIERS_MAX 256

/* --- the spool -------------------------------------------------------------------------------------------
 */

struct Spool {
        uint64_t first, end; /* sequence numbers: the first that is there, and behind the last */
        size_t data_size;
        int error;
        unsigned reads;
        const char *bad_channel; /* of every tenth */
        uint64_t held;           /* from here on they wait for the clock; 0: none */
        SpoolReady ready;
        void *ready_userdata;
};

static char data[128 * 1024];

int spool_read(Spool *spool, uint64_t sequence, uint64_t *ret_sequence, Sample *ret)
{
        spool->reads++;
        if (spool->error < 0)
                return spool->error;
        if (sequence < spool->first)
                sequence = spool->first;
        if (sequence >= spool->end)
                return 0;
        *ret = (Sample){.at_msec = 1700000000000 + sequence,
                .sensor = "s",
                .channel = spool->bad_channel && sequence % 10 == 0 ? spool->bad_channel
                           : sequence % 2                           ? "odd"
                                                                    : "even/channel",
                .data = data,
                .data_size = spool->data_size};
        if (spool->held > 0 && sequence >= spool->held) {
                ret->boot = (const uint8_t *) "0123456789abcdef";
                ret->at_msec = sequence;
        }
        memcpy(ret->id, &sequence, sizeof(sequence));
        *ret_sequence = sequence;
        return 1;
}

void spool_set_ready(Spool *spool, SpoolReady ready, void *userdata)
{
        spool->ready = ready;
        spool->ready_userdata = userdata;
}

void spool_confirm(Spool *spool, uint64_t sequence)
{
        assert_true(sequence >= spool->first && sequence < spool->end);
        spool->first = sequence + 1;
}

/* --- the link --------------------------------------------------------------------------------------------
 */

struct Link {
        LinkState state;
        bool congested, corked;
        unsigned room; /* messages until it is congested; 0: never */
        bool broken;   /* -ENOTCONN from now on */
        int unsubscribe_error;
        unsigned publishes, corks;
        size_t bytes;
        char topic[128], first_payload[512], payload[512];
        uint64_t publish_usec;
        unsigned barriers;
        unsigned behind[BARRIERS_MAX]; /* publishes before each barrier */
        uint64_t barrier_usec[BARRIERS_MAX];
        char barrier_topic[128];
        unsigned failures;
        char text[512];
        Delivery *delivery;
};

int link_publish(Link *link, const char *topic, const void *payload, size_t size)
{
        if (link->broken)
                return -ENOTCONN;
        if (strchr(topic, '#'))
                return -EINVAL;
        if (strstr(topic, "long"))
                return -EMSGSIZE;
        assert_false(link->congested); /* it was told to hold back */
        snprintf(link->topic, sizeof(link->topic), "%s", topic);
        snprintf(link->publishes == 0 ? link->first_payload : link->payload, sizeof(link->payload), "%.*s",
                (int) size, (const char *) payload);
        link->publishes++;
        link->bytes += size;
        link->publish_usec = clock_monotonic_usec();
        if (link->room > 0 && --link->room == 0)
                link->congested = true;
        return 0;
}

int link_unsubscribe(Link *link, const char *topic, int *ret_mid)
{
        if (link->broken)
                return -ENOTCONN;
        if (link->unsubscribe_error < 0)
                return link->unsubscribe_error;
        assert_true(link->barriers < BARRIERS_MAX);
        snprintf(link->barrier_topic, sizeof(link->barrier_topic), "%s", topic);
        link->behind[link->barriers] = link->publishes;
        link->barrier_usec[link->barriers] = clock_monotonic_usec();
        *ret_mid = 1000 + (int) link->barriers++;
        return 0;
}

bool link_congested(const Link *link)
{
        return link->congested;
}

void link_cork(Link *link, bool on)
{
        assert_true(on != link->corked);
        link->corked = on;
        link->corks += on;
}

LinkState link_state(const Link *link)
{
        return link->state;
}

/* As the link does it, and its user who hears of it. */
void link_fail(Link *link, const char *text)
{
        link->failures++;
        link->state = LINK_WAITING;
        snprintf(link->text, sizeof(link->text), "%s", text);
        delivery_stop(link->delivery);
}

/* --- the test --------------------------------------------------------------------------------------------
 */

typedef struct Fixture {
        sd_event *event;
        Spool spool;
        Link link;
        DeliveryConfig config;
        Delivery *delivery;
} Fixture;

static unsigned logged;

static void count_log(int priority _unused_, const LogContext *context _unused_, const char *text _unused_)
{
        logged++;
}

static int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        log_set_sink(count_log);
        logged = 0;
        memset(data, '1', sizeof(data));
        assert_true(sd_event_new(&f->event) >= 0);
        f->spool = (Spool){.first = 1, .end = 1, .data_size = 3};
        f->link.state = LINK_UP;
        f->config = (DeliveryConfig){.barrier = true, .timeout_usec = 20 * USEC_PER_SEC};
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        Fixture *f = *state;

        delivery_free(f->delivery);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

/* Begins with n records in the spool. */
static void begin(Fixture *f, unsigned n)
{
        f->spool.end = f->spool.first + n;
        if (!f->delivery)
                assert_int_equal(delivery_new(&f->delivery, f->event, &f->spool, &f->link, &f->config), 0);
        f->link.delivery = f->delivery;
        f->link.state = LINK_UP;
        assert_int_equal(delivery_start(f->delivery, PLUG_ID), 0);
}

static void run(Fixture *f, uint64_t usec)
{
        uint64_t until = clock_monotonic_usec() + usec;

        while (clock_monotonic_usec() < until)
                (void) sd_event_run(f->event, 5 * USEC_PER_MSEC);
        assert_false(f->link.corked);
}

static bool run_until_barriers(Fixture *f, unsigned n)
{
        uint64_t until = clock_monotonic_usec() + 5 * USEC_PER_SEC;

        while (f->link.barriers < n && clock_monotonic_usec() < until)
                (void) sd_event_run(f->event, 5 * USEC_PER_MSEC);
        return f->link.barriers == n;
}

/* The server answers the n-th barrier, from 0. */
static void answer(Fixture *f, unsigned n)
{
        delivery_on_unsuback(f->delivery, 1000 + (int) n);
        run(f, 20 * USEC_PER_MSEC);
}

static DeliveryStats stats(Fixture *f)
{
        DeliveryStats now;

        delivery_get_stats(f->delivery, &now);
        return now;
}

static void test_windows(void **state)
{
        Fixture *f = *state;

        begin(f, 5000);
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
        begin(f, 500);
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
        begin(f, 100);
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
        f->spool.end++;
        woken = clock_monotonic_usec();
        delivery_wake(f->delivery);
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
        f->spool.end++;
        delivery_wake(f->delivery);
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
        char first[512];

        begin(f, 2000);
        run(f, 50 * USEC_PER_MSEC);
        answer(f, 0);
        answer(f, 1);
        assert_int_equal(f->spool.first, 501);
        delivery_stop(f->delivery);
        run(f, 20 * USEC_PER_MSEC);
        delivery_wake(f->delivery);
        delivery_on_writable(f->delivery);
        delivery_on_unsuback(f->delivery, 1002); /* too late: it does not count */
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->spool.first, 501);

        memset(&f->link, 0, sizeof(f->link));
        begin(f, 1500);
        run(f, 50 * USEC_PER_MSEC);
        /* The same bytes, from the first that isn't confirmed. */
        snprintf(first, sizeof(first),
                "{\"id\":\"f50100000000000000000000\",\"data\":111,\"at\":1700000000501}");
        assert_string_equal(f->link.first_payload, first);
        assert_int_equal(f->link.publishes, 1000);
        assert_int_equal(stats(f).published, 2000 + 1000);
        assert_int_equal(stats(f).confirmed, 500);
}

static void test_no_answer(void **state)
{
        Fixture *f = *state;
        uint64_t sent;

        f->config.timeout_usec = USEC_PER_SEC;
        begin(f, 2000);
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
        begin(f, 2000);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.behind[0], 125);
        assert_int_equal(f->link.publishes, 250);
        run(f, 1100 * USEC_PER_MSEC);
        assert_int_equal(f->link.failures, 2);
        assert_null(strstr(f->link.text, "running"));
        begin(f, 2000);
        run(f, 1200 * USEC_PER_MSEC);
        assert_int_equal(f->link.failures, 3);
        assert_non_null(strstr(f->link.text, "3 barriers (UNSUBSCRIBE) running"));

        /* They grow again, and an answer ends the count. */
        f->link.barriers = f->link.publishes = 0;
        begin(f, 2000);
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
        begin(f, 5000);
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
        begin(f, 100);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 3);
        reads = f->spool.reads;
        delivery_wake(f->delivery);
        run(f, 100 * USEC_PER_MSEC);
        assert_int_equal(f->spool.reads, reads);
        f->link.congested = false;
        delivery_on_writable(f->delivery);
        run(f, 20 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 100);
        assert_true(run_until_barriers(f, 1));
        assert_int_equal(f->link.behind[0], 100);
}

static void test_without_barrier(void **state)
{
        Fixture *f = *state;

        f->config.barrier = false;
        begin(f, 1200);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1200);
        assert_int_equal(f->link.barriers, 0);
        assert_int_equal(f->spool.first, 1201);
        assert_int_equal(stats(f).confirmed, 1200);
        /* What the kernel has not taken yet stays in the spool. */
        f->link.room = 5;
        f->spool.end += 5;
        delivery_wake(f->delivery);
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

/* What MQTT can't carry does not hold up the rest: it is logged, counted, and goes with its window. */
static void test_bad_messages(void **state)
{
        Fixture *f = *state;

        f->spool.bad_channel = "bad/#";
        begin(f, 1000);
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
        f->spool.end++;
        delivery_wake(f->delivery);
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

        begin(f, 5000);
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
        begin(f, 10);
        run(f, 2500 * USEC_PER_MSEC);
        assert_in_range(f->spool.reads, 2, 4);
        assert_int_equal(logged, 1);
        f->spool.error = 0;
        run(f, 1200 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 10);
}

/* What the spool has to get from the disk first is waited for, without asking again and again. */
static void test_spool_reads_from_disk(void **state)
{
        Fixture *f = *state;
        unsigned reads;

        f->spool.error = -EAGAIN;
        begin(f, 10);
        run(f, 100 * USEC_PER_MSEC);
        reads = f->spool.reads;
        assert_int_equal(reads, 1);
        delivery_wake(f->delivery);
        run(f, 1500 * USEC_PER_MSEC);
        assert_int_equal(f->spool.reads, reads);
        assert_int_equal(f->link.publishes, 0);
        f->spool.error = 0;
        f->spool.ready(f->spool.ready_userdata);
        run(f, 100 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 10);
        assert_int_equal(logged, 0);
}

static void test_barrier_without_memory(void **state)
{
        Fixture *f = *state;
        uint64_t iterations, later;

        f->link.unsubscribe_error = -ENOMEM;
        begin(f, 5000);
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

        begin(f, 3000);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 1000);
        f->spool.first = 2501;
        f->link.publishes = 0;
        delivery_stop(f->delivery);
        begin(f, 500);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 500);
        assert_non_null(strstr(f->link.first_payload, "\"at\":1700000002501"));
}

static int on_resolve(Sample *sample, void *userdata)
{
        const uint64_t *began_msec = userdata;

        if (*began_msec == 0)
                return -EAGAIN;
        sample->at_msec += *began_msec;
        sample->boot = NULL;
        return 0;
}

/* What has no time yet waits, with all behind it, and costs nothing until it has one. */
static void test_held(void **state)
{
        Fixture *f = *state;
        uint64_t began_msec = 0, iterations, later;

        f->spool.held = 21;
        begin(f, 30);
        delivery_set_resolver(f->delivery, on_resolve, &began_msec);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 20);
        /* Those before it are confirmed all the same. */
        assert_true(run_until_barriers(f, 1));
        answer(f, 0);
        assert_true(run_until_barriers(f, 2));
        answer(f, 1);
        assert_int_equal(f->spool.first, 21);
        /* Asleep: neither more in the spool nor a writable link changes that, nor a new connection. */
        f->spool.reads = 0;
        assert_true(sd_event_get_iteration(f->event, &iterations) >= 0);
        f->spool.end++;
        delivery_wake(f->delivery);
        delivery_on_writable(f->delivery);
        run(f, 300 * USEC_PER_MSEC);
        assert_true(sd_event_get_iteration(f->event, &later) >= 0);
        assert_in_range(later - iterations, 0, 70); /* run() itself turns every 5 ms */
        assert_int_equal(f->spool.reads, 0);
        delivery_stop(f->delivery);
        begin(f, 10);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 20);

        began_msec = 1700000000000;
        delivery_resume(f->delivery);
        assert_int_equal(f->link.publishes, 20); /* not from within */
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 30);
        assert_non_null(strstr(f->link.payload, "\"at\":1700000000030"));
        assert_int_equal(logged, 0);
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
                TEST(test_bad_messages),
                TEST(test_lost_underway),
                TEST(test_spool_in_trouble),
                TEST(test_spool_reads_from_disk),
                TEST(test_barrier_without_memory),
                TEST(test_evicted),
                TEST(test_held),
        };

        return cmocka_run_group_tests_name("delivery", tests, NULL, NULL);
}
