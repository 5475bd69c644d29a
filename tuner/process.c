/* SPDX-License-Identifier: MIT
 *
 * See process.h.
 *
 * Invariant: between calls either a worker waits for a request (pid > 0, fd >= 0), or there is none
 * (pid 0, fd -1).
 */
#include "tuner/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "tuner/protocol.h"

enum { MOST_ARGUMENTS = 32 };

extern char **environ;

struct paro_process {
    paro_process_options options;
    paro_process_info info;
    pid_t pid;
    int fd;
    uint32_t n_lost;
    bool is_lost; /* the device, the last answer says */
    bool has_probe;
    paro_gpu_image probe;
    paro_buffer payload;
};

/* ---- life and death ---------------------------------------------------------------------------
 */

static paro_status start(paro_error *err, paro_process *p)
{
    char *arguments[MOST_ARGUMENTS + 2] = {NULL};
    int fds[2] = {-1, -1};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    size_t n = 0;
    memcpy(&arguments[n++], &p->options.program, sizeof(char *));
    for (const char *const *at = p->options.arguments; at != NULL && *at != NULL; at++) {
        if (n > MOST_ARGUMENTS)
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                             "worker: expected at most %d arguments", MOST_ARGUMENTS);
        memcpy(&arguments[n++], at, sizeof(char *));
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
        return paro_fail_errno(err, errno, "make", "a connection to the worker");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
    /* A group of its own: an interrupt from the terminal is for the tuner to handle. */
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attributes, 0);
    pid_t pid = 0;
    int result = posix_spawn(&pid, p->options.program, &actions, &attributes, arguments, environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    close(fds[1]);
    if (result != 0) {
        close(fds[0]);
        return paro_fail_errno(err, result, "start", p->options.program);
    }
    p->pid = pid;
    p->fd = fds[0];
    return PARO_STATUS_OK;
}

