/* SPDX-License-Identifier: Apache-2.0 */

/* Enrolling over a real link, against a scripted server. Waits of 30 s are not waited for: enrol_start()
 * ends them, as Enroll() does. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "enrol.h"
#include "mqtt-peer.h"
#include "util/log.h"

#define MODEL "mod-0123456789abcdef01234567"
#define PLUG_ID "dev-0123456789abcdef01234567"
#define PASS "s3cr/et=="
#define TOPIC MODEL "/thing/" PASS
#define GOOD "{\"id\":\"" PLUG_ID "\",\"auth\":\"the-auth\"}"

typedef struct Fixture {
        sd_event *event;
        Peer peer;
        Link *link;
        Enrol *enrol;
        DeviceConfig device;

        /* the server's script */
        const char *answer, *answer_topic;
        int suback; /* negative: none */
        bool close_after, close_instead;
        char topic[128], client_id[64];

        unsigned saves, dones, failures, outages;
        LinkEnd end;
        int save_result;
        char plug_id[64], auth[64], text[512];
        uint64_t retry_usec;
        unsigned disconnects_at_save;
} Fixture;

static char logged[4096];

static void keep_log(int priority _unused_, const LogContext *context _unused_, const char *text)
{
        size_t size = strlen(logged);

        snprintf(logged + size, sizeof(logged) - size, "%s\n", text);
}

static void serve(Peer *peer, uint8_t type, const uint8_t *body, size_t size, void *userdata)
{
        Fixture *f = userdata;
        size_t at = type == CONNECT ? 10 : 2;
        char *text;

        if (type != CONNECT && type != SUBSCRIBE)
                return;
        text = peer_string(body, size, &at);
        snprintf(type == CONNECT ? f->client_id : f->topic,
                type == CONNECT ? sizeof(f->client_id) : sizeof(f->topic), "%s", text);
        free(text);
        if (type == CONNECT) {
                assert_int_equal(body[7], 0xc2);                   /* a name and a password … */
                assert_memory_equal(body + size - 4, "\0\0\0", 4); /* … both empty */
                assert_int_equal(at + 4, size);
                return;
        }
        assert_int_equal(body[size - 1], 0);
        if (f->close_instead) {
                peer_drop(peer, false);
                return;
        }
        if (f->suback >= 0)
                peer_suback(peer, body, (uint8_t) f->suback);
        if (f->answer)
                peer_publish(peer, f->answer_topic ? f->answer_topic : f->topic, f->answer);
        if (f->close_after)
                peer_drop(peer, false);
}

static int on_credentials(const char *plug_id, const char *auth, void *userdata)
{
        Fixture *f = userdata;

        f->saves++;
        f->disconnects_at_save = f->peer.n_disconnects;
        snprintf(f->plug_id, sizeof(f->plug_id), "%s", plug_id);
        snprintf(f->auth, sizeof(f->auth), "%s", auth);
        return f->save_result;
}

static void on_done(void *userdata)
{
        Fixture *f = userdata;

        f->dones++;
        assert_int_equal(link_state(f->link), LINK_CLOSED);
        assert_false(enrol_active(f->enrol));
}

static void on_failed(const char *text, uint64_t retry_usec, void *userdata)
{
        Fixture *f = userdata;

        f->failures++;
        snprintf(f->text, sizeof(f->text), "%s", text);
        f->retry_usec = retry_usec;
        assert_null(strstr(text, "s3cr"));
        assert_null(strstr(text, "the-auth"));
        assert_int_equal(link_state(f->link), LINK_CLOSED);
}

static void on_end(LinkEnd end, const char *text, uint64_t retry_usec, void *userdata)
{
        Fixture *f = userdata;

        f->outages++;
        f->end = end;
        snprintf(f->text, sizeof(f->text), "%s", text);
        f->retry_usec = retry_usec;
}

