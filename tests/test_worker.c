/* SPDX-License-Identifier: MIT
 *
 * The tuner's worker process: frames that are whole, cut and forged; workers that crash, hang,
 * answer nonsense; the real worker on the emulator.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <sys/socket.h>

#include <paro/tune.h>

#include "base/clock.h"
#include "base/rng.h"
#include "tests/support.h"
#include "tests/worker_support.h"
#include "tuner/process.h"

/* ---- frames -----------------------------------------------------------------------------------
 */

static void pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
}

static void test_frames_go_and_come(void **state)
{
    (void)state;
    paro_error err;
    int fds[2];
    paro_wire_type type;
    paro_buffer payload = {0};
    paro_wire_writer w = {0};
    paro_measurement m = {.state = PARO_CANDIDATE_WRONG, .median_us = 1.5, .error = 0.25}, back;
    paro_device_info info, info_back;
    snprintf(m.reason, sizeof m.reason, "because");
    pair(fds);
    paro_device_typical(paro_arch_find("sm_80"), &info);
    paro_wire_put_u32(&w, 7);
    paro_wire_put_u64(&w, UINT64_MAX - 1);
    paro_wire_put_f64(&w, -0.125);
    paro_wire_put_text(&w, "");
    paro_wire_put_measurement(&w, &m);
    paro_wire_put_device(&w, &info);
    assert_ok(paro_wire_send(&err, fds[0], 0, PARO_WIRE_ROW, &w));
    assert_ok(paro_wire_receive(&err, fds[1], paro_clock_seconds() + 5, &type, &payload));
    assert_int_equal(type, PARO_WIRE_ROW);
    paro_wire_reader r = {(const unsigned char *)payload.data, payload.n_bytes, false};
    char text[4];
    assert_int_equal(paro_wire_get_u32(&r), 7);
    assert_true(paro_wire_get_u64(&r) == UINT64_MAX - 1);
    assert_true(paro_wire_get_f64(&r) == -0.125);
    paro_wire_get_text(&r, text, sizeof text);
    assert_string_equal(text, "");
    paro_wire_get_measurement(&r, &back);
    assert_int_equal(back.state, PARO_CANDIDATE_WRONG);
    assert_string_equal(back.reason, "because");
    assert_true(back.median_us == 1.5 && back.error == 0.25);
    paro_wire_get_device(&r, &info_back);
    assert_string_equal(info_back.name, info.name);
    assert_int_equal(info_back.capability, 80);
    assert_true(paro_wire_is_done(&r));
    paro_wire_get_u32(&r); /* past the end */
    assert_true(r.is_bad);

    assert_ok(paro_wire_send(&err, fds[0], 0, PARO_WIRE_DONE, &w)); /* nothing in it */
    assert_ok(paro_wire_receive(&err, fds[1], 0, &type, &payload));
    assert_int_equal(payload.n_bytes, 0);
    double start = paro_clock_seconds();
    assert_fails(paro_wire_receive(&err, fds[1], start + 0.05, &type, &payload), PARO_STATUS_LIMIT,
                 "no answer in time");
    assert_true(paro_clock_seconds() - start < 5);
    close(fds[0]);
    assert_fails(paro_wire_receive(&err, fds[1], 0, &type, &payload), PARO_STATUS_NOT_FOUND,
                 "closed the connection");
    assert_fails(paro_wire_send(&err, fds[1], 0, PARO_WIRE_DONE, &w), PARO_STATUS_IO, "is gone");
    close(fds[1]);
    paro_buffer_free(&payload);
}

/* A frame cut anywhere, or with any byte changed, is an error, and no crash. */
static void test_frames_cut_and_forged(void **state)
{
    (void)state;
    paro_error err;
    int fds[2];
    unsigned char frame[256];
    paro_wire_type type;
    paro_buffer payload = {0};
    paro_wire_writer w = {0};
    pair(fds);
    paro_wire_put_text(&w, "linear");
    paro_wire_put_u32(&w, 3);
    assert_ok(paro_wire_send(&err, fds[0], 0, PARO_WIRE_PREPARE, &w));
    ssize_t n = read(fds[1], frame, sizeof frame);
    assert_int_equal(n, 16 + 4 + 6 + 4);
    close(fds[0]);
    close(fds[1]);
    for (ssize_t cut = 0; cut < n; cut++) {
        pair(fds);
        assert_int_equal(write(fds[0], frame, (size_t)cut), cut);
        close(fds[0]);
        assert_int_not_equal(paro_wire_receive(&err, fds[1], 0, &type, &payload), PARO_STATUS_OK);
        close(fds[1]);
    }
    for (ssize_t at = 0; at < n; at++) {
        pair(fds);
        unsigned char forged[256];
        memcpy(forged, frame, (size_t)n);
        forged[at] ^= 0x40;
        assert_int_equal(write(fds[0], forged, (size_t)n), n);
        close(fds[0]);
        paro_status status = paro_wire_receive(&err, fds[1], 0, &type, &payload);
        if (status == PARO_STATUS_OK) /* the type is not summed, but it is another one */
            assert_int_not_equal(type, PARO_WIRE_PREPARE);
        close(fds[1]);
    }
    paro_buffer_free(&payload);
}

