/* SPDX-License-Identifier: Apache-2.0 */
/* The spool's files, damaged: cut anywhere, bits flipped anywhere, missing, or somebody else's. */

#include <endian.h>

#include "spool-fixture.h"
#include "util/crc32c.h"

#define SMALL 12 /* records in the small segments that are cut and flipped everywhere */

/* --- small files to be broken ---------------------------------------------------------------------------
 */

static void append_small(Fixture *f, void *userdata)
{
        (void) userdata;
        start(f);
        for (uint64_t n = 1; n <= SMALL; n++)
                append(f, n, n);
}

typedef struct Small {
        char path[256];
        char *data;
        size_t size;
        const char *other; /* the tier that stays empty */
} Small;

/* A segment of the runtime tier, as a killed daemon leaves it. */
static void small_runtime(Fixture *f, Small *ret)
{
        in_killed_child(f, append_small, NULL);
        segment_path(ret->path, f->runtime, 1);
        file_get(ret->path, &ret->data, &ret->size);
        ret->other = f->state;
}

/* A segment of the state tier: not sealed yet, as a clean stop leaves it. */
static void small_state(Fixture *f, Small *ret)
{
        append_small(f, NULL);
        stop(f);
        segment_path(ret->path, f->state, 1);
        file_get(ret->path, &ret->data, &ret->size);
        ret->other = f->runtime;
}

/* The same, sealed: the next one has been begun. */
static void small_sealed(Fixture *f, Small *ret)
{
        char path[256];

        f->limits.max_size = MIB;
        append_small(f, NULL);
        append(f, SMALL + 1, 65000);
        append(f, SMALL + 2, 65000);
        stop(f);
        assert_int_equal(segments_in(f->state, NULL), 3);
        for (uint64_t n = SMALL + 1; n <= SMALL + 2; n++)
                unlink(segment_path(path, f->state, n));
        segment_path(ret->path, f->state, 1);
        file_get(ret->path, &ret->data, &ret->size);
        assert_memory_equal(ret->data + ret->size - 4, "SEAL", 4);
        ret->other = f->runtime;
}

/* Everything but the broken segment, as it was. */
static void small_reset(Fixture *f, const Small *small, const void *data, size_t size)
{
        char damaged[128];

        remove_tree(small->other);
        snprintf(damaged, sizeof(damaged), "%s/damaged", f->state);
        remove_tree(damaged);
        if (strstr(small->path, f->runtime)) {
                remove_tree(f->runtime);
                assert_int_equal(file_make_directory(f->runtime, 0700), 0);
        } else
                remove_tree(f->state);
        snprintf(damaged, sizeof(damaged), "%s/spool",
                strstr(small->path, f->runtime) ? f->runtime : f->state);
        assert_int_equal(file_make_directory(damaged, 0700), 0);
        file_put(small->path, data, size);
        logged[0] = '\0';
}

/* How many of the small records are there? They are whole and in order; no more than `may_miss` are gone. */
static uint64_t small_count(Fixture *f, uint64_t may_miss)
{
        uint64_t sequence = 0, n = 0, before = 0, count = 0;

        while (next(f, &sequence, &n)) {
                assert_true(n > before && n <= SMALL);
                assert_int_equal(sequence, n + 1);
                before = n;
                count++;
        }
        assert_true(count + may_miss >= SMALL);
        return count;
}

static void cut_everywhere(Fixture *f, Small *small)
{
        uint64_t before = 0;

        for (size_t size = 0; size < small->size; size++) {
                uint64_t count, sequence, n;

                small_reset(f, small, small->data, size);
                start(f);
                count = small_count(f, SMALL);
                assert_true(count >= before); /* the longer, the more */
                assert_int_equal(stats(f).messages, count);
                assert_true(stats(f).damaged <= 1);
                before = count;

                /* It goes on from there. */
                sequence = append(f, 100, 10);
                assert_true(sequence > count);
                assert_true(next(f, &sequence, &n));
                assert_int_equal(n, 100);
                stop(f);
                start(f);
                assert_int_equal(stats(f).messages, count + 1);
                assert_int_equal(stats(f).damaged, 0);
                stop(f);
        }
        assert_true(before >= SMALL - 1);
        free(small->data);
}

static void test_cut_runtime(void **state)
{
        Small small;

        small_runtime(*state, &small);
        cut_everywhere(*state, &small);
}

static void test_cut_state(void **state)
{
        Small small;

        small_state(*state, &small);
        cut_everywhere(*state, &small);
}

