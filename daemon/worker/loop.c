/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The worker's loop, and how it gets there: first START, as that says what to leave open, then the sandbox,
 * then the plugin. The loop waits for the host, for the plugin's event descriptor, and for the earliest of
 * three times: the next read (or open), and the next sign of life. One thread; while the plugin is in a
 * call, nothing else happens, and the host notices.
 */

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "group.h"
#include "util/clock.h"
#include "worker.h"

#define OPEN_RETRY_FIRST_USEC (1 * USEC_PER_SEC)
#define OPEN_RETRY_LAST_USEC (30 * USEC_PER_SEC)
#define ALIVE_SHORTEST_USEC (1 * USEC_PER_SEC)
#define NEVER UINT64_MAX

/* So many reads in a row made nothing of an event and left its descriptor readable: it would keep us busy
 * for nothing, and gets a pause after each from now on, until it has been seen not readable. */
#define IDLE_EVENTS_MAX 100
#define IDLE_PAUSE_USEC (10 * USEC_PER_MSEC)
/* After a read that failed, an event is looked at again only after this. */
#define FAILED_PAUSE_USEC USEC_PER_SEC

typedef struct Loop {
        int wire;
        Bytes in;
        Outlet outlet;
        Devices devices;
        Instance instance;
        uint64_t interval_usec;
        uint64_t last_usec, next_usec; /* the last and the next read by interval, or open */
        uint64_t retry_usec;           /* how long to wait after the next open that fails */
        int event_fd;
        unsigned idle_events;
        uint64_t event_pause_usec; /* not polled until then; 0: no pause */
        bool event_blamed;         /* a descriptor that stays readable has been told of */
        bool failing;              /* read() has failed, and the host knows */
        bool stop, exhausted;      /* exhausted: the plugin has no memory left */
        bool confined, renew;      /* to its devices; and there are others by now */
} Loop;

static int set_interval(Loop *loop, BytesReader *body)
{
        double interval_sec = bytes_get_f64(body);

        if (body->failed || !(interval_sec >= 0.001 && interval_sec <= 86400))
                return -EBADMSG;
        loop->interval_usec = (uint64_t) (interval_sec * (double) USEC_PER_SEC);
        return 0;
}

/* All workers tick together, on whole seconds of CLOCK_MONOTONIC or on multiples of a shorter interval: what
 * comes in one go costs the daemon, and the machine that has to wake up for it, half of what it costs one by
 * one. Only the first tick after an open() is moved by it, by half a second at most. */
static uint64_t next_tick(const Loop *loop)
{
        uint64_t grid_usec = MIN(loop->interval_usec, USEC_PER_SEC);
        uint64_t next_usec = loop->last_usec + loop->interval_usec;

        return loop->interval_usec % grid_usec == 0 ? (next_usec + grid_usec / 2) / grid_usec * grid_usec
                                                    : next_usec;
}

/* --- the host's side ---------------------------------------------------------------------------------- */

/* What has come. -EPIPE: the host has gone. */
static int receive(Loop *loop)
{
        uint8_t *to = bytes_reserve(&loop->in, 4096);
        ssize_t n;

        if (!to)
                return -ENOMEM;
        n = read(loop->wire, to, 4096);
        if (n < 0)
                return errno == EINTR ? 0 : -errno;
        if (n == 0)
                return -EPIPE;
        loop->in.size += (size_t) n;
        return 0;
}

static int take_start(Loop *loop, BytesReader *body, struct plugd_group *ret_options)
{
        int r;

        if (bytes_get_u32(body) != WIRE_VERSION)
                return body->failed ? -EBADMSG : -EPROTO;
        r = set_interval(loop, body);
        if (r >= 0)
                r = devices_take(&loop->devices, body);
        return r < 0 ? r : wire_get_group(body, ret_options);
}

