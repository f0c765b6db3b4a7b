/* SPDX-License-Identifier: Apache-2.0 */
/* What goes when the spool is full, and what stays: each policy, and what is counted and said. */

#include <endian.h>

#include "spool-fixture.h"
#include "spool-internal.h"
#include "util/crc32c.h"

#define SENSORS_MAX 64

/* A full spool of 1 MiB, and small segments. */
static void make_small(Fixture *f)
{
        f->limits.max_size = MIB;
        f->limits.memory = 256 * KIB;
        f->limits.sync_usec = 5000;
        f->limits.policy.priority = 5;
}

static void add_sensor(Fixture *f, const char *name, unsigned priority, SpoolFull when_full)
{
        assert_true(f->n_sensors < ELEMENTSOF(f->sensors));
        f->sensors[f->n_sensors++] =
                (SpoolSensor){.name = name, .policy = {.priority = priority, .when_full = when_full}};
}

/* What is in the spool, by the numbers of the samples; all of it has to be what was put in, in order. */
typedef struct Found {
        char sensor[SENSORS_MAX];
        uint64_t *numbers, n;
} Found;

static void find(Fixture *f, const char *sensor, Found *ret)
{
        uint64_t sequence = 0, before = 0, all = 0;
        Sample sample;

        *ret = (Found){.numbers = calloc(100000, sizeof(uint64_t))};
        while (next_sample(f, &sequence, &sample)) {
                uint64_t n = sample_number(&sample);

                assert_true(n > before);
                before = n;
                all++;
                if (strcmp(sample.sensor, sensor) == 0)
                        ret->numbers[ret->n++] = n;
        }
        assert_int_equal(stats(f).messages, all);
}

static uint64_t count_of(Fixture *f, const char *sensor)
{
        Found found;

        find(f, sensor, &found);
        free(found.numbers);
        return found.n;
}

/* How many of the numbers are between these two? */
static uint64_t between(const Found *found, uint64_t from, uint64_t to)
{
        uint64_t n = 0;

        for (uint64_t i = 0; i < found->n; i++)
                n += found->numbers[i] >= from && found->numbers[i] <= to;
        return n;
}

/* A hog, and every 500th is a door's. */
static void fill_with_hog(Fixture *f, uint64_t from, uint64_t to)
{
        for (uint64_t n = from; n <= to; n++) {
                append_of(f, n % 500 == 0 ? "door" : "hog", n % 500 == 0 ? "Door" : "Hog", n, 60);
                if (n % 200 == 0)
                        await_disk(f);
        }
}

static void test_fair(void **state)
{
        Fixture *f = *state;
        uint64_t bytes;
        Found found;

        make_small(f);
        start(f);
        fill_with_hog(f, 1, 40000);
        assert_int_equal(count_of(f, "door"), 80);
        assert_int_equal(spool_dropped_of(f->spool, "door"), 0);
        assert_int_equal(spool_dropped_of(f->spool, "nobody"), 0);
        assert_int_equal(spool_dropped_of(f->spool, "hog"), stats(f).dropped);
        find(f, "hog", &found);
        assert_int_equal(found.n + stats(f).dropped + 80, 40000);
        assert_true(found.n > 4000);
        /* The newest of the hog, without gap. */
        assert_int_equal(between(&found, found.numbers[0], 40000) + (40000 - found.numbers[0]) / 500 + 1,
                40000 - found.numbers[0] + 1);
        free(found.numbers);
        segments_in(f->state, &bytes);
        assert_true(bytes <= MIB);
        assert_true(segments_in(f->state, NULL) <= 40);
        stop(f);
        start(f);
        assert_int_equal(count_of(f, "door"), 80);
        assert_int_equal(stats(f).damaged, 0);
}

static void test_priority(void **state)
{
        Fixture *f = *state;

        make_small(f);
        add_sensor(f, "low", 1, SPOOL_FULL_OLDEST);
        add_sensor(f, "middle", 5, SPOOL_FULL_OLDEST);
        add_sensor(f, "high", 9, SPOOL_FULL_OLDEST);
        start(f);
        /* The low one holds least, and yet goes first; then the middle one. */
        for (uint64_t n = 1; n <= 12000; n++) {
                const char *who = n % 10 == 0 ? "low" : n % 10 < 6 ? "middle" : "high";

                append_of(f, who, who, n, 60);
                if (n % 200 == 0)
                        await_disk(f);
                if (n == 9000) {
                        assert_true(spool_dropped_of(f->spool, "low") > 100);
                        assert_true(spool_dropped_of(f->spool, "middle") > 100);
                }
        }
        assert_true(count_of(f, "low") < 250);
        assert_true(count_of(f, "low") >= 1);
        assert_int_equal(count_of(f, "high"), 4800);
        assert_int_equal(spool_dropped_of(f->spool, "high"), 0);
}

