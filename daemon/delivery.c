/* SPDX-License-Identifier: Apache-2.0 */

/* Delivery, the object: what is due when, what the link and the spool tell, start and stop. See
 * delivery-internal.h for who does what. */

#include <errno.h>
#include <string.h>

#include "delivery-internal.h"
#include "topic.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

static void arm(Delivery *delivery)
{
        if (delivery->armed)
                return;
        delivery->armed = true;
        (void) sd_event_source_set_enabled(delivery->advance, SD_EVENT_ONESHOT);
}

/* --- what is due -----------------------------------------------------------------------------------------
 */

static bool may_send(const Delivery *delivery)
{
        return delivery->running && !delivery->lost && delivery->retry_usec == 0 &&
               !link_congested(delivery->link) && windows_have_room(delivery);
}

/* Only if there is something to do: nothing spins. */
static void arm_if_more(Delivery *delivery)
{
        if (may_send(delivery) && lanes_have_more(delivery))
                arm(delivery);
}

static uint64_t next_due_usec(const Delivery *delivery)
{
        uint64_t due = delivery->retry_usec > 0
                               ? delivery->retry_usec
                               : MIN(windows_barrier_due_usec(delivery), lanes_due_usec(delivery));

        if (delivery->look_usec > 0)
                due = MIN(due, delivery->look_usec);
        if (delivery->n_sent > 0)
                due = MIN(due, delivery->waiting_usec + delivery->config.timeout_usec);
        return due;
}

/* A timer that rings too early only looks again; it is set anew where it would ring too late. */
static void set_timer(Delivery *delivery)
{
        uint64_t due = delivery->running && !delivery->lost ? next_due_usec(delivery) : UINT64_MAX;

        if (due == UINT64_MAX && delivery->timer_usec != UINT64_MAX) {
                (void) sd_event_source_set_enabled(delivery->timer, SD_EVENT_OFF);
                delivery->timer_usec = UINT64_MAX;
        } else if (due < delivery->timer_usec) {
                (void) sd_event_source_set_time(delivery->timer, due);
                (void) sd_event_source_set_enabled(delivery->timer, SD_EVENT_ONESHOT);
                delivery->timer_usec = due;
        }
}

/* --- sending ---------------------------------------------------------------------------------------------
 */

void delivery_hold(Delivery *delivery, int error)
{
        delivery->retry_usec = clock_monotonic_usec() + RETRY_USEC;
        if (!delivery->complained)
                log_error("cannot send what is in the spool, and try again every second: %s",
                        strerror(-error));
        delivery->complained = true;
}

static void advance(Delivery *delivery)
{
        uint64_t now;
        unsigned n = 0;
        bool corked = false;

        (void) sd_event_now(delivery->event, CLOCK_MONOTONIC, &now);
        lanes_refill(delivery, now);
        for (; n < BATCH_MESSAGES && may_send(delivery) && lanes_send(delivery, n > 0, &corked) > 0; n++)
                if (delivery->config.barrier && windows_batch_full(delivery))
                        windows_send_barrier(delivery);
        if (!delivery->lost && delivery->retry_usec == 0 && windows_barrier_due_usec(delivery) <= now)
                windows_send_barrier(delivery);
        /* Never left corked: the last segment would wait in the kernel for 200 ms. */
        if (corked)
                link_cork(delivery->link, false);
        if (!delivery->config.barrier && windows_confirm_unasked(delivery) && delivery->confirmed)
                delivery->confirmed(delivery->confirmed_userdata);
        arm_if_more(delivery);
        set_timer(delivery);
}

static int on_advance(sd_event_source *source, void *userdata)
{
        Delivery *delivery = userdata;

        (void) source;
        delivery->armed = false;
        if (delivery->running)
                advance(delivery);
        return 0;
}

/* --- the timer -------------------------------------------------------------------------------------------
 */

static void give_up(Delivery *delivery)
{
        _cleanup_(freep) char *text = NULL;
        unsigned patience = (unsigned) (delivery->config.timeout_usec / USEC_PER_SEC);

        windows_shrink(delivery); /* if the way is only slow, they get through in time */
        if (++delivery->unanswered >= NAMED_AFTER)
                text = text_printf(
                        "it takes logins, but left %u barriers (UNSUBSCRIBE) running unanswered, %u s "
                        "each: it is overloaded, or not fit for delivery.confirm = \"barrier\". "
                        "Everything is sent again",
                        delivery->unanswered, patience);
        else
                text = text_printf("no answer to a barrier (UNSUBSCRIBE) within %u s: the way there or the "
                                   "server is stuck. What was not confirmed is sent again",
                        patience);
        link_fail(delivery->link, text ? text : "out of memory");
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        Delivery *delivery = userdata;
        uint64_t now;

        (void) source;
        (void) usec;
        delivery->timer_usec = UINT64_MAX;
        if (!delivery->running)
                return 0;
        (void) sd_event_now(delivery->event, CLOCK_MONOTONIC, &now);
        if (delivery->n_sent > 0 && now >= delivery->waiting_usec + delivery->config.timeout_usec) {
                give_up(delivery);
                return 0;
        }
        if (delivery->retry_usec > 0 && now >= delivery->retry_usec)
                delivery->retry_usec = 0;
        lanes_retry(delivery, now);
        advance(delivery);
        return 0;
}