static int receive_until(Loop *loop, uint64_t end_usec)
{
        uint64_t now_usec = clock_monotonic_usec();
        struct pollfd polled = {.fd = loop->wire, .events = POLLIN};

        if (now_usec >= end_usec)
                return -ETIMEDOUT;
        if (poll(&polled, 1, (int) ((end_usec - now_usec) / USEC_PER_MSEC) + 1) <= 0)
                return 0;
        return receive(loop);
}

/* Blocks until the host has said START: there is nothing else to do before. -EPROTO, -ETIMEDOUT: it is
 * another version than we are. */
static int wait_for_start(Loop *loop, struct plugd_group *ret_options)
{
        uint64_t end_usec = clock_monotonic_usec() + WIRE_START_USEC;

        for (;;) {
                WireFrame frame;
                int r = wire_next(loop->in.data, loop->in.size, &frame);

                if (r == 0)
                        r = receive_until(loop, end_usec);
                else if (r > 0 && frame.type == WIRE_STOP)
                        r = -EPIPE;
                else if (r > 0) {
                        r = frame.type == WIRE_START ? take_start(loop, &frame.body, ret_options) : -EBADMSG;
                        bytes_consume(&loop->in, frame.size);
                        return r;
                }
                if (r < 0)
                        return r;
        }
}

static int obey(Loop *loop, WireFrame *frame)
{
        switch (frame->type) {
        case WIRE_INTERVAL:
                if (set_interval(loop, &frame->body) < 0)
                        return -EBADMSG;
                if (loop->instance.open && loop->next_usec != NEVER)
                        loop->next_usec = next_tick(loop);
                return 0;
        case WIRE_STOP:
                loop->stop = true;
                return 0;
        case WIRE_START:
        case WIRE_HELLO:
        case WIRE_OPENED:
        case WIRE_SAMPLE:
        case WIRE_LOG:
        case WIRE_FAILED:
        case WIRE_ALIVE:
        case WIRE_RECOVERED:
                break;
        }
        return -EBADMSG;
}

static int obey_all(Loop *loop)
{
        int r = 0;

        while (r == 0) {
                WireFrame frame;

                r = wire_next(loop->in.data, loop->in.size, &frame);
                if (r <= 0)
                        break;
                r = obey(loop, &frame);
                bytes_consume(&loop->in, frame.size);
        }
        return r;
}

static int listen_to_host(Loop *loop)
{
        int r = receive(loop);

        return r < 0 ? r : obey_all(loop);
}

/* --- the plugin's side -------------------------------------------------------------------------------- */

static void close_and_retry(Loop *loop)
{
        instance_close(&loop->instance);
        loop->event_fd = -1;
        loop->failing = false;
        loop->next_usec = clock_monotonic_usec() + loop->retry_usec;
        loop->retry_usec = MIN(2 * loop->retry_usec, OPEN_RETRY_LAST_USEC);
}

static void open_instance(Loop *loop)
{
        int r = instance_open(&loop->instance);

        if (r < 0) {
                loop->exhausted = r == -ENOMEM;
                close_and_retry(loop);
                return;
        }
        loop->event_fd = instance_event_fd(&loop->instance);
        loop->event_blamed = false;
        loop->idle_events = 0;
        loop->event_pause_usec = 0;
        loop->next_usec = loop->instance.plugin->read ? clock_monotonic_usec() : NEVER;
}

static bool event_pending(const Loop *loop)
{
        struct pollfd polled = {.fd = loop->event_fd, .events = POLLIN};

        return poll(&polled, 1, 0) > 0;
}

/* After a read by event: has it taken what made the descriptor readable? */
static void look_after_event(Loop *loop, bool emitted)
{
        if (emitted || !event_pending(loop)) {
                loop->idle_events = 0;
                return;
        }
        if (loop->idle_events < IDLE_EVENTS_MAX)
                loop->idle_events++;
        if (loop->idle_events < IDLE_EVENTS_MAX)
                return;
        loop->event_pause_usec = clock_monotonic_usec() + IDLE_PAUSE_USEC;
        if (loop->event_blamed)
                return;
        loop->event_blamed = true;
        outlet_log(&loop->outlet, PLUGD_WARNING,
                "read() returned, but event_fd is still readable, and has to be emptied by read(): it is "
                "looked at every 10 ms at most until it is");
}

