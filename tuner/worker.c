/* SPDX-License-Identifier: MIT
 *
 * The worker process: owns the device, its context and CUPTI; measures what it is told to and
 * answers. It may crash or hang at any time: the tuner notices. See protocol.h.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <paro/tune.h>

#include "base/thread.h"
#include "emulator/emulator.h"
#include "gpu/gpu.h"
#include "tuner/cupti.h"
#include "tuner/protocol.h"
#include "tuner/timer.h"
#include "tuner/trial.h"

enum { MOST_TRIALS = 4 };

typedef struct worker {
    int fd_out;
    paro_pool *pool;
    paro_cupti *cupti;
    paro_gpu *gpu;
    paro_timer *timer;
    struct {
        paro_trial *trial;
        char problem[PARO_PROBLEM_TEXT_BYTES];
        uint32_t m;
        uint64_t seed;
    } trials[MOST_TRIALS]; /* of the layouts of one problem, mostly */
} worker;

typedef struct request {
    char text[PARO_PROBLEM_TEXT_BYTES];
    paro_problem problem;
    paro_kernel_config config;
    uint32_t m;
    uint64_t seed;
} request;

static paro_status answer(paro_error *err, worker *w, paro_wire_type type, paro_wire_writer *out)
{
    return paro_wire_send(err, w->fd_out, 0, type, out);
}

static void drop_trials(worker *w, const char *but_of)
{
    for (size_t i = 0; i < MOST_TRIALS; i++)
        if (w->trials[i].trial != NULL &&
            (but_of == NULL || strcmp(w->trials[i].problem, but_of) != 0)) {
            paro_trial_free(w->trials[i].trial);
            w->trials[i].trial = NULL;
        }
}

/* The trial whose data serve the request, made where there is none, set to its config. */
static paro_status find_trial(paro_error *err, worker *w, const request *q, paro_trial **out)
{
    size_t empty = MOST_TRIALS;
    drop_trials(w, q->text);
    for (size_t i = 0; i < MOST_TRIALS; i++) {
        if (w->trials[i].trial == NULL) {
            empty = i;
        } else if (w->trials[i].m == q->m && w->trials[i].seed == q->seed &&
                   paro_trial_fits(w->trials[i].trial, &q->config)) {
            *out = w->trials[i].trial;
            return paro_trial_set_config(err, *out, &q->config);
        }
    }
    if (empty == MOST_TRIALS) {
        drop_trials(w, NULL);
        empty = 0;
    }
    paro_trial *trial = NULL;
    paro_status status =
        paro_trial_new(err, w->gpu, &q->problem, q->m, &q->config, q->seed, w->pool, &trial);
    if (status != PARO_STATUS_OK)
        return status;
    w->trials[empty].trial = trial;
    memcpy(w->trials[empty].problem, q->text, sizeof q->text);
    w->trials[empty].m = q->m;
    w->trials[empty].seed = q->seed;
    *out = trial;
    return PARO_STATUS_OK;
}

/* Params that the config leaves out are the default's. */
static paro_status read_request(paro_error *err, const worker *w, paro_wire_reader *r, request *q)
{
    bool exact = false;
    const paro_arch *arch = paro_arch_for_capability(paro_gpu_info(w->gpu)->capability, &exact);
    char config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    memset(q, 0, sizeof *q);
    paro_wire_get_text(r, q->text, sizeof q->text);
    paro_wire_get_text(r, config, sizeof config);
    q->m = paro_wire_get_u32(r);
    q->seed = paro_wire_get_u64(r);
    if (r->is_bad)
        return paro_fail(err, PARO_STATUS_FORMAT, "worker: a request that ends too early");
    paro_status status = paro_problem_parse(err, q->text, &q->problem);
    if (status != PARO_STATUS_OK)
        return status;
    q->problem.family->default_config(&q->problem, arch != NULL ? arch : paro_arch_get(0),
                                      &q->config);
    return paro_kernel_config_parse(err, q->problem.family, config, &q->config);
}

/* ---- requests ---------------------------------------------------------------------------------
 */