static void test_cut_sealed(void **state)
{
        Small small;

        small_sealed(*state, &small);
        cut_everywhere(*state, &small);
}

static void flip_everywhere(Fixture *f, Small *small, bool sealed)
{
        size_t n_damaged = 0;

        for (size_t i = 0; i < small->size * 2; i++) {
                size_t at = i / 2;
                char bit = (char) (1 << ((at * 5 + i * 3) % 8));
                uint64_t count, sequence = 0, n = 0;
                char damaged[128];

                small->data[at] ^= bit;
                small_reset(f, small, small->data, small->size);
                small->data[at] ^= bit;
                start(f);
                count = small_count(f, 1);
                if (at < 32) /* the header: the records know themselves */
                        assert_int_equal(count, SMALL);
                assert_true(count == SMALL || stats(f).damaged == 1);
                assert_true(stats(f).damaged <= 1);
                n_damaged += stats(f).damaged;

                append(f, 100, 10);
                stop(f);
                snprintf(damaged, sizeof(damaged), "%s/damaged", f->state);
                if (count < SMALL) {
                        assert_int_equal(count_files(damaged, ".part", NULL), 1);
                        assert_true(
                                strstr(logged, "damaged, skipped") || strstr(logged, "not a whole record"));
                }
                start(f);
                for (count = 0; next(f, &sequence, &n);)
                        count++;
                assert_int_equal(n, 100);
                assert_true(count >= SMALL);
                /* Confirmed: it all goes, what is damaged too. */
                spool_confirm(f->spool, 1, UINT64_MAX);
                assert_int_equal(stats(f).messages, 0);
                stop(f);
                assert_int_equal(segments_in(f->state, NULL) + segments_in(f->runtime, NULL), 0);
        }
        /* In a sealed segment the footer may be damaged without anybody's noticing: it isn't needed. */
        assert_true(n_damaged >= (sealed ? small->size : small->size * 2));
        free(small->data);
}

static void test_flip_runtime(void **state)
{
        Small small;

        small_runtime(*state, &small);
        flip_everywhere(*state, &small, false);
}

static void test_flip_state(void **state)
{
        Small small;

        small_state(*state, &small);
        flip_everywhere(*state, &small, false);
}

static void test_flip_sealed(void **state)
{
        Small small;

        small_sealed(*state, &small);
        flip_everywhere(*state, &small, true);
}

/* Anything at all: it starts, and gives nothing that wasn't put in. */
static void test_garbage(void **state)
{
        Fixture *f = *state;
        Small smalls[3];
        uint64_t random = 42;

        small_runtime(f, &smalls[0]);
        remove_tree(f->runtime);
        small_state(f, &smalls[1]);
        remove_tree(f->state);
        small_sealed(f, &smalls[2]);
        for (unsigned i = 0; i < 600; i++) {
                Small *small = &smalls[i % 3];
                char *data = malloc(small->size * 2);
                size_t size = small->size;

                memcpy(data, small->data, size);
                for (unsigned k = 0; k < 1 + i % 5; k++) {
                        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                        size_t from = (random >> 33) % size, to = (random >> 20) % size,
                               length = (random >> 50) % (size / 4);

                        switch (random >> 61) {
                        case 0: /* move */
                                memmove(data + to, data + from, MIN(length, size - MAX(from, to)));
                                break;
                        case 1: /* blank */
                                memset(data + from, 0, MIN(length, size - from));
                                break;
                        case 2:
                                memset(data + from, 0xff, MIN(length, size - from));
                                break;
                        case 3: /* cut out */
                                length = MIN(length, size - from - (from == 0));
                                memmove(data + from, data + from + length, size - from - length);
                                size = MAX(size - length, (size_t) 1);
                                break;
                        case 4: /* longer */
                                length = MIN(length, small->size * 2 - size);
                                memset(data + size, (int) random, length);
                                size += length;
                                break;
                        default:
                                data[from] = (char) random;
                        }
                }
                small_reset(f, small, data, size);
                free(data);
                start(f);
                uint64_t sequence = 0, n;
                while (next(f, &sequence, &n))
                        assert_true(n <= SMALL);
                sequence = append(f, 100, 0);
                assert_true(next(f, &sequence, &n));
                assert_int_equal(n, 100);
                stop(f);
        }
        for (unsigned i = 0; i < 3; i++)
                free(smalls[i].data);
}

/* --- what isn't ours ---------------------------------------------------------------------------------- */