static void read_instance(Loop *loop, bool by_event)
{
        uint64_t emitted = loop->instance.emitted;
        int r = instance_read(&loop->instance, by_event ? PLUGD_EVENT : PLUGD_INTERVAL);

        if (r == -ENODEV) {
                close_and_retry(loop);
                return;
        }
        loop->exhausted = r == -ENOMEM;
        if (r < 0 && r != -EAGAIN) {
                loop->failing = true;
                loop->event_pause_usec = clock_monotonic_usec() + FAILED_PAUSE_USEC;
                return;
        }
        if (r == 0)
                loop->retry_usec = OPEN_RETRY_FIRST_USEC;
        if (loop->failing)
                outlet_frame(&loop->outlet, WIRE_RECOVERED);
        loop->failing = false;
        if (by_event)
                look_after_event(loop, loop->instance.emitted > emitted);
}

static void on_time(Loop *loop, uint64_t now_usec)
{
        if (!loop->instance.open) {
                loop->renew = loop->confined && devices_came(&loop->devices);
                if (!loop->renew)
                        open_instance(loop);
                return;
        }
        /* In step with the interval; what was missed is left out. */
        loop->last_usec = now_usec - loop->next_usec < loop->interval_usec ? loop->next_usec : now_usec;
        loop->next_usec = next_tick(loop);
        /* Each reason has its own call: a plugin that finds an event takes that for the reason. */
        if (loop->event_fd >= 0 && loop->event_pause_usec <= now_usec && event_pending(loop))
                read_instance(loop, true);
        if (loop->instance.open && !loop->exhausted)
                read_instance(loop, false);
}

/* --- both --------------------------------------------------------------------------------------------- */

/* Says ALIVE when it is time, and gives the time when it is again. A little early is better than waking up
 * once more for it. */
static uint64_t show_life(Loop *loop)
{
        uint64_t period_usec = MAX(MIN(loop->interval_usec, WIRE_ALIVE_USEC), ALIVE_SHORTEST_USEC);

        if (loop->outlet.bytes.size == 0 &&
                clock_monotonic_usec() + period_usec / 8 >= loop->outlet.sent_usec + period_usec)
                outlet_frame(&loop->outlet, WIRE_ALIVE);
        outlet_flush(&loop->outlet);
        return loop->outlet.sent_usec + period_usec;
}

static int wait_for_something(Loop *loop, uint64_t until_usec)
{
        uint64_t now_usec = clock_monotonic_usec();
        bool muted = loop->event_pause_usec > now_usec;
        uint64_t end_usec = muted ? MIN(until_usec, loop->event_pause_usec) : until_usec;
        uint64_t wait_usec = end_usec > now_usec ? end_usec - now_usec : 0;
        struct timespec timeout = {
                (time_t) (wait_usec / USEC_PER_SEC), (long) (wait_usec % USEC_PER_SEC) * 1000};
        struct pollfd polled[2] = {
                {.fd = loop->wire, .events = POLLIN},
                {.fd = muted ? -1 : loop->event_fd, .events = POLLIN},
        };

        if (ppoll(polled, 2, &timeout, NULL) < 0)
                return errno == EINTR ? 0 : -errno;
        if (!muted && !polled[1].revents)
                loop->idle_events = 0;
        if (polled[0].revents) {
                int r = listen_to_host(loop);

                if (r < 0 || loop->stop)
                        return r;
        }
        if (polled[1].revents & POLLNVAL) {
                outlet_log(&loop->outlet, PLUGD_WARNING,
                        "its event descriptor is not an open one: it is asked at the interval only");
                loop->event_fd = -1;
        } else if (polled[1].revents && loop->instance.plugin->read) {
                read_instance(loop, true);
        }
        return 0;
}

