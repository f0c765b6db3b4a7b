/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "delivery.h"
#include "payload.h"
#include "topic.h"
#include "util/bytes.h"
#include "util/clock.h"
#include "util/log.h"
#include "util/text.h"

/*
 * Delivery: what of the spool is on its way, and what has arrived. Messages go out in windows, each closed
 * by a barrier. One function does all the sending, advance(), as a source of the loop of its own, with the
 * same priority as the rest: with a lower one, a sensor that never pauses would starve it. One timer wakes
 * it for whatever is due next.
 */

#define BATCH_MESSAGES 500
#define BATCH_BYTES (64 * 1024)
#define FLIGHT_BATCHES_MESSAGES 2 /* in flight at most: 1,000 messages … */
#define FLIGHT_BATCHES_BYTES 4    /* … or 256 KiB */
#define BATCH_USEC USEC_PER_SEC   /* an unfinished batch gets its barrier after this long */
#define BARRIERS_MAX 8            /* unanswered at the same time */
#define RETRY_USEC USEC_PER_SEC   /* after an error of the spool or of memory */
#define NAMED_AFTER 3             /* barriers running, unanswered */

/* Messages of the spool that went out one after the other, up to a barrier. */
typedef struct Window {
        uint64_t last;     /* sequence number */
        uint32_t taken;    /* out of the spool */
        uint32_t messages; /* of these, sent */
        size_t bytes;
        int mid; /* its barrier */
        uint64_t sent_usec;
} Window;

struct Delivery {
        sd_event *event;
        Spool *spool;
        Link *link;
        DeliveryConfig config;
        DeliveryStats stats;
        sd_event_source *advance, *timer;
        bool running;
        bool lost;  /* the link has noticed, and will tell: nothing goes until then */
        bool armed; /* advance() will run */
        uint64_t timer_usec;

        Bytes topic; /* PLUG_ID/data/ and the last channel */
        size_t prefix_size;
        char *barrier_topic;
        Bytes payload;

        uint64_t next; /* sequence number to read from */
        bool dry;      /* the spool had no more */
        bool fetching; /* the spool gets it from the disk, and says when it has it */
        bool timeless; /* the next message has no time yet */
        DeliveryResolve resolve;
        void *resolve_userdata;
        uint64_t retry_usec;

        Window open; /* not closed yet */
        uint64_t open_usec;
        Window sent[BARRIERS_MAX]; /* waiting for their answers, in order */
        size_t n_sent;
        uint64_t waiting_usec; /* since when there was no answer */
        Window answered;       /* goes out of the spool with the next answer */
        uint64_t answered_usec;

        uint32_t batch_messages, flight_messages;
        size_t batch_bytes, flight_bytes;
        unsigned unanswered; /* barriers running, over reconnects */
        bool complained;     /* of the spool */
};

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
        return delivery->running && !delivery->lost && !delivery->fetching && !delivery->timeless &&
               delivery->retry_usec == 0 && !link_congested(delivery->link) &&
               delivery->n_sent < BARRIERS_MAX &&
               delivery->flight_messages < delivery->batch_messages * FLIGHT_BATCHES_MESSAGES &&
               delivery->flight_bytes < delivery->batch_bytes * FLIGHT_BATCHES_BYTES;
}

static bool batch_full(const Delivery *delivery)
{
        return delivery->open.taken >= delivery->batch_messages ||
               delivery->open.bytes >= delivery->batch_bytes;
}

/* When a barrier is due for its age: for what is open, or for the last that was answered when nothing
 * follows. While one is unanswered, another says nothing new. */
static uint64_t barrier_due_usec(const Delivery *delivery)
{
        if (!delivery->config.barrier || delivery->n_sent > 0)
                return UINT64_MAX;
        if (delivery->open.taken > 0)
                return delivery->open_usec + BATCH_USEC;
        if (delivery->answered.taken > 0)
                return delivery->answered_usec + BATCH_USEC;
        return UINT64_MAX;
}

