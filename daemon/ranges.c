/* SPDX-License-Identifier: Apache-2.0 */

/* Ranges of numbers in a sorted array. There are few: every search goes from the front. */

#include <string.h>

#include "ranges.h"

static void remove_at(Ranges *ranges, size_t from, size_t to)
{
        memmove(ranges->items + from, ranges->items + to, (ranges->n - to) * sizeof(*ranges->items));
        ranges->n -= to - from;
}

/* Makes room for one of this size, which has its place at index. False: it is itself the smallest. */
static bool make_room(Ranges *ranges, uint64_t size, size_t *index)
{
        size_t smallest = 0;

        for (size_t i = 1; i < ranges->n; i++)
                if (ranges->items[i].last - ranges->items[i].first <
                        ranges->items[smallest].last - ranges->items[smallest].first)
                        smallest = i;
        if (size < ranges->items[smallest].last - ranges->items[smallest].first)
                return false;
        remove_at(ranges, smallest, smallest + 1);
        if (smallest < *index)
                (*index)--;
        return true;
}

void ranges_add(Ranges *ranges, uint64_t first, uint64_t last)
{
        size_t from = 0, to;

        if (first > last)
                return;
        /* Those from `from` to before `to` overlap it or touch it. */
        while (from < ranges->n && first > 0 && ranges->items[from].last < first - 1)
                from++;
        for (to = from; to < ranges->n && (last == UINT64_MAX || ranges->items[to].first <= last + 1); to++)
                ;
        if (from < to) {
                ranges->items[from].first = MIN(ranges->items[from].first, first);
                ranges->items[from].last = MAX(ranges->items[to - 1].last, last);
                remove_at(ranges, from + 1, to);
                return;
        }
        if (ranges->n == RANGES_MAX && !make_room(ranges, last - first, &from))
                return;
        memmove(ranges->items + from + 1, ranges->items + from, (ranges->n - from) * sizeof(*ranges->items));
        ranges->items[from] = (Range){first, last};
        ranges->n++;
}

void ranges_trim(Ranges *ranges, uint64_t last)
{
        size_t n = 0;

        while (n < ranges->n && ranges->items[n].last <= last)
                n++;
        remove_at(ranges, 0, n);
        if (ranges->n > 0 && ranges->items[0].first <= last)
                ranges->items[0].first = last + 1;
}

static const Range *find(const Ranges *ranges, uint64_t number)
{
        for (size_t i = 0; i < ranges->n && ranges->items[i].first <= number; i++)
                if (number <= ranges->items[i].last)
                        return &ranges->items[i];
        return NULL;
}

bool ranges_covers(const Ranges *ranges, uint64_t number)
{
        return find(ranges, number);
}

uint64_t ranges_reach(const Ranges *ranges, uint64_t number)
{
        const Range *range = number < UINT64_MAX ? find(ranges, number + 1) : NULL;

        return range ? range->last : number;
}

uint64_t ranges_count(const Ranges *ranges, uint64_t first, uint64_t last)
{
        uint64_t count = 0;

        for (size_t i = 0; i < ranges->n; i++) {
                uint64_t from = MAX(first, ranges->items[i].first), to = MIN(last, ranges->items[i].last);

                if (from <= to)
                        count += to - from + 1;
        }
        return count;
}
