/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Delivery: turns QoS 0 into acknowledged delivery. Takes records from the spool, publishes them, and after
 * each batch unsubscribes from a topic that it never subscribed to; the server must answer that after all it
 * read before. What a barrier covers is confirmed when the barrier after it is answered; when idle, one more
 * follows a second later. A barrier not answered in time: the link fails, and what wasn't confirmed is sent
 * again after it is up, in smaller batches at first: the way may be slow, not dead.
 *
 * Live first: what is new goes out at once, and what had waited while the link was down beside it, in order.
 * In the end the newest message of each channel is the last that the server got, if need be by sending it
 * once more. It all happens in a source of the loop, a batch at a time; nothing here is called back from a
 * call.
 */

#include <systemd/sd-event.h>

#include "config.h"
#include "link.h"
#include "spool.h"

typedef struct Delivery Delivery;

typedef struct DeliveryStats {
        uint64_t published; /* handed to the link, repeats included; since the start */
        uint64_t confirmed; /* went out of the spool as arrived; since the start */
        uint64_t skipped;   /* MQTT can't carry them: out of the spool unsent, logged; since the start */
        uint64_t round_trip_usec; /* of the last barrier; 0: none yet */
        const char *trouble;      /* "" or why the spool can't be read, in words */
} DeliveryStats;

int delivery_new(Delivery **ret, sd_event *event, Spool *spool, Link *link, const DeliveryConfig *config);
Delivery *delivery_free(Delivery *delivery);
DEFINE_CLEANUP(Delivery, delivery_free);

/* The link came up as this device: what is in the spool now is the backlog. */
int delivery_start(Delivery *delivery, const char *plug_id);
/* The link went down: forget what is under way. */
void delivery_stop(Delivery *delivery);
/* This went into the spool. Cheap: sends nothing itself, only sees to it that the loop will. */
void delivery_take(Delivery *delivery, uint64_t sequence, const Sample *sample);
/* What becomes of a sample that is held until the clock is set (sample->boot): 0, and it has its time; or
 * -EAGAIN: not yet, and it waits, with what is behind it in its lane, until delivery_resume(). */
typedef int (*DeliveryResolve)(Sample *sample, void *userdata);
void delivery_set_resolver(Delivery *delivery, DeliveryResolve resolve, void *userdata);
void delivery_resume(Delivery *delivery);
/* Without barriers: some went out of the spool as arrived. From the loop. With them it is
 * delivery_on_unsuback() that lets them go. */
typedef void (*DeliveryConfirmed)(void *userdata);
void delivery_set_confirmed(Delivery *delivery, DeliveryConfirmed confirmed, void *userdata);
/* From the link's handler. */
void delivery_on_unsuback(Delivery *delivery, int mid);
void delivery_on_writable(Delivery *delivery);

/* How many barriers running were not answered in time, over reconnects; 0 again with the next answer. */
unsigned delivery_unanswered(const Delivery *delivery);

void delivery_get_stats(const Delivery *delivery, DeliveryStats *ret);