static uint64_t next_due_usec(const Delivery *delivery)
{
        uint64_t due = delivery->retry_usec > 0 ? delivery->retry_usec : barrier_due_usec(delivery);

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

/* 0, or -errno: -ENOTCONN, -ENOMEM; everything else is the message's own fault. */
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

/* Something that is no message's fault is in the way: look again in a while. */
static void hold(Delivery *delivery, int error)
{
        delivery->retry_usec = clock_monotonic_usec() + RETRY_USEC;
        if (!delivery->complained)
                log_error("cannot send what is in the spool, and try again every second: %s",
                        strerror(-error));
        delivery->complained = true;
}

/* Takes the next message. What comes alone is not held back by a cork. 1: done, 0: there is none, or not
 * now. */
static int send_one(Delivery *delivery, bool follows, bool *corked)
{
        Window *open = &delivery->open;
        uint64_t sequence;
        size_t bytes = 0;
        Sample sample;
        int r;

        r = spool_read(delivery->spool, delivery->next, &sequence, &sample);
        if (r == 0) {
                delivery->dry = true;
                return 0;
        }
        if (r == -EAGAIN) {
                delivery->fetching = true;
                return 0;
        }
        if (r < 0) {
                hold(delivery, r);
                return 0;
        }
        if (sample.boot &&
                (!delivery->resolve || delivery->resolve(&sample, delivery->resolve_userdata) < 0)) {
                delivery->timeless = true;
                return 0;
        }
        if (follows && !*corked) {
                *corked = true;
                link_cork(delivery->link, true);
        }
        r = publish(delivery, &sample, &bytes);
        if (r == -ENOTCONN) {
                delivery->lost = true;
                return 0;
        }
        if (r == -EINVAL || r == -EMSGSIZE)
                skip(delivery, &sample, r);
        else if (r < 0) {
                hold(delivery, r);
                return 0;
        } else {
                open->messages++;
                delivery->stats.published++;
        }
        delivery->complained = false;
        delivery->next = sequence + 1;
        if (open->taken++ == 0)
                (void) sd_event_now(delivery->event, CLOCK_MONOTONIC, &delivery->open_usec);
        open->last = sequence;
        open->bytes += bytes;
        delivery->flight_messages++;
        delivery->flight_bytes += bytes;
        return 1;
}

static void send_barrier(Delivery *delivery)
{
        Window *window = &delivery->sent[delivery->n_sent];
        int r;

        *window = delivery->open;
        r = link_unsubscribe(delivery->link, delivery->barrier_topic, &window->mid);
        if (r < 0) {
                if (r == -ENOTCONN)
                        delivery->lost = true;
                else
                        hold(delivery, r);
                return;
        }
        window->sent_usec = clock_monotonic_usec();
        if (delivery->n_sent++ == 0)
                delivery->waiting_usec = window->sent_usec;
        delivery->open = (Window){0};
}

static void confirm(Delivery *delivery, Window *window)
{
        if (window->taken == 0)
                return;
        spool_confirm(delivery->spool, window->last);
        delivery->stats.confirmed += window->messages;
        *window = (Window){0};
}

/* confirm = "none": what the kernel has taken counts as arrived. */
static void confirm_unasked(Delivery *delivery)
{
        if (link_congested(delivery->link) || link_state(delivery->link) != LINK_UP)
                return;
        confirm(delivery, &delivery->open);
        delivery->flight_messages = 0;
        delivery->flight_bytes = 0;
}

static void advance(Delivery *delivery)
{
        uint64_t now;
        unsigned n = 0;
        bool corked = false;

        (void) sd_event_now(delivery->event, CLOCK_MONOTONIC, &now);
        for (; n < BATCH_MESSAGES && may_send(delivery) && send_one(delivery, n > 0, &corked) > 0; n++)
                if (delivery->config.barrier && batch_full(delivery))
                        send_barrier(delivery);
        if (!delivery->lost && delivery->retry_usec == 0 && barrier_due_usec(delivery) <= now)
                send_barrier(delivery);
        /* Never left corked: the last segment would wait in the kernel for 200 ms. */
        if (corked)
                link_cork(delivery->link, false);
        if (!delivery->config.barrier)
                confirm_unasked(delivery);
        if (!delivery->dry && may_send(delivery))
                arm(delivery);
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

/* Smaller batches: if the way is only slow, they get through in time. */
static void shrink(Delivery *delivery)
{
        delivery->batch_messages = MAX(delivery->batch_messages / 4, 1u);
        delivery->batch_bytes = MAX(delivery->batch_bytes / 4, (size_t) 1024);
}

static void grow(Delivery *delivery)
{
        delivery->batch_messages = MIN(delivery->batch_messages * 2, (uint32_t) BATCH_MESSAGES);
        delivery->batch_bytes = MIN(delivery->batch_bytes * 2, (size_t) BATCH_BYTES);
}

static void give_up(Delivery *delivery)
{
        _cleanup_(freep) char *text = NULL;
        unsigned patience = (unsigned) (delivery->config.timeout_usec / USEC_PER_SEC);

        shrink(delivery);
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
        advance(delivery);
        return 0;
}

/* --- from the link ---------------------------------------------------------------------------------------
 */

void delivery_on_unsuback(Delivery *delivery, int mid)
{
        size_t n = 0;

        while (n < delivery->n_sent && delivery->sent[n].mid != mid)
                n++;
        if (!delivery->running || n == delivery->n_sent) /* not ours */
                return;
        (void) sd_event_now(delivery->event, CLOCK_MONOTONIC, &delivery->answered_usec);
        delivery->waiting_usec = clock_monotonic_usec();
        delivery->stats.round_trip_usec = MAX(delivery->waiting_usec - delivery->sent[n].sent_usec, 1u);
        delivery->unanswered = 0;
        grow(delivery);
        for (size_t i = 0; i <= n; i++) {
                delivery->flight_messages -= delivery->sent[i].taken;
                delivery->flight_bytes -= delivery->sent[i].bytes;
                confirm(delivery, &delivery->answered);
                delivery->answered = delivery->sent[i];
        }
        delivery->n_sent -= n + 1;
        memmove(delivery->sent, delivery->sent + n + 1, delivery->n_sent * sizeof(*delivery->sent));
        if (!delivery->dry || barrier_due_usec(delivery) <= delivery->answered_usec)
                arm(delivery);
        set_timer(delivery);
}

void delivery_on_writable(Delivery *delivery)
{
        if (delivery->running && (!delivery->dry || !delivery->config.barrier))
                arm(delivery);
}

static void on_spool_ready(void *userdata)
{
        Delivery *delivery = userdata;

        delivery->fetching = false;
        if (may_send(delivery))
                arm(delivery);
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
        };
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
        arm(delivery);
        return 0;
}

void delivery_stop(Delivery *delivery)
{
        delivery->running = delivery->lost = delivery->dry = delivery->fetching = delivery->timeless = false;
        delivery->next = 0;
        delivery->retry_usec = 0;
        delivery->open = delivery->answered = (Window){0};
        delivery->n_sent = 0;
        delivery->flight_messages = 0;
        delivery->flight_bytes = 0;
        set_timer(delivery);
}

void delivery_wake(Delivery *delivery)
{
        if (!delivery->dry)
                return; /* at it, or held up: what is new is found then */
        delivery->dry = false;
        if (may_send(delivery))
                arm(delivery);
}

void delivery_set_resolver(Delivery *delivery, DeliveryResolve resolve, void *userdata)
{
        delivery->resolve = resolve;
        delivery->resolve_userdata = userdata;
}

void delivery_resume(Delivery *delivery)
{
        if (!delivery->timeless)
                return;
        delivery->timeless = false;
        if (may_send(delivery))
                arm(delivery);
}

unsigned delivery_unanswered(const Delivery *delivery)
{
        return delivery->unanswered;
}

void delivery_get_stats(const Delivery *delivery, DeliveryStats *ret)
{
        *ret = delivery->stats;
}