/* --- from the link ---------------------------------------------------------------------------------------
 */

void delivery_on_unsuback(Delivery *delivery, int mid)
{
        if (!delivery->running || !windows_answered(delivery, mid))
                return;
        arm_if_more(delivery);
        if (windows_barrier_due_usec(delivery) <= delivery->answered_usec)
                arm(delivery);
        set_timer(delivery);
}

void delivery_on_writable(Delivery *delivery)
{
        if (delivery->running && !delivery->config.barrier)
                arm(delivery);
        arm_if_more(delivery);
}

static void on_spool_ready(void *userdata)
{
        Delivery *delivery = userdata;

        for (size_t i = 0; i < SPOOL_LANES; i++)
                delivery->lanes[i].fetching = false;
        arm_if_more(delivery);
}

/* --- from above ------------------------------------------------------------------------------------------
 */

int delivery_new(Delivery **ret, sd_event *event, Spool *spool, Link *link, const DeliveryConfig *config)
{
        _cleanup_(delivery_freep) Delivery *delivery = calloc(1, sizeof(*delivery));
        int r;

        if (!delivery)
                return -ENOMEM;
        *delivery = (Delivery){
                .event = sd_event_ref(event),
                .spool = spool,
                .link = link,
                .config = *config,
                .timer_usec = UINT64_MAX,
                .batch_messages = BATCH_MESSAGES,
                .batch_bytes = BATCH_BYTES,
                .latest = latest_new(),
        };
        if (!delivery->latest)
                return -ENOMEM;
        r = sd_event_add_defer(event, &delivery->advance, on_advance, delivery);
        if (r >= 0)
                r = sd_event_source_set_enabled(delivery->advance, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time(event, &delivery->timer, CLOCK_MONOTONIC, UINT64_MAX,
                        20 * USEC_PER_MSEC, on_timer, delivery);
        if (r >= 0)
                r = sd_event_source_set_enabled(delivery->timer, SD_EVENT_OFF);
        if (r < 0)
                return r;
        spool_set_ready(spool, on_spool_ready, delivery);
        *ret = TAKE_PTR(delivery);
        return 0;
}

Delivery *delivery_free(Delivery *delivery)
{
        if (!delivery)
                return NULL;
        spool_set_ready(delivery->spool, NULL, NULL);
        sd_event_source_disable_unref(delivery->advance);
        sd_event_source_disable_unref(delivery->timer);
        sd_event_unref(delivery->event);
        bytes_deinit(&delivery->topic);
        bytes_deinit(&delivery->payload);
        latest_free(delivery->latest);
        free(delivery->barrier_topic);
        free(delivery);
        return NULL;
}

int delivery_start(Delivery *delivery, const char *plug_id)
{
        delivery_stop(delivery);

        free(delivery->barrier_topic);
        delivery->barrier_topic = topic_barrier(plug_id);
        bytes_deinit(&delivery->topic);
        delivery->topic = (Bytes){0};
        bytes_put(&delivery->topic, plug_id, strlen(plug_id));
        bytes_put(&delivery->topic, "/data/", strlen("/data/"));
        if (!delivery->barrier_topic || delivery->topic.failed)
                return -ENOMEM;
        delivery->prefix_size = delivery->topic.size;
        delivery->running = true;
        lanes_start(delivery);
        arm(delivery);
        return 0;
}

void delivery_stop(Delivery *delivery)
{
        delivery->running = delivery->lost = false;
        delivery->retry_usec = 0;
        lanes_stop(delivery);
        windows_stop(delivery);
        set_timer(delivery);
}

void delivery_take(Delivery *delivery, uint64_t sequence, const Sample *sample)
{
        Lane *live = &delivery->lanes[SPOOL_LIVE];

        latest_note(delivery->latest, sequence, sample);
        if (!live->dry)
                return; /* at it, or held up: what is new is found then */
        live->dry = false;
        arm_if_more(delivery);
}

void delivery_set_resolver(Delivery *delivery, DeliveryResolve resolve, void *userdata)
{
        delivery->resolve = resolve;
        delivery->resolve_userdata = userdata;
}

void delivery_set_confirmed(Delivery *delivery, DeliveryConfirmed confirmed, void *userdata)
{
        delivery->confirmed = confirmed;
        delivery->confirmed_userdata = userdata;
}

void delivery_resume(Delivery *delivery)
{
        lanes_resume(delivery);
        arm_if_more(delivery);
}

unsigned delivery_unanswered(const Delivery *delivery)
{
        return delivery->unanswered;
}

void delivery_get_stats(const Delivery *delivery, DeliveryStats *ret)
{
        *ret = delivery->stats;
        ret->trouble = "";
        for (size_t i = 0; i < SPOOL_LANES; i++)
                if (delivery->lanes[i].error < 0)
                        ret->trouble = delivery->trouble;
}
