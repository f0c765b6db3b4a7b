/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The stage for tests of the link: a scripted server, a link to it, and what the link told. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <poll.h>

#include "link.h"
#include "mqtt-peer.h"

typedef struct Fixture {
        sd_event *event;
        Peer peer;
        ServerConfig server;
        Link *link;
        LinkProfile profile;
        int profile_result;

        unsigned ups, ends, messages, subacks, unsubacks, writables;
        LinkEnd end;
        char text[512];
        uint64_t retry_usec;
        int mid;
        bool granted;
        char topic[64], payload[64];
        void (*in_end)(struct Fixture *);
        void (*in_message)(struct Fixture *);
        size_t fds;
} Fixture;

static inline size_t count_fds(void)
{
        size_t n = 0;
        DIR *folder = opendir("/proc/self/fd");

        while (readdir(folder))
                n++;
        closedir(folder);
        return n;
}

static inline int on_profile(LinkProfile *ret, void *userdata)
{
        Fixture *f = userdata;

        *ret = f->profile;
        return f->profile_result;
}

static inline void on_up(void *userdata)
{
        ((Fixture *) userdata)->ups++;
}

static inline void on_end(LinkEnd end, const char *text, uint64_t retry_usec, void *userdata)
{
        Fixture *f = userdata;

        f->ends++;
        f->end = end;
        f->retry_usec = retry_usec;
        snprintf(f->text, sizeof(f->text), "%s", text);
        if (f->in_end)
                f->in_end(f);
}

static inline void on_message(const char *topic, const void *payload, size_t size, void *userdata)
{
        Fixture *f = userdata;

        f->messages++;
        snprintf(f->topic, sizeof(f->topic), "%s", topic);
        snprintf(f->payload, sizeof(f->payload), "%.*s", (int) size, (const char *) payload);
        if (f->in_message)
                f->in_message(f);
}

static inline void on_suback(int mid, bool granted, void *userdata)
{
        Fixture *f = userdata;

        f->subacks++;
        f->mid = mid;
        f->granted = granted;
}

static inline void on_unsuback(int mid, void *userdata)
{
        Fixture *f = userdata;

        f->unsubacks++;
        f->mid = mid;
}

static inline void on_writable(void *userdata)
{
        ((Fixture *) userdata)->writables++;
}

static const LinkHandler handler = {
        .on_profile = on_profile,
        .on_up = on_up,
        .on_end = on_end,
        .on_message = on_message,
        .on_suback = on_suback,
        .on_unsuback = on_unsuback,
        .on_writable = on_writable,
};

static inline int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));

        assert_non_null(f);
        f->fds = count_fds();
        assert_true(sd_event_new(&f->event) >= 0);
        peer_init(&f->peer, f->event);
        f->peer.userdata = f;
        f->server = (ServerConfig){.host = (char *) "127.0.0.1", .port = f->peer.port, .keepalive_sec = 240};
        f->profile = (LinkProfile){.client_id = "hwid/name", .user = "dev-1", .password = "secret"};
        assert_int_equal(link_new(&f->link, f->event, &f->server), 0);
        *state = f;
        return 0;
}

static inline int teardown(void **state)
{
        Fixture *f = *state;

        link_free(f->link);
        assert_true(WAIT_FOR(f->event, 5, link_orphans() == 0));
        peer_deinit(&f->peer);
        sd_event_unref(f->event);
        /* A thread that is just ending closes its own. */
        for (unsigned i = 0; i < 500 && count_fds() > f->fds; i++)
                poll(NULL, 0, 10);
        assert_int_equal(count_fds(), f->fds);
        free(f);
        return 0;
}

static inline void bring_up(Fixture *f)
{
        f->peer.connack = 0;
        link_open(f->link, &handler, f);
        assert_true(WAIT_FOR(f->event, 5, f->ups > 0));
        assert_int_equal(link_state(f->link), LINK_UP);
}

static inline void check_interval(uint64_t usec, uint64_t nominal_sec)
{
        assert_in_range(usec, nominal_sec * 800000, nominal_sec * 1200000);
}