static paro_status do_open(paro_error *err, worker *w, paro_wire_reader *r, paro_wire_writer *out)
{
    int device = (int)(int32_t)paro_wire_get_u32(r);
    if (!paro_wire_is_done(r) || w->gpu != NULL)
        return paro_fail(err, PARO_STATUS_FORMAT, "worker: expected one device to open");
    paro_status status = paro_pool_new(err, 0, &w->pool);
    if (status != PARO_STATUS_OK)
        return status;
    if (device < 0) {
        paro_emulator_options options = {.pool = w->pool};
        status = paro_gpu_open_emulator(err, &options, &w->gpu);
    } else {
        paro_cupti_new(NULL, &w->cupti); /* before the context; without it other clocks do */
        status = paro_gpu_open_cuda(err, device, &w->gpu);
    }
    if (status == PARO_STATUS_OK)
        status = paro_timer_new(err, w->gpu, w->cupti, &w->timer);
    if (status != PARO_STATUS_OK)
        return status;
    paro_wire_put_device(out, paro_gpu_info(w->gpu));
    paro_wire_put_text(out, paro_gpu_driver_version(w->gpu));
    paro_wire_put_text(out, paro_timer_clock(w->timer));
    paro_wire_put_u32(out, paro_timer_n_others(w->timer));
    return PARO_STATUS_OK;
}

static paro_status do_probe(paro_error *err, worker *w, paro_wire_reader *r, paro_wire_writer *out)
{
    paro_gpu_image image = {0};
    double read_gbs = 0;
    image.is_ptx = paro_wire_get_u32(r) != 0;
    image.data = paro_wire_get_bytes(r, &image.n_bytes);
    if (!paro_wire_is_done(r) || w->timer == NULL)
        return paro_fail(err, PARO_STATUS_FORMAT, "worker: expected the probe's code");
    paro_status status = paro_timer_probe(err, w->timer, &image, &read_gbs);
    paro_wire_put_f64(out, read_gbs);
    paro_wire_put_text(out, paro_timer_clock(w->timer));
    return status;
}

static paro_status do_prepare(paro_error *err, worker *w, paro_wire_reader *r)
{
    request q;
    paro_trial *trial = NULL;
    if (w->gpu == NULL)
        return paro_fail(err, PARO_STATUS_FORMAT, "worker: no device was opened");
    paro_status status = read_request(err, w, r, &q);
    if (status == PARO_STATUS_OK)
        status = find_trial(err, w, &q, &trial);
    if (status == PARO_STATUS_OK)
        status = paro_trial_expect(err, trial);
    return status;
}

/* Loads, verifies, times; what goes wrong is in the measurement. */
static void run(worker *w, paro_trial *trial, const paro_gpu_image *image, bool verify,
                uint32_t n_samples, paro_measurement *m)
{
    paro_error err = {0};
    double error = 0;
    m->state = PARO_CANDIDATE_TIMED;
    if (paro_trial_load(&err, trial, image) != PARO_STATUS_OK) {
        m->state = PARO_CANDIDATE_REFUSED;
    } else if (verify) {
        paro_status status = paro_trial_check(&err, trial, &error);
        m->error = error;
        if (status == PARO_STATUS_FORMAT)
            m->state = PARO_CANDIDATE_WRONG;
        else if (status != PARO_STATUS_OK)
            m->state = PARO_CANDIDATE_REFUSED;
    }
    if (m->state == PARO_CANDIDATE_TIMED && n_samples > 0 &&
        paro_timer_run(&err, w->timer, trial, n_samples, m) != PARO_STATUS_OK)
        m->state = PARO_CANDIDATE_REFUSED;
    if (paro_gpu_is_lost(w->gpu))
        m->state = PARO_CANDIDATE_CRASHED;
    if (m->state != PARO_CANDIDATE_TIMED)
        snprintf(m->reason, sizeof m->reason, "%.*s", PARO_REASON_BYTES - 1, err.message);
    paro_text_make_printable(m->reason, sizeof m->reason);
}

