/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files of the host room: host.c is its life, host-process.c its process, host-watch.c its
 * clocks, host-listen.c what comes on the wire, host-errors.c what comes on the worker's stderr,
 * host-episodes.c what comes too often. */

#include "filter.h"
#include "host.h"
#include "util/backoff.h"
#include "util/bytes.h"
#include "util/log.h"
#include "wire.h"

/* What comes from workers is less urgent than the connection. */
#define HOST_PRIORITY (SD_EVENT_PRIORITY_NORMAL + 10)

#define HOST_HEALTHY_USEC (60 * USEC_PER_SEC) /* then what was wrong before is forgotten */
#define HOST_PAUSE_USEC                                                                                     \
        (100 * USEC_PER_MSEC) /* how long a worker that talks too much is not listened to                   \
                               */
#define HOST_LOG_PER_SEC 20
#define HOST_READ_BYTES 4096 /* at most in one go: some 140 samples; delivery sends up to 500 in its go */

typedef enum HostEnding {
        HOST_NOT_ENDING,
        HOST_ASKED,  /* to stop, or it closed the wire by itself: killed if it is still there in a moment */
        HOST_KILLED, /* and soon gone, but for uninterruptible sleep */
} HostEnding;

/* What may be wrong, the most urgent first: each has its sentence, and its own end. */
typedef enum HostTrouble {
        HOST_TROUBLE_WORKER, /* it doesn't start, answer, or go: until it does */
        HOST_TROUBLE_PLUGIN, /* open() or read() fails: until it doesn't */
        HOST_TROUBLE_ENDED,  /* how the last worker ended: until this one has been healthy for a while */
        HOST_TROUBLE_FLOOD,  /* more than its rate limit: until that is over */
        HOST_TROUBLE_VALUE,  /* a value was dropped: until a good one of that channel */
        HOST_TROUBLES,
} HostTrouble;

/* Something that happens again and again: said when it begins, then only how often. */
typedef struct Episode {
        uint64_t began_usec, last_usec; /* 0: none is under way */
        uint64_t told_usec;
        uint64_t n, told; /* how often; and of these, what has been said */
} Episode;

struct Host {
        sd_event *event;
        const Paths *paths;
        const SensorConfig *sensor;
        const HostHandler *handler;
        void *userdata;
        double interval_sec;

        /* what is wanted */
        bool wanted;
        bool restart_asked; /* once this worker is gone, start the next without waiting */

        /* the process; all as on the day of birth where there is none */
        pid_t pid;
        int wire, errors;
        sd_event_source *child, *wire_source, *errors_source;
        Bytes in, out; /* of the wire */
        bool wire_paused, errors_paused;
        bool too_much; /* who takes its samples can't keep up */
        HostEnding ending;
        char *why;                                      /* we ended it: why; NULL: it ended by itself */
        uint64_t deadline_usec;                         /* of what ending waits for */
        uint64_t started_usec, heard_usec, warned_usec; /* warned: 0 if it isn't silent */
        bool greeted, opened, failing, stuck;
        uint64_t healthy_usec; /* since when all is well; 0: it isn't */
        uint32_t sandbox;

        /* the clocks: one for deadlines, one that ends a pause */
        sd_event_source *watch, *pause;
        uint64_t restart_usec; /* while there is no process */
        Backoff backoff;       /* of starts that failed in a row */
        uint32_t starts;

        /* what it says */
        Filter samples_filter, log_filter, open_filter;
        Episode flood, refusals, chatter; /* over the rate limit; values dropped; messages left out */
        char refused[320];                /* the last of the refusals */
        size_t refused_channel;           /* of HOST_TROUBLE_VALUE */
        char line[512];                   /* of stderr, so far */
        size_t line_size;
        bool line_cut; /* the rest of it is skipped */
        HostChannel *channels;
        size_t n_channels;
        uint64_t samples, dropped, last_sample_usec;

        /* what others see */
        char *troubles[HOST_TROUBLES]; /* NULL: not this one */
        HostState told;                /* to the handler */
        bool changed;                  /* something else than that */
};

#define HOST_CONTEXT(host) (&(const LogContext){.sensor = (host)->sensor->name})

/* --- host.c ------------------------------------------------------------------------------------------- */

/* Tells the handler what has changed, if anything has. */
void host_tell(Host *host);
/* NULL or "": none any more. Takes the text over. True: it is another one than before. */
bool host_set_error(Host *host, HostTrouble trouble, char *text);
void host_make_printable(char *text);
/* Queues a frame and writes what the worker takes. interval_sec: of START and INTERVAL. */
int host_say(Host *host, WireType type, const double *interval_sec);
int host_flush(Host *host);

/* --- host-process.c ----------------------------------------------------------------------------------- */

/* Starts a worker, or says why not and sees to the next try. */
void host_spawn(Host *host);
/* Why: a sentence's part, owned by the host from now on; NULL: as before. */
void host_kill(Host *host, char *why);
/* Asks it to go. */
void host_ask(Host *host);
/* It should be gone by now: is it? */
bool host_reap(Host *host);
/* Ends whatever is left, without the loop. */
void host_abandon(Host *host);

/* --- host-watch.c ------------------------------------------------------------------------------------- */

int host_watch_start(Host *host);
/* Sees to it that the clock rings at the next deadline. */
void host_watch(Host *host);
void host_heard(Host *host);
/* What decides about its health has changed: if it is well, it is so from now on. */
void host_health(Host *host);
/* Stops listening for a moment. */
void host_pause(Host *host, bool *paused);
/* When the next start is due after one more failure. Sets restart_usec, gives the delay. */
uint64_t host_back_off(Host *host);

/* --- host-listen.c ------------------------------------------------------------------------------------ */

int host_listen(Host *host);
/* Takes what has come until now, all of it: the worker is gone. */
void host_listen_rest(Host *host);
void host_channels_free(Host *host);

/* --- host-episodes.c ---------------------------------------------------------------------------------- */

/* A message that the worker or its plugin caused: limited in number and length, made printable. */
void host_log(Host *host, int priority, const char *text);
/* One more sample that is over the rate limit. */
void host_over_limit(Host *host);
/* One more value that can't be published. */
void host_refuse(Host *host, size_t channel, const char *why);
/* When there is something to say of these again. */
uint64_t host_episodes_next_usec(const Host *host);
void host_episodes_tell(Host *host, uint64_t now_usec);
/* Tells what is left. */
void host_episodes_end(Host *host);

/* --- host-errors.c ------------------------------------------------------------------------------------ */

int host_errors_listen(Host *host);
void host_errors_rest(Host *host);
