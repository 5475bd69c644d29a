/* SPDX-License-Identifier: MIT
 *
 * See cupti.h. Prototypes of our own: of a record only its kind and the two times are read, at the
 * offsets that every version of the kernel record since CUPTI 8 has (cupti_activity.h).
 *
 * Invariants: 1. `receiver`, the one variable of the process in all of the tuner, is the live
 * paro_cupti or NULL: CUPTI gives its callbacks no context. It is set by compare-and-swap before
 * recording begins, so that a second one is refused, and cleared after recording has ended and all
 * buffers were handed in: no callback sees one that is being freed. 2. `records`, `n`, `capacity`
 * and `is_incomplete` are touched under `lock` only, for CUPTI may hand buffers in on a thread of
 * its own; `taken` belongs to the caller's thread. 3. A buffer is CUPTI's from request to
 * completion, and is freed there whoever receives. 4. The library stays loaded: it cannot be
 * unloaded while the driver has its hooks.
 */
#include "tuner/cupti.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    KIND_KERNEL = 3,
    KIND_CONCURRENT_KERNEL = 10,
    START_OFFSET = 16,
    END_OFFSET = 24,
    FLUSH_FORCED = 1,
    BUFFER_BYTES = 1 << 20,
    WAITS = 20,
    WAIT_US = 200
};

typedef void cupti_request(uint8_t **buffer, size_t *n_bytes, size_t *most_records);
typedef void cupti_complete(void *context, uint32_t stream, uint8_t *buffer, size_t n_bytes,
                            size_t n_valid_bytes);

struct paro_cupti {
    int (*enable)(int kind);
    int (*disable)(int kind);
    int (*register_callbacks)(cupti_request *request, cupti_complete *complete);
    int (*flush_all)(uint32_t flag);
    int (*next_record)(uint8_t *buffer, size_t n_valid_bytes, void **record);
    pthread_mutex_t lock; /* of what follows: CUPTI may complete buffers on a thread of its own */
    paro_kernel_record *records;
    size_t n, capacity;
    bool is_incomplete; /* out of memory for a record */
    paro_kernel_record *taken;
    size_t taken_capacity;
};

/* The receiver of records: the callbacks are given no context (see cupti.h). */
static _Atomic(paro_cupti *) receiver;

static void request_buffer(uint8_t **buffer, size_t *n_bytes, size_t *most_records)
{
    *buffer = aligned_alloc(8, BUFFER_BYTES);
    *n_bytes = *buffer != NULL ? BUFFER_BYTES : 0;
    *most_records = 0;
}

static void add_record(paro_cupti *c, const unsigned char *record)
{
    uint32_t kind;
    memcpy(&kind, record, sizeof kind);
    if (kind != KIND_KERNEL && kind != KIND_CONCURRENT_KERNEL)
        return;
    if (c->n == c->capacity) {
        size_t capacity = c->capacity == 0 ? 256 : 2 * c->capacity;
        paro_kernel_record *grown = realloc(c->records, capacity * sizeof *grown);
        if (grown == NULL) {
            c->is_incomplete = true;
            return;
        }
        c->records = grown;
        c->capacity = capacity;
    }
    memcpy(&c->records[c->n].start_ns, record + START_OFFSET, 8);
    memcpy(&c->records[c->n].end_ns, record + END_OFFSET, 8);
    c->n += c->records[c->n].end_ns > c->records[c->n].start_ns; /* else it is incomplete */
}

static void complete_buffer(void *context, uint32_t stream, uint8_t *buffer, size_t n_bytes,
                            size_t n_valid_bytes)
{
    (void)context;
    (void)stream;
    (void)n_bytes;
    paro_cupti *c = atomic_load(&receiver);
    if (c != NULL && buffer != NULL) {
        void *record = NULL;
        pthread_mutex_lock(&c->lock);
        while (n_valid_bytes > 0 && c->next_record(buffer, n_valid_bytes, &record) == 0)
            add_record(c, record);
        pthread_mutex_unlock(&c->lock);
    }
    free(buffer);
}

static bool look_up(void *library, const char *name, void *member)
{
    void *symbol = dlsym(library, name);
    memcpy(member, &symbol, sizeof symbol);
    return symbol != NULL;
}

