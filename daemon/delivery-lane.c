/* SPDX-License-Identifier: Apache-2.0 */

/*
 * What goes next. What came into the spool since the link is up goes in the live lane, as soon as it is
 * there; what was in it before is the backlog, and goes beside it, in order, at most as fast as drain_rate
 * says. So a channel's messages may arrive out of order, and two kinds of copies are sent as well, with
 * their own ids, outside of the order:
 *
 *   - at the start the newest message of each channel in the backlog: the server has it at once;
 *   - when a channel's backlog is through, and at the latest when all of it is, its newest message again,
 *     where older ones were sent after it: so the server's last value is the true one. It stays marked
 *     until the copy has arrived, be it over the next connection.
 *
 * A copy confirms nothing: each message leaves the spool only when its own turn has come. It is not taken
 * from the spool: one that had to make room there, or has outlived its ttl, and counts as dropped, may
 * arrive as a copy after all.
 */

#include <errno.h>
#include <string.h>

#include "delivery-internal.h"
#include "payload.h"
#include "util/clock.h"
#include "util/log.h"

/* Every so many messages it is the backlog's turn, even if what is new never ends. */
#define BACKLOG_TURN 8

/* --- handing over -------------------------------------------------------------------------------------
 */

static const char *data_topic(Delivery *delivery, const char *channel)
{
        const char *topic = (const char *) delivery->topic.data;

        if (delivery->topic.size > delivery->prefix_size &&
                strcmp(topic + delivery->prefix_size, channel) == 0)
                return topic;
        delivery->topic.size = delivery->prefix_size;
        delivery->topic.failed = false;
        bytes_put(&delivery->topic, channel, strlen(channel) + 1);
        return delivery->topic.failed ? NULL : (const char *) delivery->topic.data;
}

/* All that is sent goes through here. 0, or -errno: -ENOTCONN, -ENOMEM; everything else is the message's own
 * fault. */
static int publish(Delivery *delivery, const Sample *sample, size_t *ret_bytes)
{
        const char *topic = data_topic(delivery, sample->channel);

        bytes_clear(&delivery->payload);
        payload_put_message(&delivery->payload, sample);
        if (!topic || delivery->payload.failed)
                return -ENOMEM;
        *ret_bytes = delivery->topic.size + delivery->payload.size;
        return link_publish(delivery->link, topic, delivery->payload.data, delivery->payload.size);
}

static void skip(Delivery *delivery, const Sample *sample, int error)
{
        const LogContext context = {.sensor = sample->sensor, .channel = sample->channel};
        char id[SAMPLE_ID_TEXT];

        delivery->stats.skipped++;
        log_write(LOG_WARNING, &context, "message %s on channel %s is dropped: MQTT can't carry it (%s)",
                sample_id_format(sample->id, id), sample->channel,
                error == -EMSGSIZE ? "too long" : "its channel is no topic");
}

/* A sample that is held gets its time, or has none yet. */
static bool give_time(const Delivery *delivery, Sample *sample)
{
        return !sample->boot ||
               (delivery->resolve && delivery->resolve(sample, delivery->resolve_userdata) >= 0);
}

/* 1: it is with the link; 0: MQTT can't carry it, ret_error says why; -1: not now. */
static int hand_over(
        Delivery *delivery, const Sample *sample, bool cork, bool *corked, size_t *ret_bytes, int *ret_error)
{
        int r;

        if (cork && !*corked) {
                *corked = true;
                link_cork(delivery->link, true);
        }
        r = publish(delivery, sample, ret_bytes);
        if (r == 0) {
                delivery->stats.published++;
                return 1;
        }
        *ret_error = r;
        if (r == -EINVAL || r == -EMSGSIZE)
                return 0;
        if (r == -ENOTCONN)
                delivery->lost = true;
        else
                delivery_hold(delivery, r);
        return -1;
}

/* --- copies -------------------------------------------------------------------------------------------
 */

/* Did the server get this channel's newest message, as far as it was handed over? */
static bool has_gone(const Delivery *delivery, const LatestEntry *entry)
{
        if (entry->sequence >= delivery->boundary)
                return entry->sequence < delivery->lanes[SPOOL_LIVE].next ||
                       spool_is_confirmed(delivery->spool, entry->sequence);
        return !entry->due || spool_is_confirmed(delivery->spool, entry->sequence);
}

static void set_due(Delivery *delivery, LatestEntry *entry)
{
        entry->due = true;
        delivery->copies_due = true;
}

/* At the start: what the server should have first of all. */
static void begin_copies(Delivery *delivery, uint64_t end)
{
        for (LatestEntry *entry = latest_first(delivery->latest); entry; entry = latest_next(entry)) {
                bool waits = delivery->draining && entry->sequence < end &&
                             !spool_is_confirmed(delivery->spool, entry->sequence);

                entry->due = false;
                entry->repeated = 0;
                entry->backlog_last = waits ? entry->sequence : 0;
                if (waits || entry->stale)
                        set_due(delivery, entry);
        }
}