/* Ends the worker; `how` receives how it ended, in words. */
static void stop(paro_process *p, bool kill_it, char *how, size_t capacity)
{
    int status = 0;
    if (p->fd >= 0)
        close(p->fd); /* the end of its input: it ends by itself */
    p->fd = -1;
    if (p->pid <= 0)
        return;
    if (kill_it)
        kill(p->pid, SIGKILL);
    for (int i = 0; i < 500 && !kill_it; i++) { /* 5 s */
        pid_t ended = waitpid(p->pid, &status, WNOHANG);
        if (ended == p->pid || (ended < 0 && errno == ECHILD)) /* the program ignores SIGCHLD */
            goto done;
        usleep(10000);
    }
    kill(p->pid, SIGKILL);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        continue;
done:
    p->pid = 0;
    if (how == NULL)
        return;
    if (WIFSIGNALED(status))
        snprintf(how, capacity, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(how, capacity, "exit status %d", WEXITSTATUS(status));
}

/* Sends a request and receives the answer. Where the worker answered with an error, its status and
 * message, and *alive is true unless the device was lost with it. */
static paro_status exchange(paro_error *err, paro_process *p, paro_wire_type type,
                            paro_wire_writer *w, paro_wire_type expected, double seconds,
                            paro_process_meanwhile_fn *meanwhile, void *context,
                            paro_wire_reader *reader, bool *alive)
{
    double deadline = paro_clock_seconds() + seconds;
    paro_wire_type found = type;
    *alive = false;
    p->is_lost = false;
    paro_status status = paro_wire_send(err, p->fd, deadline, type, w);
    if (status == PARO_STATUS_OUT_OF_MEMORY)
        *alive = true;
    if (status != PARO_STATUS_OK)
        return status;
    if (meanwhile != NULL)
        meanwhile(context);
    status = paro_wire_receive(err, p->fd, deadline, &found, &p->payload);
    if (status != PARO_STATUS_OK)
        return status;
    *reader = (paro_wire_reader){(const unsigned char *)p->payload.data, p->payload.n_bytes, false};
    if (found == PARO_WIRE_ERROR) {
        char message[PARO_ERROR_MESSAGE_BYTES];
        uint32_t code = paro_wire_get_u32(reader);
        paro_wire_get_text(reader, message, sizeof message);
        p->is_lost = paro_wire_get_u32(reader) != 0;
        if (paro_wire_is_done(reader) && code > 0 && code <= PARO_STATUS_CANCELLED) {
            *alive = !p->is_lost;
            return paro_fail(err, (paro_status)code, "%s", message);
        }
    } else if (found == expected) {
        *alive = true;
        return PARO_STATUS_OK;
    }
    return paro_fail(err, PARO_STATUS_FORMAT, "worker: expected answer %d, found %d", (int)expected,
                     (int)found);
}

static paro_status open_device(paro_error *err, paro_process *p, bool *alive)
{
    paro_wire_writer w = {0};
    paro_wire_reader r;
    paro_wire_put_u32(&w, (uint32_t)p->options.device);
    paro_status status = exchange(err, p, PARO_WIRE_OPEN, &w, PARO_WIRE_OPENED,
                                  p->options.open_seconds, NULL, NULL, &r, alive);
    if (status != PARO_STATUS_OK)
        return status;
    paro_process_info info = {.read_gbs = p->info.read_gbs};
    paro_wire_get_device(&r, &info.device);
    paro_wire_get_text(&r, info.driver, sizeof info.driver);
    paro_wire_get_text(&r, info.clock, sizeof info.clock);
    info.n_others = paro_wire_get_u32(&r);
    if (!paro_wire_is_done(&r))
        return paro_fail(err, PARO_STATUS_FORMAT, "worker: an answer that ends too early");
    p->info = info;
    return PARO_STATUS_OK;
}

static paro_status run_probe(paro_error *err, paro_process *p, bool *alive)
{
    paro_wire_writer w = {0};
    paro_wire_reader r;
    paro_wire_put_u32(&w, p->probe.is_ptx);
    paro_wire_put_bytes(&w, p->probe.data, p->probe.n_bytes);
    paro_status status = exchange(err, p, PARO_WIRE_PROBE, &w, PARO_WIRE_PROBED,
                                  p->options.open_seconds, NULL, NULL, &r, alive);
    if (status != PARO_STATUS_OK)
        return status;
    char clock[sizeof p->info.clock];
    double read_gbs = paro_wire_get_f64(&r);
    paro_wire_get_text(&r, clock, sizeof clock);
    if (!paro_wire_is_done(&r))
        return paro_fail(err, PARO_STATUS_FORMAT, "worker: an answer that ends too early");
    p->info.read_gbs = read_gbs;
    memcpy(p->info.clock, clock, sizeof clock);
    return PARO_STATUS_OK;
}

/* A worker with an open device that was proved to work. */
static paro_status restart(paro_error *err, paro_process *p)
{
    char how[64] = "";
    bool alive = false;
    paro_status status = start(err, p);
    if (status != PARO_STATUS_OK)
        return status;
    status = open_device(err, p, &alive);
    if (status == PARO_STATUS_OK && p->has_probe)
        status = run_probe(err, p, &alive);
    if (status == PARO_STATUS_OK)
        return PARO_STATUS_OK;
    stop(p, status == PARO_STATUS_LIMIT, how, sizeof how);
    if (alive) /* it said itself what is wrong */
        return status;
    return paro_fail_in(err, status, "worker %s ended with %s", p->options.program, how);
}

paro_status paro_process_new(paro_error *err, const paro_process_options *options,
                             paro_process **out)
{
    paro_process *p = calloc(1, sizeof *p);
    if (p == NULL)
        return paro_fail_memory(err, sizeof *p, "a worker");
    p->options = *options;
    p->fd = -1;
    if (p->options.open_seconds <= 0)
        p->options.open_seconds = 60;
    if (p->options.prepare_seconds <= 0)
        p->options.prepare_seconds = 600;
    if (p->options.measure_seconds <= 0)
        p->options.measure_seconds = 20;
    paro_status status = restart(err, p);
    if (status != PARO_STATUS_OK) {
        paro_process_free(p);
        return status;
    }
    *out = p;
    return PARO_STATUS_OK;
}

void paro_process_free(paro_process *p)
{
    if (p == NULL)
        return;
    stop(p, false, NULL, 0);
    paro_buffer_free(&p->payload);
    free(p);
}

const paro_process_info *paro_process_get_info(const paro_process *p)
{
    return &p->info;
}

bool paro_process_is_alive(const paro_process *p)
{
    return p->fd >= 0;
}

uint32_t paro_process_n_lost(const paro_process *p)
{
    return p->n_lost;
}

/* ---- requests ---------------------------------------------------------------------------------
 */

paro_status paro_process_probe(paro_error *err, paro_process *p, const paro_gpu_image *image)
{
    p->probe = *image;
    p->has_probe = true;
    bool alive = false;
    return run_probe(err, p, &alive);
}

static void put_request(paro_wire_writer *w, const paro_process_request *q)
{
    paro_wire_put_text(w, q->problem);
    paro_wire_put_text(w, q->config);
    paro_wire_put_u32(w, q->m);
    paro_wire_put_u64(w, q->seed);
}

/* After a worker that is no more: says so in the log and starts the next. Where none can be started
 * the next request tries again, and fails: what is known of this one is not lost with it. */
static void replace(paro_process *p, const char *config, const char *why)
{
    paro_error err = {0};
    p->n_lost++;
    paro_log(p->options.observer, PARO_LOG_LEVEL_WARNING, "worker lost at config %s: %s", config,
             why);
    if (restart(&err, p) != PARO_STATUS_OK)
        paro_log(p->options.observer, PARO_LOG_LEVEL_WARNING, "no other worker: %s", err.message);
}

paro_status paro_process_prepare(paro_error *err, paro_process *p, const paro_process_request *q)
{
    paro_wire_writer w = {0};
    paro_wire_reader r;
    bool alive = false;
    if (p->fd < 0) {
        paro_status status = restart(err, p);
        if (status != PARO_STATUS_OK)
            return status;
    }
    put_request(&w, q);
    paro_status status = exchange(err, p, PARO_WIRE_PREPARE, &w, PARO_WIRE_DONE,
                                  p->options.prepare_seconds, NULL, NULL, &r, &alive);
    if (!alive) {
        char how[64] = "";
        stop(p, true, how, sizeof how);
        status =
            paro_fail_in(err, status, "worker (%s) while it made data for %s", how, q->problem);
        replace(p, q->config, err != NULL ? err->message : how);
    }
    return status;
}

paro_status paro_process_measure(paro_error *err, paro_process *p, const paro_process_request *q,
                                 paro_process_meanwhile_fn *meanwhile, void *context,
                                 paro_measurement *out)
{
    paro_wire_writer w = {0};
    paro_wire_reader r;
    paro_measurement m;
    paro_error problem = {0};
    bool alive = false, has_row = false;
    char how[64] = "";
    memset(&m, 0, sizeof m);
    if (p->fd < 0) {
        paro_status status = restart(err, p);
        if (status != PARO_STATUS_OK)
            return status;
    }
    put_request(&w, q);
    paro_wire_put_u32(&w, q->n_samples);
    paro_wire_put_u32(&w, q->verify);
    paro_wire_put_u32(&w, q->image.is_ptx);
    paro_wire_put_bytes(&w, q->image.data, q->image.n_bytes);
    paro_status status = exchange(&problem, p, PARO_WIRE_MEASURE, &w, PARO_WIRE_ROW,
                                  p->options.measure_seconds, meanwhile, context, &r, &alive);
    if (alive && status != PARO_STATUS_OK)
        return paro_fail(err, status, "%s", problem.message);
    if (alive) {
        paro_wire_get_measurement(&r, &m);
        p->is_lost = paro_wire_get_u32(&r) != 0;
        has_row = true;
        if (!paro_wire_is_done(&r) || m.state == PARO_CANDIDATE_NEW) {
            alive = has_row = false;
            status = PARO_STATUS_FORMAT;
            snprintf(problem.message, sizeof problem.message, "worker: a row that is none");
        }
    }
    if (alive && !p->is_lost) {
        *out = m;
        return PARO_STATUS_OK;
    }
    stop(p, true, how, sizeof how);
    if (!has_row) {
        memset(&m, 0, sizeof m);
        m.state = status == PARO_STATUS_LIMIT ? PARO_CANDIDATE_HUNG : PARO_CANDIDATE_CRASHED;
        if (status == PARO_STATUS_LIMIT)
            snprintf(m.reason, sizeof m.reason, "no answer within %.3g s",
                     p->options.measure_seconds);
        else if (status == PARO_STATUS_FORMAT)
            snprintf(m.reason, sizeof m.reason, "the worker answered nonsense");
        else if (p->is_lost)
            snprintf(m.reason, sizeof m.reason, "%.*s", PARO_REASON_BYTES - 1, problem.message);
        else
            snprintf(m.reason, sizeof m.reason, "the worker ended with %s", how);
    }
    replace(p, q->config, m.reason);
    *out = m;
    return PARO_STATUS_OK;
}