paro_status paro_cupti_new(paro_error *err, paro_cupti **out)
{
    static const char *const names[] = {"libcupti.so.13", "libcupti.so.12",
                                        "/usr/local/cuda/lib64/libcupti.so",
                                        "/usr/local/cuda/extras/CUPTI/lib64/libcupti.so"};
    void *library = NULL;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && library == NULL; i++)
        library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        return paro_fail(err, PARO_STATUS_UNSUPPORTED,
                         "no CUPTI: looked for libcupti.so.13, libcupti.so.12 and in "
                         "/usr/local/cuda/lib64");
    paro_cupti *c = calloc(1, sizeof *c);
    if (c == NULL)
        return paro_fail_memory(err, sizeof *c, "CUPTI");
    pthread_mutex_init(&c->lock, NULL);
    paro_status status = PARO_STATUS_OK;
    paro_cupti *nobody = NULL;
    if (!look_up(library, "cuptiActivityEnable", &c->enable) ||
        !look_up(library, "cuptiActivityDisable", &c->disable) ||
        !look_up(library, "cuptiActivityRegisterCallbacks", &c->register_callbacks) ||
        !look_up(library, "cuptiActivityFlushAll", &c->flush_all) ||
        !look_up(library, "cuptiActivityGetNextRecord", &c->next_record))
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED, "CUPTI lacks its activity functions");
    else if (!atomic_compare_exchange_strong(&receiver, &nobody, c))
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED, "CUPTI is in use in this process");
    if (status == PARO_STATUS_OK) {
        int result = c->register_callbacks(request_buffer, complete_buffer);
        if (result == 0)
            result = c->enable(KIND_CONCURRENT_KERNEL);
        if (result != 0) {
            status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                               "CUPTI cannot record kernels (CUPTI error %d)", result);
            atomic_store(&receiver, NULL);
        }
    }
    if (status != PARO_STATUS_OK) {
        pthread_mutex_destroy(&c->lock);
        free(c);
        return status;
    }
    *out = c;
    return PARO_STATUS_OK;
}

void paro_cupti_free(paro_cupti *c)
{
    if (c == NULL)
        return;
    c->disable(KIND_CONCURRENT_KERNEL);
    c->flush_all(FLUSH_FORCED);
    atomic_store(&receiver, NULL);
    pthread_mutex_destroy(&c->lock);
    free(c->records);
    free(c->taken);
    free(c);
}

static int compare_records(const void *a, const void *b)
{
    const paro_kernel_record *x = a, *y = b;
    return (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

static size_t count(paro_cupti *c)
{
    pthread_mutex_lock(&c->lock);
    size_t n = c->n;
    pthread_mutex_unlock(&c->lock);
    return n;
}

paro_status paro_cupti_take(paro_error *err, paro_cupti *c, size_t n_expected,
                            const paro_kernel_record **records, size_t *n)
{
    int result = 0;
    for (int i = 0; i < WAITS && result == 0; i++) {
        result = c->flush_all(0); /* buffers all of whose records are complete */
        if (count(c) >= n_expected)
            break;
        usleep(WAIT_US);
    }
    if (result == 0 && (n_expected == 0 || count(c) < n_expected))
        result = c->flush_all(FLUSH_FORCED);
    if (result != 0)
        return paro_fail(err, PARO_STATUS_IO, "CUPTI: flushing its records failed (CUPTI error %d)",
                         result);
    pthread_mutex_lock(&c->lock);
    paro_kernel_record *list = c->records;
    size_t capacity = c->capacity, n_list = c->n;
    bool is_incomplete = c->is_incomplete;
    c->records = c->taken;
    c->capacity = c->taken_capacity;
    c->n = 0;
    c->is_incomplete = false;
    c->taken = list;
    c->taken_capacity = capacity;
    pthread_mutex_unlock(&c->lock);
    if (is_incomplete)
        return paro_fail_memory(err, capacity * sizeof *list, "kernel records");
    if (n_list > 0)
        qsort(list, n_list, sizeof *list, compare_records);
    *records = list;
    *n = n_list;
    return PARO_STATUS_OK;
}
