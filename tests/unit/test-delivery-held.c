/* SPDX-License-Identifier: Apache-2.0 */

/* Delivery of samples that have no time yet: they wait, cost nothing meanwhile, and go in order once they
 * have one. */

#include "delivery-fixture.h"

#define BEGAN UINT64_C(1700000000000)

static int on_resolve(Sample *sample, void *userdata)
{
        const uint64_t *began_msec = userdata;

        if (*began_msec == 0)
                return -EAGAIN;
        sample->at_msec += *began_msec;
        sample->boot = NULL;
        return 0;
}

static void begin_held(Fixture *f, unsigned n, uint64_t held, uint64_t *began_msec)
{
        f->spool.held = held;
        begin(f, n);
        delivery_set_resolver(f->delivery, on_resolve, began_msec);
}

static void assert_asleep(Fixture *f)
{
        uint64_t turns = 0, until = clock_monotonic_usec() + 300 * USEC_PER_MSEC;

        f->spool.reads = 0;
        for (; clock_monotonic_usec() < until; turns++)
                (void) sd_event_run(f->event, 50 * USEC_PER_MSEC);
        assert_in_range(turns, 1, 12);
        assert_int_equal(f->spool.reads, 0);
}

/* What was sent from `from` on is this, in order. */
static void assert_order(Fixture *f, unsigned from, uint64_t first, uint64_t last)
{
        assert_int_equal(f->link.publishes, from + last - first + 1);
        for (uint64_t i = first; i <= last; i++)
                assert_int_equal(f->link.order[from + i - first], i);
}

static void test_live(void **state)
{
        Fixture *f = *state;
        uint64_t began_msec = 0;

        begin_held(f, 0, 21, &began_msec);
        add(f, 30);
        run(f, 50 * USEC_PER_MSEC);
        assert_order(f, 0, 1, 20);
        /* Those before are confirmed all the same. */
        assert_true(run_until_barriers(f, 1));
        answer(f, 0);
        assert_true(run_until_barriers(f, 2));
        answer(f, 1);
        assert_int_equal(f->spool.first, 21);
        /* Neither more in the spool nor a writable link changes it. */
        add(f, 1);
        delivery_on_writable(f->delivery);
        assert_asleep(f);

        began_msec = BEGAN;
        delivery_resume(f->delivery);
        assert_int_equal(f->link.publishes, 20); /* not from within */
        run(f, 50 * USEC_PER_MSEC);
        assert_order(f, 20, 21, 31);
        assert_int_equal(logged, 0);
}

static void test_backlog(void **state)
{
        Fixture *f = *state;
        uint64_t began_msec = 0;

        f->config.drain_rate = 1000;
        begin_held(f, 30, 21, &began_msec);
        run(f, 100 * USEC_PER_MSEC);
        assert_order(f, 0, 1, 20);
        assert_true(run_until_barriers(f, 1));
        answer(f, 0);
        assert_true(run_until_barriers(f, 2));
        answer(f, 1);
        assert_asleep(f);
        /* Over a reconnect, too; asked for once too often. */
        delivery_stop(f->delivery);
        delivery_resume(f->delivery);
        begin_held(f, 10, 21, &began_msec);
        delivery_resume(f->delivery);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 20);
        began_msec = BEGAN;
        delivery_resume(f->delivery);
        run(f, 100 * USEC_PER_MSEC);
        assert_order(f, 20, 21, 30);
        assert_int_equal(logged, 0);
}

/* The newest of each channel, which goes first, waits as well, and goes first then. */
static void test_copies(void **state)
{
        Fixture *f = *state;
        uint64_t began_msec = 0;

        begin_held(f, 0, 1, &began_msec);
        add(f, 30);
        delivery_stop(f->delivery);
        begin(f, 30);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.publishes, 0);
        assert_asleep(f);
        began_msec = BEGAN;
        delivery_resume(f->delivery);
        run(f, 50 * USEC_PER_MSEC);
        assert_int_equal(f->link.order[0], 30);
        assert_int_equal(f->link.order[1], 29);
        assert_true(f->link.publishes >= 32);
        for (uint64_t i = 1; i <= 30; i++)
                assert_int_equal(f->link.order[1 + i], i);
}

/* Nobody resolves: such a message is not sent with what isn't its time. */
static void test_without_resolver(void **state)
{
        Fixture *f = *state;

        f->spool.held = 3;
        begin_live(f, 5);
        run(f, 50 * USEC_PER_MSEC);
        assert_order(f, 0, 1, 2);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_live),
                TEST(test_backlog),
                TEST(test_copies),
                TEST(test_without_resolver),
        };

        return cmocka_run_group_tests_name("delivery-held", tests, NULL, NULL);
}