/* Those that hold most come down to one level. */
static void test_level(void **state)
{
        Fixture *f = *state;
        uint64_t a, b, c;

        make_small(f);
        start(f);
        for (uint64_t n = 1; n <= 20000; n++) {
                const char *who = n % 20 == 0 ? "a" : n % 20 < 7 ? "b" : "c";

                append_of(f, who, who, n, 60);
                if (n % 200 == 0)
                        await_disk(f);
        }
        a = count_of(f, "a");
        b = count_of(f, "b");
        c = count_of(f, "c");
        assert_int_equal(a, 1000);
        assert_true(b > 2 * a && b * 100 > c * 75 && b * 100 < c * 125);
        assert_true(spool_dropped_of(f->spool, "c") > spool_dropped_of(f->spool, "b"));
}

static void test_newest(void **state)
{
        Fixture *f = *state;
        Found found;
        uint64_t whole = 0;

        make_small(f);
        add_sensor(f, "first", 5, SPOOL_FULL_NEWEST);
        start(f);
        for (uint64_t n = 1; n <= 30000; n++) {
                append_of(f, "first", "First", n, 60);
                if (n % 200 == 0)
                        await_disk(f);
        }
        find(f, "first", &found);
        while (whole < found.n && found.numbers[whole] == whole + 1)
                whole++;
        assert_true(whole > 4000 && whole * 10 > found.n * 7);
        assert_int_equal(found.numbers[found.n - 1], 30000); /* the last one stays */
        assert_int_equal(found.n + spool_dropped_of(f->spool, "first"), 30000);
        free(found.numbers);
}

/* The older, the thinner, without a cliff. */
static void test_thin(void **state)
{
        Fixture *f = *state;
        uint64_t in[10];
        Found found;

        make_small(f);
        add_sensor(f, "slope", 5, SPOOL_FULL_THIN);
        start(f);
        for (uint64_t n = 1; n <= 30000; n++) {
                append_of(f, "slope", "Slope", n, 60);
                if (n % 200 == 0)
                        await_disk(f);
        }
        find(f, "slope", &found);
        for (unsigned i = 0; i < 10; i++)
                in[i] = between(&found, i * 3000 + 1, (i + 1) * 3000);
        for (unsigned i = 1; i < 10; i++)
                assert_true(in[i] + 2 >= in[i - 1]);
        assert_true(in[8] > 1000 && in[7] > 200 && in[6] > 50 && in[5] > 10);
        assert_int_equal(in[9], 3000);
        assert_true(found.n > 4000);
        assert_int_equal(found.numbers[0], 1);
        free(found.numbers);
}

/* The last message of each channel stays, whatever its priority; not that of a sensor nobody configured. */
static void test_last_value(void **state)
{
        Fixture *f = *state;
        char channel[32];
        uint64_t n = 0;
        Found found;

        make_small(f);
        add_sensor(f, "rare", 0, SPOOL_FULL_OLDEST);
        add_sensor(f, "flood", 9, SPOOL_FULL_OLDEST);
        start(f);
        for (unsigned i = 0; i < 90; i++) {
                snprintf(channel, sizeof(channel), "Rare/%u", i % 30);
                append_of(f, "rare", channel, ++n, 60);
        }
        f->limits.policy.priority = 0;
        append_of(f, "gone", "Gone", ++n, 60);
        while (n < 20000) {
                append_of(f, "flood", "Flood", ++n, 60);
                if (n % 200 == 0)
                        await_disk(f);
        }
        find(f, "rare", &found);
        assert_int_equal(found.n, 30);
        assert_int_equal(found.numbers[0], 61);
        free(found.numbers);
        assert_int_equal(spool_dropped_of(f->spool, "rare"), 60);
        assert_int_equal(count_of(f, "gone"), 0);
        assert_int_equal(spool_dropped_of(f->spool, "gone"), 1);
}

