/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Windows: what is on its way between two barriers, of either lane. A window leaves the spool when the
 * barrier after its own is answered. What is in flight is bounded in messages and in bytes; the backlog
 * takes at most three quarters of it, so that what is new never waits for its answers.
 */

#include <errno.h>
#include <string.h>

#include "delivery-internal.h"
#include "util/clock.h"

/* --- room ---------------------------------------------------------------------------------------------
 */

bool windows_have_room(const Delivery *delivery)
{
        return delivery->n_sent < BARRIERS_MAX &&
               delivery->flight.messages < delivery->batch_messages * FLIGHT_BATCHES_MESSAGES &&
               delivery->flight.bytes < delivery->batch_bytes * FLIGHT_BATCHES_BYTES;
}

bool windows_have_room_for_backlog(const Delivery *delivery)
{
        return delivery->n_sent < BARRIERS_MAX * 3 / 4 &&
               delivery->flight.backlog_messages <
                       MAX(delivery->batch_messages * FLIGHT_BATCHES_MESSAGES * 3 / 4, 1u) &&
               delivery->flight.backlog_bytes < delivery->batch_bytes * FLIGHT_BATCHES_BYTES * 3 / 4;
}

static void load_add(Load *load, bool backlog, size_t bytes)
{
        load->messages++;
        load->bytes += bytes;
        if (backlog) {
                load->backlog_messages++;
                load->backlog_bytes += bytes;
        }
}

void windows_take(Delivery *delivery, SpoolLane lane, uint64_t first, uint64_t sequence, size_t bytes)
{
        Window *open = &delivery->open;
        Range *range = &open->lanes[lane];
        bool backlog = sequence > 0 && lane == SPOOL_BACKLOG;

        if (window_is_empty(open)) {
                open->number = ++delivery->window_number;
                (void) sd_event_now(delivery->event, CLOCK_MONOTONIC, &delivery->open_usec);
        }
        load_add(&open->load, backlog, bytes);
        load_add(&delivery->flight, backlog, bytes);
        if (sequence == 0) {
                open->copies = true;
                return;
        }
        if (range->last == 0)
                range->first = first;
        range->last = sequence;
}

/* --- barriers -----------------------------------------------------------------------------------------
 */

bool windows_batch_full(const Delivery *delivery)
{
        return delivery->open.load.messages >= delivery->batch_messages ||
               delivery->open.load.bytes >= delivery->batch_bytes;
}

/* When a barrier is due for its age: for what is open, or for the last that was answered when nothing
 * follows. While one is unanswered, another says nothing new. */
uint64_t windows_barrier_due_usec(const Delivery *delivery)
{
        if (!delivery->config.barrier || delivery->n_sent > 0)
                return UINT64_MAX;
        if (!window_is_empty(&delivery->open))
                return delivery->open_usec + BATCH_USEC;
        if (!window_is_empty(&delivery->answered))
                return delivery->answered_usec + BATCH_USEC;
        return UINT64_MAX;
}

void windows_send_barrier(Delivery *delivery)
{
        Window *window = &delivery->sent[delivery->n_sent];
        int r;

        *window = delivery->open;
        r = link_unsubscribe(delivery->link, delivery->barrier_topic, &window->mid);
        if (r < 0) {
                if (r == -ENOTCONN)
                        delivery->lost = true;
                else
                        delivery_hold(delivery, r);
                return;
        }
        window->sent_usec = clock_monotonic_usec();
        if (delivery->n_sent++ == 0)
                delivery->waiting_usec = window->sent_usec;
        delivery->open = (Window){0};
}

/* --- what has arrived ---------------------------------------------------------------------------------
 */

static void confirm(Delivery *delivery, Window *window)
{
        if (window_is_empty(window))
                return;
        for (size_t lane = 0; lane < SPOOL_LANES; lane++)
                if (window->lanes[lane].last > 0)
                        spool_confirm(delivery->spool, window->lanes[lane].first, window->lanes[lane].last);
        delivery->stats.confirmed += window->messages;
        if (window->copies)
                lanes_copies_arrived(delivery, window->number);
        *window = (Window){0};
}

/* What the other side's kernel has counts as arrived. */
bool windows_confirm_unasked(Delivery *delivery)
{
        delivery->look_usec = 0;
        if (window_is_empty(&delivery->open) || delivery->lost || link_congested(delivery->link))
                return false; /* the link says when it is writable */
        if (!link_drained(delivery->link)) {
                delivery->look_usec =
                        clock_monotonic_usec() + (windows_have_room(delivery) ? LOOK_USEC : LOOK_FULL_USEC);
                return false;
        }
        confirm(delivery, &delivery->open);
        delivery->flight = (Load){0};
        return true;
}

void windows_shrink(Delivery *delivery)
{
        delivery->batch_messages = MAX(delivery->batch_messages / 4, 1u);
        delivery->batch_bytes = MAX(delivery->batch_bytes / 4, (size_t) 1024);
}

static void grow(Delivery *delivery)
{
        delivery->batch_messages = MIN(delivery->batch_messages * 2, (uint32_t) BATCH_MESSAGES);
        delivery->batch_bytes = MIN(delivery->batch_bytes * 2, (size_t) BATCH_BYTES);
}

bool windows_answered(Delivery *delivery, int mid)
{
        size_t n = 0;

        while (n < delivery->n_sent && delivery->sent[n].mid != mid)
                n++;
        if (n == delivery->n_sent)
                return false;
        (void) sd_event_now(delivery->event, CLOCK_MONOTONIC, &delivery->answered_usec);
        delivery->waiting_usec = clock_monotonic_usec();
        delivery->stats.round_trip_usec = MAX(delivery->waiting_usec - delivery->sent[n].sent_usec, 1u);
        delivery->unanswered = 0;
        grow(delivery);
        for (size_t i = 0; i <= n; i++) {
                const Load *load = &delivery->sent[i].load;

                delivery->flight.messages -= load->messages;
                delivery->flight.bytes -= load->bytes;
                delivery->flight.backlog_messages -= load->backlog_messages;
                delivery->flight.backlog_bytes -= load->backlog_bytes;
                confirm(delivery, &delivery->answered);
                delivery->answered = delivery->sent[i];
        }
        delivery->n_sent -= n + 1;
        memmove(delivery->sent, delivery->sent + n + 1, delivery->n_sent * sizeof(*delivery->sent));
        return true;
}

void windows_stop(Delivery *delivery)
{
        delivery->open = delivery->answered = (Window){0};
        delivery->n_sent = 0;
        delivery->look_usec = 0;
        delivery->flight = (Load){0};
}
