/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the files of delivery share. Who does what:
 *
 *   delivery-lane.c    what goes next, and handing it to the link
 *   delivery-window.c  windows and their barriers: what is on its way, and what has arrived
 *   delivery.c         the object: when something is done, start and stop
 *
 * Messages go out in windows, each closed by a barrier. One function does all the sending, advance(), as a
 * source of the loop of its own, with the same priority as the rest: with a lower one, a sensor that never
 * pauses would starve it. One timer wakes it for whatever is due next.
 */

#include "delivery.h"
#include "latest.h"
#include "ranges.h"
#include "util/bytes.h"

#define BATCH_MESSAGES 500
#define BATCH_BYTES (64 * 1024)
#define FLIGHT_BATCHES_MESSAGES 2           /* in flight at most: 1,000 messages … */
#define FLIGHT_BATCHES_BYTES 4              /* … or 256 KiB */
#define BATCH_USEC USEC_PER_SEC             /* an unfinished batch gets its barrier after this long */
#define BARRIERS_MAX 8                      /* unanswered at the same time */
#define RETRY_USEC USEC_PER_SEC             /* after an error of the spool or of memory */
#define LOOK_USEC (100 * USEC_PER_MSEC)     /* without barriers, until all is acknowledged by TCP … */
#define LOOK_FULL_USEC (20 * USEC_PER_MSEC) /* … and where more would go */
#define NAMED_AFTER 3                       /* barriers running, unanswered */

/* What has been handed to the link, and how much of it is backlog. */
typedef struct Load {
        uint32_t messages, backlog_messages;
        size_t bytes, backlog_bytes;
} Load;

/* What went out one after the other, up to a barrier. */
typedef struct Window {
        Range lanes[SPOOL_LANES]; /* sequence numbers; last is 0: none */
        Load load;                /* also what can't be sent, and copies */
        uint32_t messages;        /* that leave the spool with it as arrived */
        uint64_t number;          /* from 1 */
        bool copies;              /* has some of what was sent once more */
        int mid;                  /* its barrier */
        uint64_t sent_usec;
} Window;

typedef struct Lane {
        uint64_t next;       /* sequence number to read from */
        bool dry;            /* the spool had no more */
        bool fetching;       /* the spool gets it from the disk, and says when it has it */
        bool timeless;       /* the next message has no time yet */
        uint64_t retry_usec; /* it could not be read: try again then; 0: now */
        int error;           /* why; 0: it can */
} Lane;

struct Delivery {
        sd_event *event;
        Spool *spool;
        Link *link;
        Latest *latest;
        DeliveryConfig config;
        DeliveryStats stats;
        DeliveryResolve resolve;
        void *resolve_userdata;
        DeliveryConfirmed confirmed;
        void *confirmed_userdata;
        sd_event_source *advance, *timer;
        bool running;
        bool lost;  /* the link has noticed, and will tell: nothing goes until then */
        bool armed; /* advance() will run */
        uint64_t timer_usec;

        Bytes topic; /* PLUG_ID/data/ and the last channel */
        size_t prefix_size;
        char *barrier_topic;
        Bytes payload;

        Lane lanes[SPOOL_LANES];
        bool draining;     /* there is a backlog: everything before `boundary` */
        uint64_t boundary; /* where the live lane began; 0: it has everything */
        unsigned turn;
        bool copies_due; /* some of `latest` are due */
        bool disordered; /* some became stale over this connection */
        double tokens;   /* messages of the backlog that may go */
        uint64_t tokens_usec;
        uint64_t retry_usec;

        Window open; /* not closed yet */
        uint64_t open_usec;
        Window sent[BARRIERS_MAX]; /* waiting for their answers, in order */
        size_t n_sent;
        uint64_t waiting_usec; /* since when there was no answer */
        Window answered;       /* goes out of the spool with the next answer */
        uint64_t answered_usec;
        uint64_t look_usec; /* without barriers: whether it has arrived; 0: not by the clock */

        uint64_t window_number;
        uint32_t batch_messages;
        size_t batch_bytes;
        Load flight;
        unsigned unanswered; /* barriers running, over reconnects */
        bool complained;     /* of memory */
        char trouble[128];   /* of the spool */
};

static inline bool window_is_empty(const Window *window)
{
        return window->load.messages == 0;
}

/* Something that is no message's fault is in the way: look again in a while. */
void delivery_hold(Delivery *delivery, int error);

/* delivery-lane.c */
void lanes_start(Delivery *delivery);
void lanes_stop(Delivery *delivery);
void lanes_resume(Delivery *delivery);                   /* what waited for a time may have one now */
void lanes_retry(Delivery *delivery, uint64_t now_usec); /* what could not be read */
bool lanes_have_more(const Delivery *delivery);          /* something may go now, as far as is known */
/* Takes the next message. What comes alone is not held back by a cork. 1: done, 0: there is none, or not
 * now. */
int lanes_send(Delivery *delivery, bool follows, bool *corked);
void lanes_refill(Delivery *delivery, uint64_t now_usec); /* drain_rate: time has passed */
uint64_t lanes_due_usec(const Delivery *delivery); /* when there is a next one for its sake, or a retry */
void lanes_copies_arrived(Delivery *delivery, uint64_t window_number); /* up to this one's */

/* delivery-window.c */
bool windows_have_room(const Delivery *delivery);
bool windows_have_room_for_backlog(const Delivery *delivery);
/* Counts a message into the open window. sequence 0: a copy. */
void windows_take(Delivery *delivery, SpoolLane lane, uint64_t first, uint64_t sequence, size_t bytes);
bool windows_batch_full(const Delivery *delivery);
uint64_t windows_barrier_due_usec(const Delivery *delivery);
void windows_send_barrier(Delivery *delivery);
/* confirm = "none": true when something went out of the spool. */
bool windows_confirm_unasked(Delivery *delivery);
/* False: not one of ours. */
bool windows_answered(Delivery *delivery, int mid);
void windows_stop(Delivery *delivery);
void windows_shrink(Delivery *delivery);