/* Nothing but last messages: then the oldest of those go, and it goes on. */
static void test_only_last_values(void **state)
{
        Fixture *f = *state;
        char channel[32];
        Found found;

        make_small(f);
        add_sensor(f, "large", 5, SPOOL_FULL_OLDEST);
        start(f);
        for (uint64_t n = 1; n <= 100; n++) {
                snprintf(channel, sizeof(channel), "Large/%" PRIu64, n);
                append_of(f, "large", channel, n, 20000);
                await_disk(f);
        }
        find(f, "large", &found);
        assert_true(found.n > 30 && found.n < 60);
        assert_int_equal(found.numbers[found.n - 1], 100);
        assert_int_equal(found.numbers[0], 101 - found.n);
        assert_int_equal(stats(f).dropped + found.n, 100);
        free(found.numbers);
}

/* --- ttl ---------------------------------------------------------------------------------------------- */

static uint64_t append_aged(
        Fixture *f, const char *sensor, uint64_t n, uint64_t age_sec, const uint8_t *boot)
{
        Sample sample = *sample_make(n, 60);
        uint64_t sequence = 0;

        sample.sensor = sample.channel = sensor;
        sample.at_msec = clock_realtime_usec() / 1000 - age_sec * 1000;
        sample.boot = boot;
        if (boot)
                sample.at_msec = 5;
        assert_int_equal(spool_append(f->spool, &sample, &sequence), 0);
        return sequence;
}

static void ttl_ready(void *userdata)
{
        (void) userdata;
}

/* Read as often as one likes: the same, and counted once. */
static void expect_young(Fixture *f, uint64_t first)
{
        for (unsigned again = 0; again < 3; again++) {
                uint64_t sequence = 0;
                Sample sample;

                assert_true(next_sample(f, &sequence, &sample));
                assert_string_equal(sample.sensor, "other");
                assert_true(next_sample(f, &sequence, &sample));
                assert_int_equal(sample_number(&sample), first + 4001);
                assert_true(next_sample(f, &sequence, &sample));
                assert_non_null(sample.boot);
                assert_false(next_sample(f, &sequence, &sample));
                assert_int_equal(stats(f).dropped, 4001);
                assert_int_equal(spool_dropped_of(f->spool, "short"), 4001);
        }
}

static void test_ttl(void **state)
{
        Fixture *f = *state;
        static const uint8_t boot[SAMPLE_BOOT_SIZE] = {1};
        uint64_t sequence = 0, n = 0;
        Sample sample;

        add_sensor(f, "short", 5, SPOOL_FULL_OLDEST);
        f->sensors[0].policy.ttl_usec = 60 * USEC_PER_SEC;
        for (unsigned life = 0; life < 3; life++) {
                uint64_t first = n + 1;

                start(f);
                while (n < first + 3999) /* more than is read at once */
                        append_aged(f, "short", ++n, 70, NULL);
                append_aged(f, "other", ++n, 70, NULL);
                append_aged(f, "short", ++n, 30, NULL);
                append_aged(f, "short", ++n, 70, boot);
                append_aged(f, "short", ++n, 70, NULL);
                if (life > 0) { /* from the disk */
                        stop(f);
                        start(f);
                }
                if (life > 1)
                        spool_set_ready(f->spool, ttl_ready, NULL);
                logged[0] = '\0';
                expect_young(f, first);
                assert_int_equal(
                        logged_times("too old to be sent, and dropped: what outlived its ttl of short"), 1);
                spool_confirm(f->spool, 1, UINT64_MAX);
                if (life < 2)
                        stop(f);
        }

        /* While the clock can't be trusted, nothing is too old. */
        append_aged(f, "short", ++n, 70, NULL);
        spool_set_clock(f->spool, false);
        assert_true(next_sample(f, &sequence, &sample));
        assert_int_equal(sample_number(&sample), n);
        assert_int_equal(stats(f).messages, 1);
        spool_set_clock(f->spool, true);
        sequence = 0;
        assert_false(next_sample(f, &sequence, &sample));
        /* Nothing else is left: it is done with. */
        assert_int_equal(stats(f).messages, 0);

        /* Nothing was full in all of that. */
        assert_false(stats(f).evicting);
        stop(f);
        assert_int_equal(logged_times(" messages were too old to be sent: "), 1);
        start(f);
        append_aged(f, "short", ++n, 70, NULL);
        sequence = 0;
        assert_false(next_sample(f, &sequence, &sample));
        stop(f);
        assert_int_equal(logged_times("1 message was too old to be sent: 1 of short"), 1);
        assert_int_equal(logged_times("there is room again"), 0);
}

