/* SPDX-License-Identifier: Apache-2.0 */

/* The newest message of each channel: whole copies, in order, bounded, and cheap. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "latest.h"
#include "util/clock.h"

static char data[SAMPLE_DATA_MAX];

static Sample sample_make(const char *channel, size_t size, char fill)
{
        Sample sample = {.at_msec = 1700000000000 + size,
                .sensor = "sensor",
                .channel = channel,
                .data = data,
                .data_size = size};

        memset(data, fill, sizeof(data));
        memset(sample.id, fill, sizeof(sample.id));
        return sample;
}

static void note(Latest *latest, uint64_t sequence, const char *channel, size_t size, char fill)
{
        char copy[64];
        Sample sample;

        snprintf(copy, sizeof(copy), "%s", channel); /* not theirs to keep */
        sample = sample_make(copy, size, fill);
        latest_note(latest, sequence, &sample);
        memset(copy, 'x', sizeof(copy));
        memset(data, 'x', sizeof(data));
}

static void expect(const LatestEntry *entry, uint64_t sequence, const char *channel, size_t size, char fill)
{
        assert_non_null(entry);
        assert_int_equal(entry->sequence, sequence);
        assert_string_equal(entry->sample.channel, channel);
        assert_string_equal(entry->sample.sensor, "sensor");
        assert_int_equal(entry->sample.at_msec, 1700000000000 + size);
        assert_int_equal(entry->sample.data_size, size);
        assert_int_equal(entry->sample.data[size], '\0');
        for (size_t i = 0; i < size; i++)
                assert_int_equal(entry->sample.data[i], fill);
        for (size_t i = 0; i < SAMPLE_ID_SIZE; i++)
                assert_int_equal(entry->sample.id[i], fill);
}

static void test_newest(void **state)
{
        _cleanup_(latest_freep) Latest *latest = latest_new();
        uint8_t boot[SAMPLE_BOOT_SIZE] = "0123456789abcde";
        LatestEntry *entry;
        Sample held;

        (void) state;
        assert_null(latest_first(latest));
        assert_null(latest_find(latest, "a"));
        note(latest, 1, "a", 10, '1');
        note(latest, 2, "b", 20, '2');
        note(latest, 3, "c/d", 0, '3');
        latest_find(latest, "a")->stale = true;
        note(latest, 4, "a", 3000, '4');
        expect(latest_find(latest, "a"), 4, "a", 3000, '4');
        assert_true(latest_find(latest, "a")->stale);
        note(latest, 5, "a", 5, '5');

        entry = latest_first(latest);
        expect(entry, 5, "a", 5, '5');
        assert_null(entry->sample.boot);
        entry = latest_next(entry);
        expect(entry, 3, "c/d", 0, '3');
        assert_false(entry->stale);
        entry = latest_next(entry);
        expect(entry, 2, "b", 20, '2');
        assert_null(latest_next(entry));

        held = sample_make("b", 7, '7');
        held.boot = boot;
        latest_note(latest, 6, &held);
        memset(boot, 'x', sizeof(boot));
        expect(latest_first(latest), 6, "b", 7, '7');
        assert_memory_equal(latest_first(latest)->sample.boot, "0123456789abcde", SAMPLE_BOOT_SIZE);
        note(latest, 7, "b", 7, '8');
        assert_null(latest_first(latest)->sample.boot);
}

static size_t count(const Latest *latest)
{
        size_t n = 0;
        uint64_t before = UINT64_MAX;

        for (const LatestEntry *entry = latest_first(latest); entry; entry = latest_next(entry), n++) {
                assert_true(entry->sequence < before);
                assert_ptr_equal(latest_find(latest, entry->sample.channel), entry);
                before = entry->sequence;
        }
        return n;
}

static void test_bounded(void **state)
{
        _cleanup_(latest_freep) Latest *latest = latest_new();
        char channel[32];
        uint64_t sequence = 0;

        (void) state;
        for (unsigned i = 0; i < 2000; i++) {
                snprintf(channel, sizeof(channel), "channel/%u", i);
                note(latest, ++sequence, channel, 5, '1');
                note(latest, ++sequence, "always", 5, '2');
        }
        assert_int_equal(count(latest), LATEST_CHANNELS_MAX);
        assert_non_null(latest_find(latest, "always"));
        assert_non_null(latest_find(latest, "channel/1999"));
        assert_non_null(latest_find(latest, "channel/977"));
        assert_null(latest_find(latest, "channel/976"));

        /* In bytes as well; and large ones may become small again. */
        for (unsigned i = 0; i < 100; i++) {
                snprintf(channel, sizeof(channel), "large/%u", i);
                note(latest, ++sequence, channel, SAMPLE_DATA_MAX, '3');
        }
        assert_in_range(count(latest), 12, 16);
        expect(latest_first(latest), sequence, "large/99", SAMPLE_DATA_MAX, '3');
        for (unsigned i = 0; i < 2000; i++) {
                snprintf(channel, sizeof(channel), i < 100 ? "large/%u" : "small/%u", i);
                note(latest, ++sequence, channel, 5, '4');
        }
        assert_int_equal(count(latest), LATEST_CHANNELS_MAX);
}

static void test_speed(void **state)
{
        _cleanup_(latest_freep) Latest *latest = latest_new();
        static char channels[100][48];
        Sample sample = sample_make("", 100, '1');
        uint64_t began, taken;
        const unsigned n = 500000;

        (void) state;
        for (unsigned i = 0; i < 100; i++)
                snprintf(channels[i], sizeof(channels[i]), "Greenhouse/North/temperature/%u", i);
        began = clock_monotonic_usec();
        for (unsigned i = 0; i < n; i++) {
                sample.channel = channels[i % 100];
                latest_note(latest, i, &sample);
        }
        taken = clock_monotonic_usec() - began;
        print_message("%u ns a message\n", (unsigned) (taken * 1000 / n));
        assert_true(taken < 5 * USEC_PER_SEC); /* whatever else runs here, and whatever checks it */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_newest),
                cmocka_unit_test(test_bounded),
                cmocka_unit_test(test_speed),
        };

        return cmocka_run_group_tests_name("latest", tests, NULL, NULL);
}