/* A message that isn't the newest of its channel went out after that one; or it is the newest. */
static void watch_order(Delivery *delivery, const Sample *sample, uint64_t sequence)
{
        LatestEntry *entry = latest_find(delivery->latest, sample->channel);

        if (!entry)
                return;
        if (sequence >= entry->sequence)
                entry->stale = false;
        else if (has_gone(delivery, entry)) {
                entry->stale = true;
                entry->repeated = 0;
                delivery->disordered = true;
                if (delivery->draining && sequence == entry->backlog_last)
                        set_due(delivery, entry);
        }
}

/* The backlog is through; where there is none, the live lane is. */
static void finish_copies(Delivery *delivery)
{
        if (!delivery->disordered)
                return;
        delivery->disordered = false;
        for (LatestEntry *entry = latest_first(delivery->latest); entry; entry = latest_next(entry))
                if (entry->stale && entry->repeated == 0)
                        set_due(delivery, entry);
}

void lanes_copies_arrived(Delivery *delivery, uint64_t window_number)
{
        for (LatestEntry *entry = latest_first(delivery->latest); entry; entry = latest_next(entry))
                if (entry->stale && entry->repeated > 0 && entry->repeated <= window_number)
                        entry->stale = false;
}

/* The newest first. 1: sent; 0: none is due; -1: not now. */
static int send_copy(Delivery *delivery, bool follows, bool *corked)
{
        for (LatestEntry *entry = latest_first(delivery->latest); entry; entry = latest_next(entry)) {
                Sample sample = entry->sample;
                size_t bytes = 0;
                int r, error;

                if (!entry->due || !give_time(delivery, &sample))
                        continue;
                entry->due = false;
                if (entry->sequence >= delivery->boundary && !has_gone(delivery, entry))
                        continue; /* there is a newer one by now, and the live lane has it */
                r = hand_over(delivery, &sample, follows, corked, &bytes, &error);
                if (r < 0) {
                        entry->due = true;
                        return r;
                }
                if (r == 0) { /* which is said when it is its turn */
                        entry->stale = false;
                        continue;
                }
                windows_take(delivery, SPOOL_LIVE, 0, 0, bytes);
                if (entry->stale)
                        entry->repeated = delivery->open.number;
                return 1;
        }
        delivery->copies_due = false;
        return 0;
}

/* --- drain_rate ---------------------------------------------------------------------------------------
 */

static bool has_tokens(const Delivery *delivery)
{
        return delivery->config.drain_rate <= 0 || delivery->tokens >= 1;
}

void lanes_refill(Delivery *delivery, uint64_t now_usec)
{
        double rate = delivery->config.drain_rate;
        double burst = MAX(rate / 10, 1.0); /* what the timer may be late */

        if (!delivery->draining || rate <= 0 || now_usec <= delivery->tokens_usec)
                return;
        delivery->tokens += (double) (now_usec - delivery->tokens_usec) / (double) USEC_PER_SEC * rate;
        delivery->tokens = MIN(delivery->tokens, burst);
        delivery->tokens_usec = now_usec;
}

static uint64_t token_due_usec(const Delivery *delivery)
{
        const Lane *lane = &delivery->lanes[SPOOL_BACKLOG];
        double wait;

        if (!delivery->draining || lane->fetching || lane->timeless || lane->retry_usec > 0 ||
                has_tokens(delivery))
                return UINT64_MAX;
        wait = (1 - delivery->tokens) / delivery->config.drain_rate * (double) USEC_PER_SEC;
        return delivery->tokens_usec + (uint64_t) MIN(wait, 3600.0 * (double) USEC_PER_SEC) + 1;
}

uint64_t lanes_due_usec(const Delivery *delivery)
{
        uint64_t due = token_due_usec(delivery);

        for (size_t i = 0; i < SPOOL_LANES; i++)
                if (delivery->lanes[i].retry_usec > 0)
                        due = MIN(due, delivery->lanes[i].retry_usec);
        return due;
}

/* --- lanes --------------------------------------------------------------------------------------------
 */

void lanes_start(Delivery *delivery)
{
        uint64_t end = spool_end(delivery->spool);
        SpoolStats stats;

        spool_get_stats(delivery->spool, &stats);
        /* One message alone needs no second lane: it goes at once, and if something newer has arrived
         * before it, watch_order() sees to that. */
        delivery->draining = stats.messages > 1;
        delivery->boundary = delivery->draining ? end : 0;
        spool_set_boundary(delivery->spool, delivery->boundary);
        delivery->lanes[SPOOL_LIVE].next = delivery->boundary;
        delivery->tokens = 1;
        delivery->tokens_usec = clock_monotonic_usec();
        begin_copies(delivery, end);
}