/* An episode that began with a ttl is one of being full, once it is full. */
static void test_ttl_then_full(void **state)
{
        Fixture *f = *state;
        uint64_t sequence = 0;
        Sample sample;

        make_small(f);
        add_sensor(f, "short", 5, SPOOL_FULL_OLDEST);
        f->sensors[0].policy.ttl_usec = 60 * USEC_PER_SEC;
        start(f);
        append_aged(f, "short", 1, 70, NULL);
        assert_false(next_sample(f, &sequence, &sample));
        assert_int_equal(stats(f).dropped, 1);
        assert_false(stats(f).evicting);
        for (uint64_t n = 2; n <= 20000; n++) {
                append_of(f, "other", "Other", n, 60);
                if (n % 200 == 0)
                        await_disk(f);
        }
        assert_true(stats(f).evicting);
        assert_int_equal(logged_times("full (spool.max_size is 1.0 MiB): messages are dropped: "), 1);
        stop(f);
        assert_int_equal(logged_times(" messages were dropped: "), 1);
        start(f);
        assert_false(stats(f).evicting);
}

/* Each that is too old is counted once, whichever lane comes by it, before and after a reconnection; and the
 * backlog's lane leaves what is the other's alone. */
static void test_ttl_in_two_lanes(void **state)
{
        Fixture *f = *state;
        uint64_t found;
        Sample sample;

        add_sensor(f, "short", 5, SPOOL_FULL_OLDEST);
        f->sensors[0].policy.ttl_usec = 60 * USEC_PER_SEC;
        start(f);
        for (uint64_t n = 1; n <= 10; n++)
                append_aged(f, "short", n, 70, NULL);
        spool_set_boundary(f->spool, 6);
        assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 1, &found, &sample), 0);
        assert_int_equal(stats(f).dropped, 5);
        assert_false(spool_is_confirmed(f->spool, 8));
        append_aged(f, "short", 11, 0, NULL);
        assert_int_equal(spool_read(f->spool, SPOOL_LIVE, 6, &found, &sample), 1);
        assert_int_equal(sample_number(&sample), 11);
        assert_int_equal(stats(f).dropped, 10);
        for (unsigned life = 0; life < 2; life++) {
                spool_rest(f->spool, SPOOL_LIVE);
                spool_rest(f->spool, SPOOL_BACKLOG);
                spool_set_boundary(f->spool, spool_end(f->spool));
                assert_int_equal(spool_read(f->spool, SPOOL_BACKLOG, 0, &found, &sample), 1);
                assert_int_equal(sample_number(&sample), 11);
                assert_int_equal(stats(f).dropped, 10);
        }
}

/* What is too old goes before anything else, whatever its priority. */
static void test_ttl_goes_first(void **state)
{
        Fixture *f = *state;
        uint64_t n;

        make_small(f);
        add_sensor(f, "old", 9, SPOOL_FULL_OLDEST);
        add_sensor(f, "low", 0, SPOOL_FULL_OLDEST);
        f->sensors[0].policy.ttl_usec = 60 * USEC_PER_SEC;
        start(f);
        for (n = 1; n <= 8000; n++) {
                append_aged(f, n <= 3000 ? "old" : "low", n, 70, NULL);
                if (n % 200 == 0)
                        await_disk(f);
        }
        assert_true(spool_dropped_of(f->spool, "old") > 500);
        assert_int_equal(spool_dropped_of(f->spool, "low"), 0);
        assert_non_null(strstr(logged, "what outlived its ttl of old"));
        assert_int_equal(count_of(f, "low"), 5000);
        assert_int_equal(spool_dropped_of(f->spool, "old"), 3000);
        assert_int_equal(logged_times("warning"), 1);
}

/* --- what is said ------------------------------------------------------------------------------------- */