static const EnrolHandler handler = {
        .on_credentials = on_credentials,
        .on_done = on_done,
        .on_failed = on_failed,
        .on_end = on_end,
};

static int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        ServerConfig server = {.host = (char *) "127.0.0.1", .keepalive_sec = 240};

        assert_non_null(f);
        log_set_sink(keep_log);
        logged[0] = '\0';
        assert_true(sd_event_new(&f->event) >= 0);
        peer_init(&f->peer, f->event);
        f->peer.userdata = f;
        f->peer.on_packet = serve;
        server.port = f->peer.port;
        assert_int_equal(link_new(&f->link, f->event, &server), 0);
        assert_int_equal(enrol_new(&f->enrol, f->event, f->link, &handler, f), 0);
        f->device = (DeviceConfig){
                .enrol_as = ENROL_THING, .model = (char *) MODEL, .name = (char *) "green/house"};
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        Fixture *f = *state;

        enrol_free(f->enrol);
        link_free(f->link);
        assert_true(WAIT_FOR(f->event, 5, link_orphans() == 0));
        peer_deinit(&f->peer);
        sd_event_unref(f->event);
        assert_null(strstr(logged, "the-auth"));
        assert_null(strstr(logged, "s3cr"));
        free(f);
        return 0;
}

static void start(Fixture *f)
{
        char *error = NULL;

        assert_int_equal(enrol_start(f->enrol, &f->device, "0123abc", PASS, &error), 0);
        assert_null(error);
        assert_true(enrol_active(f->enrol));
}

static void check_interval(uint64_t usec, uint64_t nominal_sec)
{
        assert_in_range(usec, nominal_sec * 800000, nominal_sec * 1200000);
}

static void expect_failure(Fixture *f, const char *words)
{
        f->failures = 0;
        start(f);
        assert_true(WAIT_FOR(f->event, 5, f->failures == 1));
        if (!strstr(f->text, words))
                fail_msg("\"%s\" is not in \"%s\"", words, f->text);
        check_interval(f->retry_usec, 30);
        assert_true(enrol_active(f->enrol));
        assert_int_equal(f->saves + f->dones, 0);
}

static void test_thing(void **state)
{
        Fixture *f = *state;

        f->answer = GOOD;
        start(f);
        assert_true(WAIT_FOR(f->event, 5, f->dones == 1));
        assert_string_equal(f->client_id, "0123abc/green/house");
        assert_string_equal(f->topic, TOPIC);
        assert_string_equal(f->plug_id, PLUG_ID);
        assert_string_equal(f->auth, "the-auth");
        assert_int_equal(f->saves, 1);
        /* Saved before anything else, then a DISCONNECT. */
        assert_int_equal(f->disconnects_at_save, 0);
        assert_true(WAIT_FOR(f->event, 5, f->peer.ended == 1));
        assert_int_equal(f->peer.n_disconnects, 1);
        assert_int_equal(f->failures + f->outages, 0);
        assert_false(WAIT_FOR(f->event, 1.3, f->peer.accepted > 1));
}

static void test_controller_without_name(void **state)
{
        Fixture *f = *state;

        f->answer = GOOD;
        f->device.enrol_as = ENROL_CONTROLLER;
        f->device.thing_hwid = (char *) "thing-77";
        f->device.name = NULL;
        start(f);
        assert_true(WAIT_FOR(f->event, 5, f->dones == 1));
        assert_string_equal(f->client_id, "0123abc");
        assert_string_equal(f->topic, MODEL "/ctrl/thing-77/" PASS);
}

static void test_passes_that_no_topic_carries(void **state)
{
        static const char *const passes[] = {"a+b", "a#", ""};
        Fixture *f = *state;

        for (size_t i = 0; i < ELEMENTSOF(passes); i++) {
                char *error = NULL;

                assert_int_equal(enrol_start(f->enrol, &f->device, "hw", passes[i], &error), -EINVAL);
                assert_non_null(error);
                assert_true(*passes[i] == '\0' || !strstr(error, passes[i]));
                free(error);
                assert_false(enrol_active(f->enrol));
        }
        assert_false(WAIT_FOR(f->event, 0.2, f->peer.accepted > 0));
}