/* ---- workers that go wrong --------------------------------------------------------------------
 */

static const char *const faults[] = {
    "--test-worker", "-",  "crash", "=1",    "hang", "=2", "garbage", "=3", "silent-exit", "=4",
    "lost",          "=5", "short", "=6",    "nan",  "=7", "wrong",   "=8", "lost-early",  "=9",
    "no-data",       "b=", "clock", "graph", NULL};

static void test_faults_cost_one_row(void **state)
{
    (void)state;
    paro_error err;
    static const struct {
        const char *config;
        paro_candidate_state state;
        const char *reason;
    } rows[] = {{"a=0", PARO_CANDIDATE_TIMED, ""},
                {"a=1", PARO_CANDIDATE_CRASHED, "signal 11"},
                {"a=0", PARO_CANDIDATE_TIMED, ""},
                {"a=2", PARO_CANDIDATE_HUNG, "no answer within"},
                {"a=3", PARO_CANDIDATE_CRASHED, "nonsense"},
                {"a=4", PARO_CANDIDATE_CRASHED, "exit status 3"},
                {"a=5", PARO_CANDIDATE_CRASHED, "an illegal address"},
                {"a=6", PARO_CANDIDATE_CRASHED, ""},
                {"a=7", PARO_CANDIDATE_CRASHED, "nonsense"},
                {"a=8", PARO_CANDIDATE_WRONG, "expected 1, found 2"},
                {"a=9", PARO_CANDIDATE_CRASHED, "cuda:0 is lost"},
                {"a=0", PARO_CANDIDATE_TIMED, ""}};
    paro_process_options options = {
        .program = test_program(), .arguments = faults, .measure_seconds = 0.5};
    paro_process *process = NULL;
    assert_ok(paro_process_new(&err, &options, &process));
    assert_int_equal(paro_process_get_info(process)->device.capability, 90);
    static const char code[100000] = "code";
    paro_gpu_image image = {code, sizeof code, false};
    assert_ok(paro_process_probe(&err, process, &image));
    assert_true(paro_process_get_info(process)->read_gbs == 1000);
    assert_string_equal(paro_process_get_info(process)->clock, "graph"); /* what the probe found */
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        paro_process_request q = {
            .problem = "p", .config = rows[i].config, .n_samples = 5, .image = image};
        paro_measurement m;
        assert_ok(paro_process_measure(&err, process, &q, NULL, NULL, &m));
        assert_int_equal(m.state, rows[i].state);
        assert_non_null(strstr(m.reason, rows[i].reason));
        assert_true(paro_process_is_alive(process));
    }
    assert_int_equal(paro_process_n_lost(process), 8);
    paro_process_free(process);
}

/* Whoever makes data for a problem may die of it: the problem fails, the next one has a worker. */
static void test_a_worker_that_dies_preparing(void **state)
{
    (void)state;
    paro_error err;
    paro_process_options options = {.program = test_program(), .arguments = faults};
    paro_process *process = NULL;
    paro_measurement m;
    assert_ok(paro_process_new(&err, &options, &process));
    paro_process_request q = {.problem = "p", .config = "b=0", .image = {"x", 1, false}};
    assert_int_not_equal(paro_process_prepare(&err, process, &q), PARO_STATUS_OK);
    assert_non_null(strstr(err.message, "exit status 6"));
    assert_true(paro_process_is_alive(process));
    assert_int_equal(paro_process_n_lost(process), 1);
    q.config = "a=0";
    assert_ok(paro_process_prepare(&err, process, &q));
    assert_ok(paro_process_measure(&err, process, &q, NULL, NULL, &m));
    assert_int_equal(m.state, PARO_CANDIDATE_TIMED);
    paro_process_free(process);
}

static void take_long(void *context)
{
    (void)context;
    usleep(400000);
}

/* A cache that is busy (other tuners write into it) does not make the worker late. */
static void test_an_answer_that_waited_is_in_time(void **state)
{
    (void)state;
    paro_error err;
    paro_process_options options = {
        .program = test_program(), .arguments = faults, .measure_seconds = 0.2};
    paro_process *process = NULL;
    paro_measurement m;
    assert_ok(paro_process_new(&err, &options, &process));
    paro_process_request q = {.problem = "p", .config = "a=0", .image = {"x", 1, false}};
    assert_ok(paro_process_measure(&err, process, &q, take_long, NULL, &m));
    assert_int_equal(m.state, PARO_CANDIDATE_TIMED);
    assert_int_equal(paro_process_n_lost(process), 0);
    paro_process_free(process);
}

/* In a program that ignores SIGCHLD there is nobody to wait for. */
static void test_children_are_not_kept(void **state)
{
    (void)state;
    paro_error err;
    paro_process_options options = {.program = test_program(), .arguments = faults};
    paro_process *process = NULL;
    void (*before)(int) = signal(SIGCHLD, SIG_IGN);
    assert_ok(paro_process_new(&err, &options, &process));
    double start = paro_clock_seconds();
    paro_process_free(process);
    signal(SIGCHLD, before);
    assert_true(paro_clock_seconds() - start < 3);
}