static void test_said(void **state)
{
        Fixture *f = *state;
        char expected[128];
        uint64_t own;

        make_small(f);
        add_sensor(f, "thick", 5, SPOOL_FULL_THIN);
        start(f);
        for (uint64_t n = 1; n <= 30000; n++) {
                append_of(f, n % 2 ? "thick" : "", n % 2 ? "Thick" : "Own", n, 60);
                if (n % 200 == 0)
                        await_disk(f);
        }
        assert_int_equal(logged_times("warning"), 1);
        assert_int_equal(logged_times("full (spool.max_size is 1.0 MiB): messages are dropped: "), 1);
        assert_int_equal(logged_times("every second of the older half of thick (priority 5)"), 1);
        await(f, sd_event_run(f->event, 50000) == 0);
        snprintf(expected, sizeof(expected), "%" PRIu64 " of thick", spool_dropped_of(f->spool, "thick"));
        assert_int_equal(stats(f).appended_messages, 30000);
        assert_true(stats(f).appended_bytes > 30000 * 100 && stats(f).appended_bytes < 30000 * 200);
        own = spool_dropped_of(f->spool, "");
        assert_true(own > 0);
        stop(f);
        assert_int_equal(logged_times(expected), 1);
        snprintf(expected, sizeof(expected), "%" PRIu64 " of Publish()", own);
        assert_int_equal(logged_times(expected), 1);
        assert_int_equal(logged_times(" messages were dropped: "), 1);
}

/* --- segments ----------------------------------------------------------------------------------------- */

typedef struct Noted {
        uint64_t times, boots, messages, at_msec;
        uint8_t last_boot;
} Noted;

static void on_noted(const SpoolNoted *noted, void *userdata)
{
        Noted *all = userdata;

        if (!noted->boot) {
                assert_int_equal(all->boots, 0);
                assert_string_equal(noted->sensor, "held");
                assert_string_equal(noted->channel, "Held");
                all->times++;
                all->at_msec = noted->at_msec;
                return;
        }
        assert_true(noted->boot[0] > all->last_boot);
        all->last_boot = noted->boot[0];
        all->boots++;
        all->messages += noted->messages;
        assert_int_equal(noted->at_msec, 1000 * noted->boot[0] + 499);
}

/* Boots are noted in order, each once, with how many are held of it, wherever they lie. */
static void test_noted(void **state)
{
        Fixture *f = *state;
        Noted noted = {};
        uint64_t sequence;

        make_small(f);
        start(f);
        for (unsigned i = 0; i < 2001; i++) {
                uint8_t boot[SAMPLE_BOOT_SIZE] = {(uint8_t) (i / 500 + 1)};
                Sample sample = *sample_make(i + 1, 100);

                sample.sensor = "held";
                sample.channel = "Held";
                sample.boot = i < 2000 ? boot : NULL;
                sample.at_msec = i < 2000 ? boot[0] * 1000 + i % 500 : 7777;
                assert_int_equal(spool_append(f->spool, &sample, &sequence), 0);
                if (i % 200 == 0)
                        await_disk(f);
                if (i == 1800) {
                        stop(f);
                        assert_true(segments_in(f->state, NULL) > 2);
                        start(f);
                }
        }
        stop(f);
        start_noting(f, on_noted, &noted);
        assert_int_equal(noted.boots, 4);
        assert_int_equal(noted.messages, 2000);
        assert_int_equal(noted.times, 1);
        assert_int_equal(noted.at_msec, 7777);
}

/* A segment as version 1 wrote it, sealed: its footer is where its records end, no more. */
static void test_version_1(void **state)
{
        Fixture *f = *state;
        uint8_t *file = calloc(1, 64 * KIB), *p;
        _cleanup_(bytes_deinit) Bytes footer = {};
        char path[256];
        uint32_t value;

        make_small(f);
        start(f);
        stop(f);
        segment_header_encode(file, 1);
        value = htole32(1);
        memcpy(file + 8, &value, 4);
        value = htole32(crc32c(0, file, SEGMENT_HEADER_SIZE - 4));
        memcpy(file + SEGMENT_HEADER_SIZE - 4, &value, 4);
        p = file + SEGMENT_HEADER_SIZE;
        for (uint64_t n = 1; n <= 100; n++)
                p += record_encode(p, n, sample_make(n, 20));
        for (unsigned i = 0; i < RECORD_HEADER_SIZE; i++)
                bytes_put_u8(&footer, 0);
        bytes_put_u32(&footer, 100);
        bytes_put_u64(&footer, 1700000000100);
        bytes_put_string(&footer, "c");
        bytes_put_u32(&footer, (uint32_t) footer.size + 8);
        bytes_put(&footer, "SEAL", 4);
        record_finish(footer.data, (uint32_t) footer.size, RECORD_FOOTER, 100);
        p = mempcpy(p, footer.data, footer.size);
        file_put(segment_path(path, f->state, 1), file, (size_t) (p - file));
        free(file);
        start(f);
        assert_int_equal(stats(f).damaged, 0);
        append(f, 101, 10);
        expect(f, 1, 101);
        stop(f);
        start(f);
        expect(f, 1, 101);
        for (uint64_t n = 102; n <= 20000; n++) {
                append(f, n, 60);
                if (n % 200 == 0)
                        await_disk(f);
        }
        assert_int_equal(stats(f).messages + stats(f).dropped, 20000);
        assert_int_equal(stats(f).damaged, 0);
}