static paro_status do_measure(paro_error *err, worker *w, paro_wire_reader *r,
                              paro_wire_writer *out)
{
    request q;
    paro_trial *trial = NULL;
    paro_gpu_image image = {0};
    paro_measurement m;
    memset(&m, 0, sizeof m);
    if (w->gpu == NULL)
        return paro_fail(err, PARO_STATUS_FORMAT, "worker: no device was opened");
    paro_status status = read_request(err, w, r, &q);
    if (status != PARO_STATUS_OK)
        return status;
    uint32_t n_samples = paro_wire_get_u32(r);
    bool verify = paro_wire_get_u32(r) != 0;
    image.is_ptx = paro_wire_get_u32(r) != 0;
    image.data = paro_wire_get_bytes(r, &image.n_bytes);
    if (!paro_wire_is_done(r))
        return paro_fail(err, PARO_STATUS_FORMAT, "worker: a request that ends too early");
    status = find_trial(err, w, &q, &trial);
    if (status == PARO_STATUS_OUT_OF_MEMORY) { /* this config's scratch: others need less */
        m.state = PARO_CANDIDATE_REFUSED;
        snprintf(m.reason, sizeof m.reason, "%.*s", PARO_REASON_BYTES - 1, err->message);
    } else if (status != PARO_STATUS_OK) {
        return status;
    } else {
        run(w, trial, &image, verify, n_samples, &m);
    }
    paro_wire_put_measurement(out, &m);
    paro_wire_put_u32(out, paro_gpu_is_lost(w->gpu));
    return PARO_STATUS_OK;
}

static paro_status serve(paro_error *err, worker *w, paro_wire_type type, paro_buffer *payload)
{
    paro_wire_reader reader = {(const unsigned char *)payload->data, payload->n_bytes, false};
    paro_wire_writer out = {0};
    paro_wire_type reply = PARO_WIRE_ERROR;
    paro_error problem = {0};
    paro_status status;
    switch (type) {
    case PARO_WIRE_OPEN:
        status = do_open(&problem, w, &reader, &out);
        reply = PARO_WIRE_OPENED;
        break;
    case PARO_WIRE_PROBE:
        status = do_probe(&problem, w, &reader, &out);
        reply = PARO_WIRE_PROBED;
        break;
    case PARO_WIRE_PREPARE:
        status = do_prepare(&problem, w, &reader);
        reply = PARO_WIRE_DONE;
        break;
    case PARO_WIRE_MEASURE:
        status = do_measure(&problem, w, &reader, &out);
        reply = PARO_WIRE_ROW;
        break;
    default:
        status =
            paro_fail(&problem, PARO_STATUS_FORMAT, "worker: an unknown request (%d)", (int)type);
        break;
    }
    if (status != PARO_STATUS_OK) {
        paro_buffer_clear(&out.buffer);
        reply = PARO_WIRE_ERROR;
        paro_wire_put_u32(&out, (uint32_t)status);
        paro_wire_put_text(&out, problem.message);
        paro_wire_put_u32(&out, w->gpu != NULL && paro_gpu_is_lost(w->gpu));
    }
    return answer(err, w, reply, &out);
}

paro_status paro_tune_worker(paro_error *err, int fd_in, int fd_out)
{
    worker w = {0};
    paro_buffer payload = {0};
    paro_status status = PARO_STATUS_OK;
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* a hung kernel must not outlive the tuner */
    /* What libraries print goes to standard error, not between the frames; and programs that run
     * for the worker (a compiler) have no part in the connection, which then ends with the worker.
     */
    const int fd_requests = fcntl(fd_in, F_DUPFD_CLOEXEC, 3);
    w.fd_out = fcntl(fd_out, F_DUPFD_CLOEXEC, 3);
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd_requests < 0 || w.fd_out < 0 || nothing < 0 || dup2(nothing, fd_in) < 0 ||
        dup2(STDERR_FILENO, fd_out) < 0) {
        status = paro_fail(err, PARO_STATUS_IO, "worker: no connection to read and answer on");
        goto done;
    }
    while (status == PARO_STATUS_OK) {
        paro_wire_type type;
        status = paro_wire_receive(err, fd_requests, 0, &type, &payload);
        if (status == PARO_STATUS_NOT_FOUND) { /* the tuner has no more work */
            status = PARO_STATUS_OK;
            break;
        }
        if (status == PARO_STATUS_OK)
            status = serve(err, &w, type, &payload);
        if (w.gpu != NULL && paro_gpu_is_lost(w.gpu))
            break; /* the tuner was told */
    }
done:
    drop_trials(&w, NULL);
    paro_timer_free(w.timer);
    paro_gpu_free(w.gpu);
    paro_cupti_free(w.cupti);
    paro_pool_free(w.pool);
    paro_buffer_free(&payload);
    const int fds[] = {fd_requests, w.fd_out, nothing};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    return status;
}
