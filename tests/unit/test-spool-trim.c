/* SPDX-License-Identifier: Apache-2.0 */
/* Making room: killed at each step of it, on disks that fail, beside a reader, and what it costs. */

#include <sys/mman.h>

#include "spool-fixture.h"

#define NUMBERS 40000

typedef struct Set { /* by the samples' numbers; may be shared with a child */
        bool has[NUMBERS + 1];
        uint64_t n;
} Set;

static Set *set_new(void)
{
        Set *set = mmap(NULL, sizeof(*set), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        assert_true(set != MAP_FAILED);
        return set;
}

static void set_free(Set *set)
{
        munmap(set, sizeof(*set));
}

static void collect(Fixture *f, Set *set)
{
        uint64_t sequence = 0, before = 0;
        Sample sample;

        memset(set, 0, sizeof(*set));
        while (next_sample(f, &sequence, &sample)) {
                uint64_t n = sample_number(&sample);
                const Sample *made = sample_make(n, 60);

                assert_true(n > before && n <= NUMBERS); /* once, and in order */
                assert_int_equal(sample.data_size, made->data_size);
                assert_memory_equal(sample.data, made->data, made->data_size);
                assert_int_equal(sample.at_msec, made->at_msec);
                before = n;
                set->has[n] = true;
                set->n++;
        }
}

static void make_small(Fixture *f)
{
        f->limits.max_size = MIB;
        f->limits.memory = 256 * KIB;
        f->limits.sync_usec = 5000;
        f->sensors[0] = (SpoolSensor){.name = "old", .policy = {.priority = 5}};
        f->sensors[1] =
                (SpoolSensor){.name = "new", .policy = {.priority = 5, .when_full = SPOOL_FULL_NEWEST}};
        f->sensors[2] =
                (SpoolSensor){.name = "thin", .policy = {.priority = 5, .when_full = SPOOL_FULL_THIN}};
        f->sensors[3] = (SpoolSensor){.name = "door", .policy = {.priority = 9}};
        f->n_sensors = 4;
}

static const char *sensor_of(uint64_t n)
{
        return n % 40 == 0 ? "door" : n % 3 == 0 ? "old" : n % 3 == 1 ? "new" : "thin";
}

static void put(Fixture *f, uint64_t n)
{
        append_of(f, sensor_of(n), sensor_of(n), n, 60);
}

static void fill(Fixture *f, uint64_t from, uint64_t to)
{
        for (uint64_t n = from; n <= to; n++) {
                put(f, n);
                if (n % 100 == 0)
                        await_disk(f);
        }
}

static uint64_t dropped_of_all(Fixture *f)
{
        return spool_dropped_of(f->spool, "old") + spool_dropped_of(f->spool, "new") +
               spool_dropped_of(f->spool, "thin") + spool_dropped_of(f->spool, "door");
}

/* --- killed at each step ------------------------------------------------------------------------------ */

static void copy_folder(const char *from, const char *to)
{
        DIR *opened;
        struct dirent *entry;

        remove_tree(to);
        assert_int_equal(file_make_directory(to, 0700), 0);
        opened = opendir(from);
        while (opened && (entry = readdir(opened))) {
                char source[512], target[512], *data;
                size_t size;

                if (entry->d_name[0] == '.')
                        continue;
                snprintf(source, sizeof(source), "%s/%s", from, entry->d_name);
                snprintf(target, sizeof(target), "%s/%s", to, entry->d_name);
                file_get(source, &data, &size);
                file_put(target, data, size);
                free(data);
        }
        closedir(opened);
}

/* A spool that is nearly full, and then gets what doesn't fit. */
typedef struct Trimming {
        char kept[96];
        uint64_t before, after;
        Set *done; /* all of it has happened */
} Trimming;

static void overfill(Fixture *f, void *userdata)
{
        Trimming *trimming = userdata;
        int at = atomic_exchange(&calls.die_at, 0);

        start(f);
        for (uint64_t n = trimming->before + 1; n <= trimming->after; n++)
                put(f, n);
        atomic_store(&calls.die_at, at); /* from here on the steps of one job count */
        stop(f);
        trimming->done->has[0] = true;
}

static void test_killed_anywhere(void **state)
{
        Fixture *f = *state;
        Trimming trimming = {.before = 8000, .after = 8300, .done = set_new()};
        Set *before = set_new(), *wanted = set_new(), *found = set_new();
        char folder[128];
        uint64_t dropped = 0;
        int steps = 0;

        make_small(f);
        f->limits.sync_usec = 3600 * USEC_PER_SEC;
        start(f);
        fill(f, 1, trimming.before);
        /* To the brim, so that the next job has to make room. */
        stop(f);
        start(f);
        collect(f, before);
        stop(f);
        snprintf(folder, sizeof(folder), "%s/spool", f->state);
        snprintf(trimming.kept, sizeof(trimming.kept), "%s/kept", f->base);
        copy_folder(folder, trimming.kept);

        start(f);
        while (dropped == 0) { /* how much is it until it has to? */
                put(f, ++steps + trimming.before);
                if (steps % 300 == 0) {
                        stop(f);
                        start(f);
                        collect(f, found);
                        dropped = before->n + (uint64_t) steps - found->n;
                }
        }
        trimming.after = trimming.before + (uint64_t) steps;
        stop(f);
        copy_folder(trimming.kept, folder);
        overfill(f, &trimming);
        start(f);
        collect(f, wanted);
        stop(f);
        assert_true(wanted->n < before->n);

        f->limits.max_size = 64 * MIB; /* who looks makes no room */
        for (int at = 1;; at++) {
                Fixture child = *f;

                child.limits.max_size = MIB;
                copy_folder(trimming.kept, folder);
                remove_tree(f->runtime);
                trimming.done->has[0] = false;
                atomic_store(&calls.die_half, at % 2);
                atomic_store(&calls.die_at, at);
                in_killed_child(&child, overfill, &trimming);
                atomic_store(&calls.die_at, 0);
                start(f);
                assert_int_equal(stats(f).dropped, 0);
                collect(f, found);
                assert_true(stats(f).damaged <= 1); /* half a footer */
                assert_string_equal(stats(f).trouble, "");
                assert_int_equal(count_files(folder, ".new", NULL), 0);
                for (uint64_t n = 1; n <= trimming.after; n++) {
                        assert_true(!found->has[n] || n > trimming.before || before->has[n]);
                        if (wanted->has[n])
                                assert_true(found->has[n]);
                }
                stop(f);
                if (trimming.done->has[0]) {
                        assert_true(at > 20);
                        print_message("killed at each of %d steps\n", at - 1);
                        break;
                }
        }
        set_free(before);
        set_free(wanted);
        set_free(found);
        set_free(trimming.done);
}

/* --- beside a plain model ------------------------------------------------------------------------------ */

/* Appends, confirms, trims and starts anew at random: what is gone was confirmed or counted, of the right
 * sensor, and what has to stay is there. */
static void test_model(void **state)
{
        Fixture *f = *state;
        Set *found = set_new();
        uint64_t random = 5, appended = 0, confirmed = 0, counted[4] = {};
        uint64_t numbers[NUMBERS + 1] = {};
        const char *const names[] = {"old", "new", "thin", "door"};

        make_small(f);
        start(f);
        for (unsigned round = 0; round < 60 && appended + 1500 < NUMBERS; round++) {
                uint64_t gone[4] = {}, last[4] = {}, more;

                random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                more = (random >> 40) % 1500;
                for (uint64_t i = 0; i < more; i++) {
                        appended++;
                        numbers[appended] =
                                append_of(f, sensor_of(appended), sensor_of(appended), appended, 60);
                        if (i % 100 == 0)
                                await_disk(f);
                }
                if ((random >> 34) % 8 == 0 && appended > 200) {
                        confirmed = appended - (random >> 20) % 7000 % appended;
                        spool_confirm(f->spool, 1, numbers[confirmed]);
                }
                if ((random >> 37) % 4 == 0) {
                        for (unsigned i = 0; i < 4; i++)
                                counted[i] += spool_dropped_of(f->spool, names[i]);
                        stop(f);
                        start(f);
                }
                collect(f, found);
                assert_int_equal(stats(f).damaged, 0);
                for (uint64_t n = 1; n <= appended; n++)
                        for (unsigned i = 0; i < 4; i++)
                                if (strcmp(sensor_of(n), names[i]) == 0) {
                                        last[i] = n;
                                        gone[i] += !found->has[n];
                                }
                for (unsigned i = 0; i < 4; i++) {
                        uint64_t dropped = counted[i] + spool_dropped_of(f->spool, names[i]);

                        /* What was confirmed may have been dropped before. */
                        if (confirmed == 0)
                                assert_true(gone[i] >= dropped);
                        if (last[i] > confirmed)
                                assert_true(found->has[last[i]]);
                }
                for (uint64_t n = confirmed + 1; n <= appended; n++)
                        if (strcmp(sensor_of(n), "door") == 0)
                                assert_true(found->has[n]);
                assert_true(segments_in(f->state, NULL) <= 48);
        }
        assert_true(counted[0] + spool_dropped_of(f->spool, "old") > 500);
        assert_int_equal(counted[3] + spool_dropped_of(f->spool, "door"), 0);
        set_free(found);
}

/* Without confirming and starting anew, each one that isn't there is counted for its sensor. */
static void test_counted(void **state)
{
        Fixture *f = *state;
        Set *found = set_new();
        const char *const names[] = {"old", "new", "thin", "door"};

        make_small(f);
        start(f);
        for (uint64_t n = 1; n <= 30000; n += 3000) {
                fill(f, n, n + 2999);
                collect(f, found);
                for (unsigned i = 0; i < 4; i++) {
                        uint64_t gone = 0;

                        for (uint64_t k = 1; k < n + 3000; k++)
                                gone += !found->has[k] && strcmp(sensor_of(k), names[i]) == 0;
                        assert_int_equal(gone, spool_dropped_of(f->spool, names[i]));
                }
                assert_int_equal(stats(f).dropped, dropped_of_all(f));
                assert_int_equal(stats(f).messages, found->n);
        }
        set_free(found);
}

/* --- beside a reader ----------------------------------------------------------------------------------- */

static void on_ready(void *userdata)
{
        (void) userdata;
}

static void read_beside(Fixture *f, bool ready)
{
        uint64_t sequence = 0, before = 0, random = 3, rounds = 0;
        Sample sample;

        make_small(f);
        start(f);
        if (ready)
                spool_set_ready(f->spool, on_ready, NULL);
        for (uint64_t n = 1; n <= 30000; n++) {
                put(f, n);
                random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                if ((random >> 40) % 4 == 0)
                        assert_true(sd_event_run(f->event, 0) >= 0);
                if (n % 100 == 0)
                        await_disk(f);
                if ((random >> 45) % 8 != 0)
                        continue;
                if (next_sample(f, &sequence, &sample)) {
                        assert_true(sample_number(&sample) > before);
                        before = sample_number(&sample);
                        if ((random >> 50) % 512 == 0)
                                spool_confirm(f->spool, 1, sequence - 1 - MIN(sequence - 1, UINT64_C(50)));
                }
                if ((random >> 51) % 2048 == 0) { /* the link failed */
                        sequence = before = 0;
                        rounds++;
                }
        }
        assert_true(rounds > 0);
        assert_true(stats(f).dropped > 1000);
        assert_int_equal(stats(f).damaged, 0);
        spool_confirm(f->spool, 1, UINT64_MAX);
        await(f, segments_in(f->state, NULL) == 0);
        assert_int_equal(stats(f).messages, 0);
}

static void test_reader(void **state)
{
        read_beside(*state, true);
}

static void test_blocking_reader(void **state)
{
        read_beside(*state, false);
}

/* --- disks that fail ----------------------------------------------------------------------------------- */

static uint64_t cpu_usec(void) /* of this thread: the machine may be busy */
{
        struct timespec now;

        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return (uint64_t) now.tv_sec * USEC_PER_SEC + (uint64_t) now.tv_nsec / 1000;
}

/* The disk can't be used: memory goes by the same rules, and the loop is not held up. */
static void test_memory(void **state)
{
        Fixture *f = *state;
        uint64_t slowest = 0, bytes;
        Set *found = set_new();

        make_small(f);
        f->limits.memory = 4 * MIB;
        calls.disk_error = EIO;
        start(f);
        put(f, 1);
        await(f, stats(f).trouble[0]);
        for (uint64_t n = 2; n <= NUMBERS; n++) {
                uint64_t began = cpu_usec();

                put(f, n);
                slowest = MAX(slowest, cpu_usec() - began);
                if (n % 100 == 0)
                        assert_true(sd_event_run(f->event, 0) >= 0);
        }
        segments_in(f->runtime, &bytes);
        assert_true(bytes <= 4 * MIB);
        assert_true(stats(f).dropped > 5000);
        print_message("making room in 4 MiB of memory took at most %" PRIu64 " us\n", slowest);
        assert_true(slowest < 200000);
        collect(f, found);
        assert_int_equal(found->n + stats(f).dropped, NUMBERS);
        for (uint64_t n = 40; n <= NUMBERS; n += 40)
                assert_true(found->has[n]);
        assert_int_equal(spool_dropped_of(f->spool, "door"), 0);
        assert_int_equal(logged_times("and the disk can't be used: messages are dropped: "), 1);
        stop(f);
        calls.disk_error = 0;
        logged[0] = '\0';
        start(f);
        assert_int_equal(stats(f).damaged, 0);
        for (uint64_t n = 40; n <= NUMBERS; n += 40)
                assert_true(found->has[n]);
        set_free(found);
}

static void live_without_disk(Fixture *f, void *userdata)
{
        Set *said = userdata;
        int at = atomic_exchange(&calls.die_at, 0);

        calls.disk_error = EIO;
        start(f);
        for (uint64_t n = 1; n <= 4000; n++) {
                if (n == 2500)
                        atomic_store(&calls.die_at, at);
                put(f, n);
                if (n % 40 == 0)
                        said->has[n] = true;
                if (n == 100)
                        (void) sd_event_run(f->event, 10000);
        }
        said->has[0] = true;
}

/* Killed while it makes room in memory. */
static void test_killed_in_memory(void **state)
{
        Fixture *f = *state;
        Set *said = set_new(), *found = set_new();
        unsigned unfinished = 0;
        char folder[128];

        make_small(f);
        snprintf(folder, sizeof(folder), "%s/spool", f->runtime);
        for (int i = 1; i <= 60; i++) {
                Fixture child = *f;

                remove_tree(f->state);
                remove_tree(f->runtime);
                memset(said, 0, sizeof(*said));
                atomic_store(&calls.die_half, i % 2);
                atomic_store(&calls.die_at, i * 29);
                in_killed_child(&child, live_without_disk, said);
                atomic_store(&calls.die_at, 0);
                unfinished += count_files(folder, ".new", NULL);
                start(f);
                collect(f, found);
                for (uint64_t n = 40; n <= 4000; n += 40)
                        if (said->has[n])
                                assert_true(found->has[n]);
                stop(f);
                assert_int_equal(count_files(folder, ".new", NULL), 0);
        }
        print_message("killed %u times with a file unfinished\n", unfinished);
        set_free(said);
        set_free(found);
}

/* Full by others, so that nothing can be rewritten: the oldest go as a whole, counted. */
static void test_full_by_others(void **state)
{
        Fixture *f = *state;
        Set *found = set_new();

        make_small(f);
        start(f);
        fill(f, 1, 4000);
        assert_int_equal(stats(f).dropped, 0);
        calls.disk_error = ENOSPC;
        for (uint64_t n = 4001; n <= 8000; n++) {
                put(f, n);
                if (n % 20 == 0)
                        assert_true(sd_event_run(f->event, 1000) >= 0);
        }
        await(f, stats(f).trouble[0]);
        assert_non_null(strstr(stats(f).trouble, strerror(ENOSPC)));
        assert_true(stats(f).dropped > 0);
        assert_int_equal(stats(f).dropped, dropped_of_all(f));
        collect(f, found);
        assert_int_equal(found->n + stats(f).dropped, 8000);
        calls.disk_error = 0;
        stop(f);
        start(f);
        fill(f, 8001, 9000);
        assert_int_equal(stats(f).messages, found->n + 1000 - stats(f).dropped);
        assert_int_equal(stats(f).damaged, 0);
        set_free(found);
}

/* A segment that is damaged, and one that is gone, are no reason to stop. */
static void test_damaged(void **state)
{
        Fixture *f = *state;
        char path[256], *data;
        size_t size;
        Set *found = set_new();

        make_small(f);
        start(f);
        fill(f, 1, 4000);
        segment_path(path, f->state, 1);
        file_get(path, &data, &size);
        memset(data + size / 2, 0x55, 500);
        file_put(path, data, size);
        free(data);
        fill(f, 4001, 20000);
        collect(f, found);
        assert_true(stats(f).dropped > 5000);
        assert_true(found->n + stats(f).dropped >= 20000 - 10);
        assert_true(found->n + stats(f).dropped <= 20000);
        set_free(found);
}

/* --- what it costs ------------------------------------------------------------------------------------- */

static double cost(Fixture *f, SpoolFull when_full, unsigned others)
{
        long long before = 0;
        uint64_t appended = 0;
        double factor;

        remove_tree(f->state);
        remove_tree(f->runtime);
        f->limits.max_size = 4 * MIB;
        f->limits.memory = 512 * KIB;
        f->limits.sync_usec = 5000;
        f->sensors[0] = (SpoolSensor){.name = "one", .policy = {.priority = 5, .when_full = when_full}};
        f->sensors[1] = (SpoolSensor){.name = "two", .policy = {.priority = 6}};
        f->n_sensors = 2;
        start(f);
        for (uint64_t n = 1; n <= 90000; n++) {
                const char *who = others > 0 && n % others == 0 ? "two" : "one";

                if (n == 50001) {
                        before = calls.disk_bytes;
                        appended = stats(f).appended_bytes;
                }
                append_of(f, who, who, n, 60);
                if (n % 200 == 0)
                        await_disk(f);
        }
        factor = (double) (calls.disk_bytes - before) / (double) (stats(f).appended_bytes - appended);
        stop(f);
        return factor;
}

static void test_cost(void **state)
{
        Fixture *f = *state;
        const struct {
                const char *words;
                SpoolFull when_full;
                unsigned others;
                double most;
        } cases[] = {
                {"oldest", SPOOL_FULL_OLDEST, 0, 1.4},
                {"oldest, beside 1 % that stays", SPOOL_FULL_OLDEST, 100, 1.6},
                {"newest", SPOOL_FULL_NEWEST, 0, 1.8},
                {"thin", SPOOL_FULL_THIN, 0, 2.6},
                {"thin, beside 1 % that stays", SPOOL_FULL_THIN, 100, 2.8},
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                double factor = cost(f, cases[i].when_full, cases[i].others);

                print_message("full, %s: %.2f bytes written a byte appended\n", cases[i].words, factor);
                assert_true(factor < cases[i].most);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_killed_anywhere, setup, teardown),
                cmocka_unit_test_setup_teardown(test_model, setup, teardown),
                cmocka_unit_test_setup_teardown(test_counted, setup, teardown),
                cmocka_unit_test_setup_teardown(test_reader, setup, teardown),
                cmocka_unit_test_setup_teardown(test_blocking_reader, setup, teardown),
                cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
                cmocka_unit_test_setup_teardown(test_killed_in_memory, setup, teardown),
                cmocka_unit_test_setup_teardown(test_full_by_others, setup, teardown),
                cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cost, setup, teardown),
        };

        return cmocka_run_group_tests_name("spool-trim", tests, NULL, NULL);
}
