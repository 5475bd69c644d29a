/* SPDX-License-Identifier: MIT
 *
 * See compile.h.
 *
 * Invariant: a job is in the queue (WAITING), with one thread (RUNNING), or with its owner (DONE);
 * its state changes under the lock only.
 */
#include "tuner/compile.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAITING, RUNNING, DONE };

struct paro_compiler {
    const paro_nvrtc *nvrtc;
    pthread_mutex_t lock;
    pthread_cond_t work, done;
    paro_compile_job *first, *last;
    bool is_ending;
    size_t n_threads;
    pthread_t *threads;
};

static paro_status inspect(paro_error *err, paro_compile_job *job)
{
    paro_arena arena = {0};
    paro_resources resources = {0};
    paro_status status = paro_inspect(err, &job->binary, &arena, &resources);
    if (status == PARO_STATUS_OK)
        status = paro_resources_print(err, &resources, &job->resources);
    for (size_t i = 0; status == PARO_STATUS_OK && i < resources.n_kernels; i++)
        job->spill_bytes +=
            resources.kernels[i].spill_store_bytes + resources.kernels[i].spill_load_bytes;
    paro_arena_release(&arena);
    return status;
}

static void compile(const paro_compiler *c, paro_compile_job *job)
{
    const paro_variant variant = {&job->problem, &job->config, &job->arch};
    job->status = paro_render(&job->error, &variant, &job->source);
    if (job->status != PARO_STATUS_OK || c->nvrtc == NULL)
        return;
    const char *target =
        job->wants_ptx ? job->arch.virtual_name : paro_target_of(job->source.data, &job->arch);
    snprintf(job->target, sizeof job->target, "%s", target);
    job->status =
        paro_nvrtc_compile(&job->error, c->nvrtc, job->source.data, job->target, &job->binary);
    if (job->status != PARO_STATUS_OK)
        return;
    job->has_binary = true;
    job->status = inspect(&job->error, job);
}

static void *run_thread(void *context)
{
    paro_compiler *c = context;
    pthread_mutex_lock(&c->lock);
    while (true) {
        while (c->first == NULL && !c->is_ending)
            pthread_cond_wait(&c->work, &c->lock);
        if (c->is_ending)
            break;
        paro_compile_job *job = c->first;
        c->first = job->next;
        if (c->first == NULL)
            c->last = NULL;
        job->state = RUNNING;
        pthread_mutex_unlock(&c->lock);
        compile(c, job);
        pthread_mutex_lock(&c->lock);
        job->state = DONE;
        pthread_cond_broadcast(&c->done);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

paro_status paro_compiler_new(paro_error *err, const paro_nvrtc *nvrtc, int n_threads,
                              paro_compiler **out)
{
    if (n_threads <= 0) {
        long n_cores = sysconf(_SC_NPROCESSORS_ONLN);
        n_threads = n_cores > 0 ? (int)n_cores : 1;
    }
    paro_compiler *c = calloc(1, sizeof *c);
    pthread_t *threads = calloc((size_t)n_threads, sizeof *threads);
    if (c == NULL || threads == NULL) {
        free(c);
        free(threads);
        return paro_fail_memory(err, sizeof *c, "compile threads");
    }
    c->nvrtc = nvrtc;
    c->threads = threads;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->work, NULL);
    pthread_cond_init(&c->done, NULL);
    while (c->n_threads < (size_t)n_threads &&
           pthread_create(&threads[c->n_threads], NULL, run_thread, c) == 0)
        c->n_threads++;
    if (c->n_threads == 0) {
        paro_compiler_free(c);
        return paro_fail(err, PARO_STATUS_LIMIT, "no thread to compile with could be started");
    }
    *out = c;
    return PARO_STATUS_OK;
}

void paro_compiler_free(paro_compiler *c)
{
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    c->is_ending = true;
    pthread_cond_broadcast(&c->work);
    pthread_mutex_unlock(&c->lock);
    for (size_t i = 0; i < c->n_threads; i++)
        pthread_join(c->threads[i], NULL);
    pthread_cond_destroy(&c->work);
    pthread_cond_destroy(&c->done);
    pthread_mutex_destroy(&c->lock);
    free(c->threads);
    free(c);
}

paro_status paro_compiler_submit(paro_error *err, paro_compiler *c, const paro_problem *problem,
                                 const paro_kernel_config *config, const paro_arch *arch,
                                 bool wants_ptx, paro_compile_job **out)
{
    paro_compile_job *job = calloc(1, sizeof *job);
    if (job == NULL)
        return paro_fail_memory(err, sizeof *job, "a variant");
    job->problem = *problem;
    job->config = *config;
    job->arch = *arch;
    job->wants_ptx = wants_ptx;
    pthread_mutex_lock(&c->lock);
    if (c->last != NULL)
        c->last->next = job;
    else
        c->first = job;
    c->last = job;
    pthread_cond_signal(&c->work);
    pthread_mutex_unlock(&c->lock);
    *out = job;
    return PARO_STATUS_OK;
}

void paro_compiler_wait(paro_compiler *c, paro_compile_job *job)
{
    pthread_mutex_lock(&c->lock);
    while (job->state != DONE)
        pthread_cond_wait(&c->done, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

void paro_compiler_release(paro_compiler *c, paro_compile_job *job)
{
    if (job == NULL)
        return;
    pthread_mutex_lock(&c->lock);
    if (job->state == WAITING) {
        paro_compile_job *before = NULL;
        for (paro_compile_job *at = c->first; at != job; at = at->next)
            before = at;
        if (before != NULL)
            before->next = job->next;
        else
            c->first = job->next;
        if (c->last == job)
            c->last = before;
        job->state = DONE;
    }
    while (job->state != DONE)
        pthread_cond_wait(&c->done, &c->lock);
    pthread_mutex_unlock(&c->lock);
    paro_buffer_free(&job->source);
    paro_buffer_free(&job->resources);
    if (job->has_binary)
        paro_binary_release(&job->binary);
    free(job);
}

paro_gpu_image paro_compile_job_image(const paro_compile_job *job)
{
    paro_gpu_image image = {job->source.data, job->source.n_bytes, false};
    if (job->has_binary)
        image = (paro_gpu_image){job->binary.data, job->binary.n_bytes, job->binary.is_ptx};
    return image;
}
