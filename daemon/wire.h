/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * What the host and a worker say to each other over a stream socket. Pure: bytes in, messages out; both
 * programs link it. A frame is u32 length of what follows, u8 type, and the body, little-endian.
 *
 * The host begins, with START: the worker has to know its devices before it shuts itself in. A worker that
 * gets a START of another version, or none for WIRE_START_USEC, says HELLO all the same, so that the host
 * can say what is wrong, and exits.
 *
 * The worker promises a frame at least every min(interval, WIRE_ALIVE_USEC), but not more than one a second,
 * while its plugin returns in time: a sample, else ALIVE. That is the due answer which the host waits for.
 */

#include "../plugins/plugin.h"
#include "util/bytes.h"

#define WIRE_VERSION 2
#define WIRE_FRAME_MAX (128 * 1024)
#define WIRE_ALIVE_USEC (5 * USEC_PER_SEC)
#define WIRE_START_USEC (5 * USEC_PER_SEC)
#define WIRE_FD 3 /* where the worker finds its end */

/* How a worker exits when it can't open what its devices are by now: its sandbox knows those of its
 * beginning, and can't be widened. It needs a successor, and nobody did anything wrong. */
#define WIRE_EXIT_RENEW 94

typedef enum WireType {
        /* worker to host */
        WIRE_HELLO = 1,  /* u32 version, u32 sandbox (WIRE_SANDBOX_*): the sandbox stands, the plugin isn't
                            loaded yet */
        WIRE_OPENED = 2, /* u32 n, then n channels (string name, string unit, u32 type, u32 flags): the
                            instance works */
        WIRE_SAMPLE = 3, /* u32 channel, u64 taken (CLOCK_BOOTTIME, µs), value */
        WIRE_LOG = 4,    /* u8 priority, string text */
        WIRE_FAILED = 5, /* u8 what (WireFailure), u32 errno, string sentence */
        WIRE_ALIVE = 6,  /* nothing */
        WIRE_RECOVERED = 7, /* nothing: read() works again after WIRE_FAILED with WIRE_FAILED_READ */
        /* host to worker */
        WIRE_START = 64,    /* u32 version, f64 interval in s, u32 n (at most DEVICES_MAX), then n strings
                               (patterns for glob(): devices that may be opened), group of options */
        WIRE_INTERVAL = 65, /* f64 interval in s */
        WIRE_STOP = 66,     /* nothing: close the instance and exit 0 */
} WireType;

typedef enum WireFailure {
        WIRE_FAILED_LOAD = 1,   /* no such plugin, not one of ours: the worker exits */
        WIRE_FAILED_OPEN = 2,   /* open() failed, or the hardware is gone: the worker tries again */
        WIRE_FAILED_READ = 3,   /* read() failed: it is called again at the next interval */
        WIRE_FAILED_MEMORY = 4, /* open() or read() has no memory left: the worker exits */
} WireFailure;

/* What of the sandbox holds. */
#define WIRE_SANDBOX_NO_NEW_PRIVS UINT32_C(1)
#define WIRE_SANDBOX_SECCOMP UINT32_C(2)
#define WIRE_SANDBOX_LANDLOCK UINT32_C(4)

/* Writers: wire_begin, then bytes_put_* or the two below, then wire_end with what wire_begin returned. A
 * frame that gets longer than WIRE_FRAME_MAX leaves bytes->failed behind, as running out of memory does. */
size_t wire_begin(Bytes *bytes, WireType type);
void wire_end(Bytes *bytes, size_t mark);
void wire_put_value(Bytes *bytes, const struct plugd_value *value);
void wire_put_group(Bytes *bytes, const struct plugd_group *group);

typedef struct WireFrame {
        WireType type;
        BytesReader body;
        size_t size; /* of the whole frame: what to consume from the buffer */
} WireFrame;

/* 1: a whole frame; 0: more bytes are needed; -EBADMSG: this is no frame of ours, however it goes on. */
int wire_next(const uint8_t *data, size_t size, WireFrame *ret);
/* Strings are borrowed from the reader. No GROUPS here. 0 or -EBADMSG. */
int wire_get_value(BytesReader *reader, struct plugd_value *ret);
/* Allocates deeply: group_deinit() frees. 0, -EBADMSG, -ENOMEM. */
int wire_get_group(BytesReader *reader, struct plugd_group *ret);