/* --- the plan, beside the plain words ------------------------------------------------------------------ */

/* Bytes by sensor, as one message after the other was taken from who holds most, of the lowest priority. */
static void take_plainly(
        uint64_t *held, const unsigned *priorities, unsigned n, uint64_t need, uint64_t piece)
{
        for (uint64_t taken = 0; taken < need; taken += piece) {
                unsigned who = n;

                for (unsigned i = 0; i < n; i++)
                        if (held[i] >= piece &&
                                (who == n || priorities[i] < priorities[who] ||
                                        (priorities[i] == priorities[who] && held[i] > held[who])))
                                who = i;
                if (who == n)
                        return;
                held[who] -= piece;
        }
}

static void test_plan(void **state)
{
        uint64_t random = 7;

        (void) state;
        for (unsigned round = 0; round < 300; round++) {
                SpoolSensor sensors[6];
                unsigned priorities[6];
                uint64_t held[6], total = 0, need;
                SpoolPolicies policies;
                SpoolPolicy fallback = {};
                Plan plan = {.policies = &policies};
                Summary summary = {};
                char names[6][8];

                for (unsigned i = 0; i < 6; i++) {
                        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                        snprintf(names[i], sizeof(names[i]), "s%u", i);
                        priorities[i] = (unsigned) (random >> 40) % 3;
                        held[i] = (random >> 50) % 200 * 100;
                        total += held[i];
                        sensors[i] = (SpoolSensor){.name = names[i], .policy = {.priority = priorities[i]}};
                        if (held[i] > 0)
                                assert_int_equal(
                                        summary_add_entry(&summary, &(SummaryEntry){.sensor = names[i],
                                                                            .channel = "c",
                                                                            .messages = held[i] / 100 + 1,
                                                                            .bytes = held[i] + 100,
                                                                            .last = i + 1,
                                                                            .last_size = 100}),
                                        0);
                }
                need = total > 0 ? (random >> 20) % (total / 100 + 5) * 100 : 0;
                assert_int_equal(policies_init(&policies, &fallback, sensors, 6), 0);
                assert_int_equal(plan_add(&plan, &summary), 0);
                assert_int_equal(plan_make(&plan, need), 0);
                take_plainly(held, priorities, 6, need, 100);
                for (size_t i = 0; i < plan.n_sensors; i++) {
                        const PlanSensor *sensor = &plan.sensors[i];
                        uint64_t left = sensor->bytes - sensor->quota, plain = held[sensor->name[1] - '0'];

                        assert_true(left <= plain + 100 && plain <= left + 100);
                }
                plan_deinit(&plan);
                summary_deinit(&summary);
                policies_deinit(&policies);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_fair, setup, teardown),
                cmocka_unit_test_setup_teardown(test_priority, setup, teardown),
                cmocka_unit_test_setup_teardown(test_level, setup, teardown),
                cmocka_unit_test_setup_teardown(test_newest, setup, teardown),
                cmocka_unit_test_setup_teardown(test_thin, setup, teardown),
                cmocka_unit_test_setup_teardown(test_last_value, setup, teardown),
                cmocka_unit_test_setup_teardown(test_only_last_values, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ttl, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ttl_in_two_lanes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ttl_then_full, setup, teardown),
                cmocka_unit_test_setup_teardown(test_ttl_goes_first, setup, teardown),
                cmocka_unit_test_setup_teardown(test_said, setup, teardown),
                cmocka_unit_test_setup_teardown(test_noted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_version_1, setup, teardown),
                cmocka_unit_test(test_plan),
        };

        return cmocka_run_group_tests_name("spool-policy", tests, NULL, NULL);
}