static int go_round(Loop *loop)
{
        int r = obey_all(loop); /* what came along with START */

        loop->next_usec = clock_monotonic_usec();
        while (r == 0 && !loop->stop && !loop->exhausted && loop->outlet.error == 0) {
                uint64_t now_usec = clock_monotonic_usec(), life_usec;

                if (now_usec >= loop->next_usec)
                        on_time(loop, now_usec);
                if (loop->exhausted || loop->renew)
                        break;
                life_usec = show_life(loop);
                r = wait_for_something(loop, MIN(loop->next_usec, life_usec));
        }
        outlet_flush(&loop->outlet); /* before close(), which may come to harm */
        if (loop->exhausted && r == 0)
                r = -ENOMEM;
        return r < 0 ? r : loop->outlet.error;
}

static void say_hello(Loop *loop, uint32_t sandbox, const char *words)
{
        Bytes *bytes = &loop->outlet.bytes;
        size_t mark = wire_begin(bytes, WIRE_HELLO);

        bytes_put_u32(bytes, WIRE_VERSION);
        bytes_put_u32(bytes, sandbox);
        wire_end(bytes, mark);
        if (words[0]) {
                char text[512];

                snprintf(text, sizeof(text), "parts of the sandbox are not there: %s", words);
                outlet_log(&loop->outlet, PLUGD_NOTICE, text);
        }
        outlet_flush(&loop->outlet);
}

/* All up to the point where others' code comes in. */
static int prepare(Loop *loop, const char *plugin_folder, struct plugd_group *ret_options)
{
        uint32_t sandbox;
        char words[256];
        int r = wait_for_start(loop, ret_options);

        if (r == -EPROTO || r == -ETIMEDOUT)
                say_hello(loop, 0, ""); /* plugd sees the version, and says what is wrong */
        if (r < 0)
                return r;
        r = devices_find(&loop->devices);
        if (r < 0)
                return r;
        sandbox = sandbox_enter(plugin_folder, &loop->devices, words);
        loop->confined = sandbox & WIRE_SANDBOX_LANDLOCK;
        say_hello(loop, sandbox, words);
        return 0;
}

int loop_run(int wire, const char *plugin_folder, const char *plugin)
{
        Loop loop = {
                .wire = wire,
                .outlet = {.fd = wire},
                .retry_usec = OPEN_RETRY_FIRST_USEC,
                .event_fd = -1,
        };
        _cleanup_(freep) char *error = NULL;
        const struct plugd_plugin *found;
        struct plugd_group options = {0};
        int r;

        r = prepare(&loop, plugin_folder, &options);
        if (r < 0)
                goto finish;

        r = plugin_load(plugin_folder, plugin, &found, &error);
        if (r < 0) {
                outlet_failed(&loop.outlet, WIRE_FAILED_LOAD, r, error ? error : strerror(-r));
                outlet_flush(&loop.outlet);
                goto finish;
        }
        instance_init(&loop.instance, found, &loop.outlet);
        loop.instance.options = options;
        options = (struct plugd_group){0};
        r = go_round(&loop);
        if (r == -ENOMEM && !loop.exhausted)
                fprintf(stderr, "no memory left of the %d MiB that a worker may have\n", WORKER_MEMORY_MIB);
        instance_deinit(&loop.instance);
        outlet_flush(&loop.outlet);

finish:
        group_deinit(&options);
        devices_deinit(&loop.devices);
        bytes_deinit(&loop.in);
        bytes_deinit(&loop.outlet.bytes);
        if (r == 0 && loop.renew)
                return WIRE_EXIT_RENEW;
        /* A host that is gone is no fault of ours. */
        return r == 0 || r == -EPIPE || r == -ECONNRESET ? 0 : 1;
}
