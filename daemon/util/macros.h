/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Ownership helpers: one owner, one destructor, one cleanup attribute for each resource. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(text, first) __attribute__((format(printf, text, first)))
#define _unused_ __attribute__((unused))

#define ELEMENTSOF(array) (sizeof(array) / sizeof((array)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define USEC_PER_SEC UINT64_C(1000000)
#define USEC_PER_MSEC UINT64_C(1000)

/* Hands a pointer over: yields its value and leaves NULL behind. */
#define TAKE_PTR(pointer)                                                                                   \
        ({                                                                                                  \
                __typeof__(pointer) *take_ = &(pointer);                                                    \
                __typeof__(pointer) taken_ = *take_;                                                        \
                *take_ = NULL;                                                                              \
                taken_;                                                                                     \
        })

/* The same for a descriptor, which leaves -1 behind. */
static inline int take_fd(int *fd)
{
        int taken = *fd;

        *fd = -1;
        return taken;
}

static inline void freep(void *pointer)
{
        free(*(void **) pointer);
}

static inline void closep(int *fd)
{
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

static inline void fclosep(FILE **file)
{
        if (*file)
                fclose(*file);
}

/* Makes xp(&pointer), for _cleanup_, out of a destructor that takes NULL and returns NULL. */
#define DEFINE_CLEANUP(type, destructor)                                                                    \
        static inline void destructor##p(type **pointer)                                                    \
        {                                                                                                   \
                if (*pointer)                                                                               \
                        *pointer = destructor(*pointer);                                                    \
        }