static void test_foreign_files(void **state)
{
        Fixture *f = *state;
        char path[300], *data;
        size_t size;
        struct stat status;
        static const char *const names[] = {"README", "0000000000000001.seg.bak", "zzzzzzzzzzzzzzzz.seg",
                "1.seg", "000000000000000A.seg", "ffffffffffffffff.seg", "0000000000000000.seg"};

        start(f);
        append(f, 1, 10);
        append(f, 2, 10);
        stop(f);
        for (unsigned i = 0; i < ELEMENTSOF(names); i++) {
                snprintf(path, sizeof(path), "%s/spool/%s", f->state, names[i]);
                file_put(path, "something else", 14);
        }
        assert_int_equal(mkdir(segment_path(path, f->state, 50), 0700), 0);
        assert_int_equal(symlink("/etc/passwd", segment_path(path, f->state, 60)), 0);
        assert_int_equal(mkfifo(segment_path(path, f->state, 70), 0600), 0);

        /* One by a later version. */
        segment_path(path, f->state, 1);
        file_get(path, &data, &size);
        data[8] = 99;
        uint32_t crc = htole32(crc32c(0, data, 28));
        memcpy(data + 28, &crc, 4);
        file_put(segment_path(path, f->state, 80), data, size);
        free(data);

        logged[0] = '\0';
        start(f);
        expect(f, 1, 2);
        assert_true(append(f, 3, 10) > 80);
        expect(f, 1, 3);
        assert_int_equal(stats(f).damaged, 0);
        assert_true(logged_times("is left alone") >= 5);
        assert_true(logged_times("another version of plugd") == 1);
        spool_confirm(f->spool, 1, UINT64_MAX);
        stop(f);
        for (unsigned i = 0; i < ELEMENTSOF(names); i++) {
                snprintf(path, sizeof(path), "%s/spool/%s", f->state, names[i]);
                assert_int_equal(stat(path, &status), 0);
                assert_int_equal(status.st_size, 14);
        }
        assert_int_equal(lstat(segment_path(path, f->state, 50), &status), 0);
        assert_int_equal(lstat(segment_path(path, f->state, 60), &status), 0);
        assert_int_equal(lstat(segment_path(path, f->state, 70), &status), 0);
        assert_int_equal(lstat(segment_path(path, f->state, 80), &status), 0);
        start(f);
        assert_int_equal(stats(f).messages, 0);
}

/* A segment that is nothing but garbage, more than is kept aside: it stays where it is. */
static void test_large_garbage(void **state)
{
        Fixture *f = *state;
        char path[256], *data = malloc(3 * MIB);
        struct stat status;

        memset(data, 0x5a, 3 * MIB);
        start(f);
        append(f, 1, 10);
        stop(f);
        file_put(segment_path(path, f->state, 500), data, 3 * MIB);
        free(data);
        logged[0] = '\0';
        start(f);
        expect(f, 1, 1);
        assert_int_equal(logged_times("there is enough in there"), 1);
        assert_int_equal(stat(path, &status), 0);
        assert_true(append(f, 2, 10) > 500);
        expect(f, 1, 2);
}

/* A file in the middle is missing: the rest is sent. */
static void test_missing_file(void **state)
{
        Fixture *f = *state;
        char path[256];
        uint64_t sequence = 0, n, count = 0;

        f->limits.max_size = MIB;
        start(f);
        for (n = 1; n <= 2000; n++)
                append(f, n, 200);
        stop(f);
        assert_true(segments_in(f->state, NULL) > 4);
        for (n = 2; unlink(segment_path(path, f->state, n)) < 0; n++)
                assert_true(n < 2000);
        start(f);
        /* And one more under its hands. */
        for (n++; unlink(segment_path(path, f->state, n)) < 0; n++)
                assert_true(n < 2000);
        while (next(f, &sequence, &n))
                count++;
        assert_int_equal(n, 2000);
        assert_true(count > 1000 && count < 2000);
        assert_int_equal(stats(f).messages, count);
        assert_int_equal(append(f, 2001, 0), 2001);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_cut_runtime, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cut_state, setup, teardown),
                cmocka_unit_test_setup_teardown(test_cut_sealed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_flip_runtime, setup, teardown),
                cmocka_unit_test_setup_teardown(test_flip_state, setup, teardown),
                cmocka_unit_test_setup_teardown(test_flip_sealed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
                cmocka_unit_test_setup_teardown(test_foreign_files, setup, teardown),
                cmocka_unit_test_setup_teardown(test_large_garbage, setup, teardown),
                cmocka_unit_test_setup_teardown(test_missing_file, setup, teardown),
        };

        return cmocka_run_group_tests_name("spool-damage", tests, NULL, NULL);
}