static void test_refused_by_answer(void **state)
{
        Fixture *f = *state;

        /* The server closes after a failure: that is no second error. */
        f->answer = "{\"err\":17,\"msg\":\"no\\nsuch template\"}";
        f->close_after = true;
        expect_failure(f, "error 17: no?such template");
        assert_non_null(strstr(f->text, "0123abc"));
        assert_false(WAIT_FOR(f->event, 1.5, f->failures + f->outages > 1 || f->peer.accepted > 1));
        f->answer = "{\"err\":-3}";
        expect_failure(f, "error -3");
        /* on_failed() sees to it that the pass isn't in the text. */
        f->answer = "{\"err\":\"" PASS "\",\"msg\":\"no " PASS PASS "!\"}";
        expect_failure(f, "no *");
}

static void test_other_failures(void **state)
{
        Fixture *f = *state;

        f->answer = "nonsense";
        expect_failure(f, "makes no sense");
        f->answer = "{\"id\":\"" PLUG_ID "\"}";
        expect_failure(f, "makes no sense");
        f->answer = "";
        expect_failure(f, "makes no sense");
        f->answer = NULL;
        f->suback = 0x80;
        expect_failure(f, "SUBACK 0x80");
        f->suback = 0;
        f->close_instead = true;
        expect_failure(f, "ended before the enrolment was answered");
        assert_non_null(strstr(f->text, "closed the connection"));
        f->close_instead = false;
        f->close_after = true;
        expect_failure(f, "ended before the enrolment was answered");
        f->close_after = false;
        assert_int_equal(f->outages, 0);
}

static void test_only_its_topic(void **state)
{
        Fixture *f = *state;

        f->answer = GOOD;
        f->answer_topic = MODEL "/thing/other";
        start(f);
        assert_false(WAIT_FOR(f->event, 0.5, f->saves > 0));
        peer_publish(&f->peer, TOPIC, GOOD);
        assert_true(WAIT_FOR(f->event, 5, f->dones == 1));
}

/* Nothing of it is a failed enrolment: nothing was asked. The link goes on by itself. */
static void test_outage(void **state)
{
        Fixture *f = *state;

        f->answer = GOOD;
        f->peer.connack = 3;
        start(f);
        assert_true(WAIT_FOR(f->event, 5, f->outages == 1));
        assert_int_equal(f->end, LINK_END_OUTAGE);
        assert_non_null(strstr(f->text, "not available"));
        check_interval(f->retry_usec, 1);
        f->peer.connack = 0;
        assert_true(WAIT_FOR(f->event, 5, f->dones == 1));
        assert_int_equal(f->failures, 0);
}

/* A server that refuses even the empty login: the link's own, faster retries. */
static void test_refused_login(void **state)
{
        Fixture *f = *state;

        f->peer.connack = 5;
        start(f);
        assert_true(WAIT_FOR(f->event, 5, f->outages == 1));
        assert_int_equal(f->end, LINK_END_REFUSED);
        assert_non_null(strstr(f->text, "not authorised"));
        check_interval(f->retry_usec, 5);
        assert_int_equal(f->failures, 0);
        assert_true(enrol_active(f->enrol));
}

/* Once it is asked, the one answer is on its way; before and after, it isn't. */
static void test_asked(void **state)
{
        Fixture *f = *state;

        f->suback = -1;
        assert_false(enrol_asked(f->enrol));
        start(f);
        assert_false(enrol_asked(f->enrol));
        assert_true(WAIT_FOR(f->event, 5, f->topic[0]));
        assert_true(enrol_asked(f->enrol));
        peer_publish(&f->peer, TOPIC, GOOD);
        assert_true(WAIT_FOR(f->event, 5, f->dones == 1));
        assert_false(enrol_asked(f->enrol));
}

