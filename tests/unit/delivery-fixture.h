/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the tests of delivery share: a spool and a link that are played here. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "delivery.h"
#include "util/clock.h"
#include "util/log.h"

#define PLUG_ID "dev-0123456789abcdef01234567"
#define BARRIERS_MAX 256

/* --- the spool -------------------------------------------------------------------------------------------
 */

#define RECORDS_MAX 20000
#define ORDER_MAX 20000

struct Spool {
        uint64_t first, end;    /* sequence numbers: the first that is there, and behind the last */
        bool gone[RECORDS_MAX]; /* confirmed, or evicted, behind first */
        size_t data_size;
        unsigned n_channels; /* 0: two, see below */
        int error;
        unsigned error_lanes; /* bit by bit; 0: all */
        unsigned reads, lane_reads[SPOOL_LANES], rests[SPOOL_LANES];
        const char *bad_channel; /* of every tenth */
        uint64_t held;           /* from here on they wait for the clock; 0: none */
        void (*on_confirm)(uint64_t sequence);
        SpoolReady ready;
        void *ready_userdata;
};

static char data[128 * 1024];

static const char *channel_of(const Spool *spool, uint64_t sequence)
{
        static char channel[32];

        if (spool->bad_channel && sequence % 10 == 0)
                return spool->bad_channel;
        if (spool->n_channels == 0)
                return sequence % 2 ? "odd" : "even/channel";
        snprintf(channel, sizeof(channel), "c%u",
                (unsigned) (sequence * 2654435761U >> 7) % spool->n_channels);
        return channel;
}

static Sample sample_of(const Spool *spool, uint64_t sequence)
{
        Sample sample = {.at_msec = 1700000000000 + sequence,
                .sensor = "s",
                .channel = channel_of(spool, sequence),
                .data = data,
                .data_size = spool->data_size};

        if (spool->held > 0 && sequence >= spool->held) {
                sample.boot = (const uint8_t *) "0123456789abcdef";
                sample.at_msec = sequence;
        }
        memcpy(sample.id, &sequence, sizeof(sequence));
        return sample;
}

int spool_read(Spool *spool, SpoolLane lane, uint64_t sequence, uint64_t *ret_sequence, Sample *ret)
{
        spool->reads++;
        spool->lane_reads[lane]++;
        if (spool->error < 0 && (spool->error_lanes == 0 || spool->error_lanes >> lane & 1))
                return spool->error;
        for (sequence = MAX(sequence, spool->first); sequence < spool->end; sequence++)
                if (!spool->gone[sequence]) {
                        *ret = sample_of(spool, sequence);
                        *ret_sequence = sequence;
                        return 1;
                }
        return 0;
}

void spool_set_ready(Spool *spool, SpoolReady ready, void *userdata)
{
        spool->ready = ready;
        spool->ready_userdata = userdata;
}

void spool_rest(Spool *spool, SpoolLane lane)
{
        spool->rests[lane]++;
}

void spool_set_boundary(Spool *spool, uint64_t sequence)
{
        (void) spool;
        (void) sequence;
}

uint64_t spool_end(const Spool *spool)
{
        return spool->end;
}

bool spool_is_confirmed(const Spool *spool, uint64_t sequence)
{
        return sequence < spool->first || spool->gone[sequence];
}

void spool_get_stats(const Spool *spool, SpoolStats *ret)
{
        *ret = (SpoolStats){};
        for (uint64_t i = spool->first; i < spool->end; i++)
                ret->messages += !spool->gone[i];
}

void spool_confirm(Spool *spool, uint64_t first, uint64_t last)
{
        assert_true(first <= last && last < spool->end);
        for (uint64_t i = MAX(first, spool->first); i <= last; i++) {
                if (!spool->gone[i] && spool->on_confirm)
                        spool->on_confirm(i);
                spool->gone[i] = true;
        }
        while (spool->first < spool->end && spool->gone[spool->first])
                spool->first++;
}

/* --- the link --------------------------------------------------------------------------------------------
 */

struct Link {
        LinkState state;
        bool congested, undrained, corked;
        unsigned room; /* messages until it is congested; 0: never */
        bool broken;   /* -ENOTCONN from now on */
        int unsubscribe_error;
        unsigned publishes, corks;
        uint64_t order[ORDER_MAX]; /* what was published, by sequence number */
        size_t bytes;
        char topic[128], first_payload[512], payload[512];
        uint64_t publish_usec;
        unsigned barriers;
        unsigned behind[BARRIERS_MAX]; /* publishes before each barrier */
        uint64_t barrier_usec[BARRIERS_MAX];
        char barrier_topic[128];
        unsigned failures;
        char text[512];
        void (*on_publish)(const char *topic, uint64_t sequence, const char *payload, size_t size);
        Delivery *delivery;
};

/* Of a message, which is the n-th of the tests. */
static uint64_t sequence_of(const char *payload, size_t size)
{
        const char *at = memmem(payload, size, "\"at\":", 5);

        assert_non_null(at);
        return strtoull(at + 5, NULL, 10) - 1700000000000;
}

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
        assert_true(link->publishes < ORDER_MAX);
        link->order[link->publishes++] = sequence_of(payload, size);
        link->bytes += size;
        if (link->on_publish)
                link->on_publish(topic, sequence_of(payload, size), payload, size);
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

bool link_drained(const Link *link)
{
        return link->state == LINK_UP && !link->congested && !link->undrained;
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

static _unused_ int setup(void **state)
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

static _unused_ int teardown(void **state)
{
        Fixture *f = *state;

        delivery_free(f->delivery);
        sd_event_unref(f->event);
        free(f);
        return 0;
}

/* The link comes up with n records in the spool. */
static _unused_ void begin(Fixture *f, unsigned n)
{
        f->spool.end = f->spool.first + n;
        if (!f->delivery)
                assert_int_equal(delivery_new(&f->delivery, f->event, &f->spool, &f->link, &f->config), 0);
        f->link.delivery = f->delivery;
        f->link.state = LINK_UP;
        assert_int_equal(delivery_start(f->delivery, PLUG_ID), 0);
}

/* n more come into the spool. */
static _unused_ void add(Fixture *f, unsigned n)
{
        for (; n > 0; n--) {
                Sample sample = sample_of(&f->spool, f->spool.end);

                assert_true(f->spool.end < RECORDS_MAX);
                delivery_take(f->delivery, f->spool.end++, &sample);
        }
}

static _unused_ void begin_live(Fixture *f, unsigned n)
{
        begin(f, 0);
        add(f, n);
}

static _unused_ void run(Fixture *f, uint64_t usec)
{
        uint64_t until = clock_monotonic_usec() + usec;

        while (clock_monotonic_usec() < until)
                (void) sd_event_run(f->event, 5 * USEC_PER_MSEC);
        assert_false(f->link.corked);
}

static _unused_ bool run_until_barriers(Fixture *f, unsigned n)
{
        uint64_t until = clock_monotonic_usec() + 5 * USEC_PER_SEC;

        while (f->link.barriers < n && clock_monotonic_usec() < until)
                (void) sd_event_run(f->event, 5 * USEC_PER_MSEC);
        return f->link.barriers == n;
}

/* The server answers the n-th barrier, from 0. */
static _unused_ void answer(Fixture *f, unsigned n)
{
        delivery_on_unsuback(f->delivery, 1000 + (int) n);
        run(f, 20 * USEC_PER_MSEC);
}

static _unused_ DeliveryStats stats(Fixture *f)
{
        DeliveryStats now;

        delivery_get_stats(f->delivery, &now);
        return now;
}