/* The row of a candidate after which no worker starts is kept; what comes next fails. */
static void test_no_successor(void **state)
{
    (void)state;
    paro_error err;
    paro_process *process = NULL;
    paro_measurement m;
    char *dir = test_dir_new();
    char *path = test_path(dir, "worker");
    assert_int_equal(symlink(test_program(), path), 0);
    paro_process_options options = {.program = path, .arguments = faults};
    assert_ok(paro_process_new(&err, &options, &process));
    assert_int_equal(unlink(path), 0);
    paro_process_request q = {.problem = "p", .config = "a=1", .image = {"x", 1, false}};
    assert_ok(paro_process_measure(&err, process, &q, NULL, NULL, &m));
    assert_int_equal(m.state, PARO_CANDIDATE_CRASHED);
    assert_false(paro_process_is_alive(process));
    q.config = "a=0";
    assert_fails(paro_process_measure(&err, process, &q, NULL, NULL, &m), PARO_STATUS_NOT_FOUND,
                 "worker");
    paro_process_free(process);
    test_dir_remove(dir);
    free(path);
}

static void test_programs_that_are_no_worker(void **state)
{
    (void)state;
    paro_error err;
    paro_process *process = NULL;
    paro_process_options options = {.program = "/no/such/program", .open_seconds = 1};
    assert_fails(paro_process_new(&err, &options, &process), PARO_STATUS_NOT_FOUND,
                 "/no/such/program");
    options.program = "/bin/true";
    memset(&err, 0, sizeof err);
    assert_int_not_equal(paro_process_new(&err, &options, &process), PARO_STATUS_OK);
    assert_non_null(strstr(err.message, "/bin/true"));
    options.program = "/bin/echo"; /* prints a line: no frame */
    assert_int_not_equal(paro_process_new(&err, &options, &process), PARO_STATUS_OK);
    static const char *const sleep_arguments[] = {"60", NULL};
    options.program = "/bin/sleep";
    options.arguments = sleep_arguments;
    double start = paro_clock_seconds();
    assert_fails(paro_process_new(&err, &options, &process), PARO_STATUS_LIMIT,
                 "no answer in time");
    assert_true(paro_clock_seconds() - start < 20);
    assert_null(process);
}

/* ---- the real worker --------------------------------------------------------------------------
 */

static const char *const real_worker[] = {"--worker", NULL};

static void test_the_worker_refuses_nonsense(void **state)
{
    (void)state;
    paro_error err;
    paro_process *process = NULL;
    paro_process_options options = {
        .program = test_program(), .arguments = real_worker, .device = 9999};
    /* No such device, or no driver: the worker says so. */
    memset(&err, 0, sizeof err);
    paro_status status = paro_process_new(&err, &options, &process);
    assert_true(status == PARO_STATUS_UNSUPPORTED || status == PARO_STATUS_NOT_FOUND);
    assert_null(process);

    options.device = -1;
    status = paro_process_new(&err, &options, &process);
    if (status == PARO_STATUS_UNSUPPORTED) {
        printf("SKIP test_worker: no C++ compiler\n");
        fflush(stdout);
        skip();
    }
    assert_ok(status);
    paro_measurement m;
    paro_process_request q = {.problem = "linear_w5:n=3", .config = "", .image = {"x", 1, false}};
    assert_fails(paro_process_prepare(&err, process, &q), PARO_STATUS_INVALID_ARGUMENT,
                 "linear_w5");
    assert_fails(paro_process_measure(&err, process, &q, NULL, NULL, &m),
                 PARO_STATUS_INVALID_ARGUMENT, "linear_w5");
    q.problem = "swiglu:n=64,m=1,dtype=f16";
    q.config = "speed=1";
    assert_fails(paro_process_prepare(&err, process, &q), PARO_STATUS_INVALID_ARGUMENT, "speed");
    q.config = ""; /* the default; the source is none */
    assert_ok(paro_process_measure(&err, process, &q, NULL, NULL, &m));
    assert_int_equal(m.state, PARO_CANDIDATE_REFUSED);
    assert_true(strlen(m.reason) > 0);
    assert_int_equal(paro_process_n_lost(process), 0);
    paro_process_free(process);
}

int main(int argc, char **argv)
{
    if (test_worker_main(argc, argv))
        return 0;
    if (argc > 1 && strcmp(argv[1], "--worker") == 0)
        return paro_tune_worker(NULL, 0, 1) == PARO_STATUS_OK ? 0 : 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_frames_go_and_come),
        cmocka_unit_test(test_frames_cut_and_forged),
        cmocka_unit_test(test_faults_cost_one_row),
        cmocka_unit_test(test_a_worker_that_dies_preparing),
        cmocka_unit_test(test_an_answer_that_waited_is_in_time),
        cmocka_unit_test(test_children_are_not_kept),
        cmocka_unit_test(test_no_successor),
        cmocka_unit_test(test_programs_that_are_no_worker),
        cmocka_unit_test(test_the_worker_refuses_nonsense),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