static void test_no_answer(void **state)
{
        Fixture *f = *state;
        uint64_t begin = clock_monotonic_usec();

        f->answer = NULL;
        start(f);
        assert_true(WAIT_FOR(f->event, 33, f->failures == 1));
        assert_in_range(clock_monotonic_usec() - begin, 30 * USEC_PER_SEC, 32 * USEC_PER_SEC);
        assert_non_null(strstr(f->text, "(SUBACK), but gave no answer within 30 s"));
        assert_true(WAIT_FOR(f->event, 5, f->peer.n_disconnects == 1));
        check_interval(f->retry_usec, 30);
        /* Starting anew does not wait for that. */
        f->answer = GOOD;
        start(f);
        assert_true(WAIT_FOR(f->event, 2, f->dones == 1));
}

/* A disk that is full: the answer is kept, and saving is tried until it works. */
static void test_saving_fails(void **state)
{
        Fixture *f = *state;

        f->answer = GOOD;
        f->save_result = -ENOSPC;
        start(f);
        assert_true(WAIT_FOR(f->event, 5, f->failures == 1));
        assert_non_null(strstr(f->text, PLUG_ID));
        assert_non_null(strstr(f->text, "No space left"));
        assert_non_null(strstr(f->text, "only once"));
        check_interval(f->retry_usec, 2);
        assert_true(enrol_active(f->enrol));
        assert_true(WAIT_FOR(f->event, 5, f->saves == 2));
        /* Neither stopping nor asking for another enrolment loses it. */
        enrol_stop(f->enrol);
        assert_false(enrol_active(f->enrol));
        f->save_result = 0;
        f->plug_id[0] = f->auth[0] = '\0';
        start(f);
        assert_true(WAIT_FOR(f->event, 2, f->dones == 1));
        assert_string_equal(f->plug_id, PLUG_ID);
        assert_string_equal(f->auth, "the-auth");
        assert_int_equal(f->saves, 3);
        assert_int_equal(f->peer.accepted, 1); /* the server was asked once */
}

static void test_saved_at_the_end(void **state)
{
        Fixture *f = *state;

        f->answer = GOOD;
        f->save_result = -EROFS;
        start(f);
        assert_true(WAIT_FOR(f->event, 5, f->failures == 1));
        f->save_result = 0;
        f->enrol = enrol_free(f->enrol);
        assert_int_equal(f->saves, 2);
        assert_string_equal(logged, "");
}

static void test_lost_at_the_end(void **state)
{
        Fixture *f = *state;

        f->answer = GOOD;
        f->save_result = -EROFS;
        start(f);
        assert_true(WAIT_FOR(f->event, 5, f->failures == 1));
        f->enrol = enrol_free(f->enrol);
        assert_non_null(strstr(logged, PLUG_ID));
}

static void test_stop(void **state)
{
        Fixture *f = *state;

        f->answer = GOOD;
        start(f);
        enrol_stop(f->enrol);
        assert_false(enrol_active(f->enrol));
        assert_int_equal(link_state(f->link), LINK_CLOSED);
        assert_false(WAIT_FOR(f->event, 0.5, f->dones + f->failures + f->outages > 0));
        assert_int_equal(f->peer.accepted, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_thing),
                TEST(test_controller_without_name),
                TEST(test_passes_that_no_topic_carries),
                TEST(test_refused_by_answer),
                TEST(test_other_failures),
                TEST(test_only_its_topic),
                TEST(test_outage),
                TEST(test_refused_login),
                TEST(test_asked),
                TEST(test_no_answer),
                TEST(test_saving_fails),
                TEST(test_saved_at_the_end),
                TEST(test_lost_at_the_end),
                TEST(test_stop),
        };

        return cmocka_run_group_tests_name("enrol", tests, NULL, NULL);
}