void lanes_stop(Delivery *delivery)
{
        delivery->draining = delivery->copies_due = delivery->disordered = false;
        for (SpoolLane lane = SPOOL_BACKLOG; lane <= SPOOL_LIVE; lane++) {
                delivery->lanes[lane] = (Lane){0};
                spool_rest(delivery->spool, lane);
        }
}

void lanes_resume(Delivery *delivery)
{
        for (size_t i = 0; i < SPOOL_LANES; i++)
                delivery->lanes[i].timeless = false;
        for (LatestEntry *entry = latest_first(delivery->latest); entry; entry = latest_next(entry))
                delivery->copies_due |= entry->due;
}

void lanes_retry(Delivery *delivery, uint64_t now_usec)
{
        for (size_t i = 0; i < SPOOL_LANES; i++)
                if (delivery->lanes[i].retry_usec <= now_usec)
                        delivery->lanes[i].retry_usec = 0;
}

/* This lane can't be read; the other may well be. Said once, and shown as long as it lasts. */
static void lane_hold(Delivery *delivery, Lane *lane, int error)
{
        lane->retry_usec = clock_monotonic_usec() + RETRY_USEC;
        if (lane->error == error)
                return;
        lane->error = error;
        snprintf(delivery->trouble, sizeof(delivery->trouble),
                "the spool can't be read: %s; trying again every second", strerror(-error));
        log_error("%s", delivery->trouble);
}

static bool lane_may_go(const Delivery *delivery, SpoolLane lane)
{
        const Lane *l = &delivery->lanes[lane];

        if (l->dry || l->fetching || l->timeless || l->retry_usec > 0)
                return false;
        return lane == SPOOL_LIVE ||
               (delivery->draining && has_tokens(delivery) && windows_have_room_for_backlog(delivery));
}

bool lanes_have_more(const Delivery *delivery)
{
        return delivery->copies_due || lane_may_go(delivery, SPOOL_LIVE) ||
               lane_may_go(delivery, SPOOL_BACKLOG);
}

/* Nothing is left in the spool before the boundary but what is on its way. */
static void end_backlog(Delivery *delivery)
{
        Lane *lane = &delivery->lanes[SPOOL_BACKLOG];

        if (lane->next < delivery->boundary)
                spool_confirm(delivery->spool, lane->next, delivery->boundary - 1);
        delivery->draining = false;
        spool_rest(delivery->spool, SPOOL_BACKLOG);
        finish_copies(delivery);
}

/* 1: sent (or skipped); 0: this lane has none now; -1: nothing can go now. */
static int send_from(Delivery *delivery, SpoolLane which, bool follows, bool *corked)
{
        Lane *lane = &delivery->lanes[which];
        uint64_t sequence;
        size_t bytes = 0;
        Sample sample;
        int error, r;

        r = spool_read(delivery->spool, which, lane->next, &sequence, &sample);
        if (r == -EAGAIN) {
                lane->fetching = true;
                return 0;
        }
        if (r < 0) {
                lane_hold(delivery, lane, r);
                return 0;
        }
        lane->error = 0;
        if (which == SPOOL_BACKLOG && (r == 0 || sequence >= delivery->boundary)) {
                end_backlog(delivery);
                return 0;
        }
        if (r == 0) {
                lane->dry = true;
                if (!delivery->draining)
                        finish_copies(delivery);
                return 0;
        }
        if (!give_time(delivery, &sample)) {
                lane->timeless = true;
                return 0;
        }
        r = hand_over(delivery, &sample, follows, corked, &bytes, &error);
        if (r < 0)
                return r;
        if (r == 0)
                skip(delivery, &sample, error);
        delivery->complained = false;
        windows_take(delivery, which, lane->next, sequence, bytes);
        delivery->open.messages += (uint32_t) r;
        lane->next = sequence + 1;
        if (which == SPOOL_BACKLOG)
                delivery->tokens -= 1;
        if (r > 0)
                watch_order(delivery, &sample, sequence);
        return 1;
}

int lanes_send(Delivery *delivery, bool follows, bool *corked)
{
        bool backlog_first = ++delivery->turn % BACKLOG_TURN == 0;
        int r = 0;

        if (delivery->copies_due)
                r = send_copy(delivery, follows, corked);
        for (unsigned i = 0; i < SPOOL_LANES && r == 0; i++) {
                SpoolLane lane = (i == 0) == backlog_first ? SPOOL_BACKLOG : SPOOL_LIVE;

                if (lane_may_go(delivery, lane))
                        r = send_from(delivery, lane, follows, corked);
        }
        if (r == 0 && delivery->copies_due) /* the backlog has just ended */
                r = send_copy(delivery, follows, corked);
        return r;
}
