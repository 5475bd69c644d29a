/* SPDX-License-Identifier: MIT
 *
 * Bundles: caches written to a file of their own, and taken over from one.
 *
 * Of two winners for one key the better stays: timed beats not timed; then more samples; then the
 * faster; then the greater row hash. The order is total, so that bundles may be merged in any
 * order. A kernel that is there (and sound) stays: kernels of one key are equal. Timings are
 * united.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "cache/cursor.h"
#include "cache/layer.h"
#include "cache/winners.h"

enum { ROWS_PER_REPORT = 64 };

/* ---- export ------------------------------------------------------------------------------------
 */

typedef struct exporter {
    paro_cache *cache;
    const paro_cache_filter *filter;
    const paro_observer *observer;
    paro_cache_layer out; /* in memory */
    uint64_t n_done;
    paro_error *err;
    paro_status status;
} exporter;

static bool wants_problem(const paro_cache_filter *filter, const char *problem)
{
    if (filter->problems == NULL)
        return true;
    for (size_t i = 0; i < filter->n_problems; i++)
        if (strcmp(filter->problems[i], problem) == 0)
            return true;
    return false;
}

/* "sm_90" stands for "sm_90a", too. */
static bool wants_target(const paro_cache_filter *filter, const char *target)
{
    if (filter->arch == NULL || strcmp(filter->arch, target) == 0)
        return true;
    const paro_arch *arch = paro_arch_find(filter->arch);
    return arch != NULL && arch == paro_arch_find(target);
}

static bool progress(exporter *e)
{
    if (e->status == PARO_STATUS_OK && e->n_done++ % ROWS_PER_REPORT == 0)
        e->status = paro_report(e->err, e->observer, "export", 0, 0);
    return e->status == PARO_STATUS_OK;
}

static bool export_kernel(void *context, const paro_cache_row *row)
{
    exporter *e = context;
    if (wants_target(e->filter, row->kernel.arch))
        e->status = paro_cache_layer_put(e->err, &e->out, PARO_CACHE_KERNELS, row, NULL);
    return progress(e);
}

/* Then the winners' need not be looked for. */
static bool exports_all_kernels(const exporter *e)
{
    return e->filter->problems == NULL;
}

/* A winner, and the kernel it names; of an arch only where the kernel is there and for it. */
static bool export_winner(void *context, const paro_cache_row *row)
{
    exporter *e = context;
    const paro_cache_winner *winner = &row->winner;
    if (!wants_problem(e->filter, winner->problem))
        return progress(e);
    paro_arena arena = {0};
    paro_cache_kernel kernel;
    bool has_kernel = false;
    if (winner->kernel[0] != 0) {
        paro_error why = {.status = PARO_STATUS_OK};
        e->status = paro_cache_get_kernel(&why, e->cache, winner->kernel, &arena, &kernel);
        has_kernel = e->status == PARO_STATUS_OK;
        if (e->status == PARO_STATUS_NOT_FOUND)
            e->status = PARO_STATUS_OK;
        if (e->status != PARO_STATUS_OK)
            (void)paro_fail(e->err, e->status, "%s", why.message);
    }
    bool wanted = e->filter->arch == NULL || (has_kernel && wants_target(e->filter, kernel.arch));
    if (e->status == PARO_STATUS_OK && wanted)
        e->status = paro_cache_layer_put(e->err, &e->out, PARO_CACHE_WINNERS, row, NULL);
    if (e->status == PARO_STATUS_OK && wanted && has_kernel && !exports_all_kernels(e))
        e->status = paro_cache_layer_put(e->err, &e->out, PARO_CACHE_KERNELS, &kernel, NULL);
    paro_arena_release(&arena);
    return progress(e);
}

static bool export_timing(void *context, const paro_cache_row *row)
{
    exporter *e = context;
    if (wants_problem(e->filter, row->timing.problem))
        e->status = paro_cache_layer_put(e->err, &e->out, PARO_CACHE_TIMINGS, row, NULL);
    return progress(e);
}

static paro_status export_rows(paro_error *err, exporter *e)
{
    const paro_cache_select all = {0};
    paro_status status = paro_cache_layer_run(err, &e->out, "BEGIN");
    if (status == PARO_STATUS_OK)
        status = paro_cache_each(err, e->cache, PARO_CACHE_WINNERS, &all, export_winner, e);
    if (status == PARO_STATUS_OK && e->status == PARO_STATUS_OK && exports_all_kernels(e))
        status = paro_cache_each(err, e->cache, PARO_CACHE_KERNELS, &all, export_kernel, e);
    if (status == PARO_STATUS_OK && e->status == PARO_STATUS_OK && e->filter->with_timings)
        status = paro_cache_each(err, e->cache, PARO_CACHE_TIMINGS, &all, export_timing, e);
    if (status == PARO_STATUS_OK)
        status = e->status;
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_run(err, &e->out, "COMMIT");
    return status;
}

static paro_status check_absent(paro_error *err, const char *path, bool overwrite)
{
    if (overwrite || !paro_path_exists(path))
        return PARO_STATUS_OK;
    return paro_fail(err, PARO_STATUS_EXISTS,
                     "%s: there is a file already: choose another name, or ask to overwrite it",
                     path);
}

/* An arch or a target that there is: a misspelt one would give an empty bundle. */
static paro_status check_arch(paro_error *err, const char *name)
{
    bool is_known = name == NULL || paro_arch_find(name) != NULL;
    for (size_t i = 0; !is_known && paro_arch_get(i) != NULL; i++)
        is_known = strcmp(name, paro_arch_get(i)->virtual_name) == 0;
    return is_known ? PARO_STATUS_OK
                    : paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                                "arch: expected one such as sm_90, sm_90a or compute_90, found "
                                "'%.100s'",
                                name);
}

paro_status paro_cache_export(paro_error *err, paro_cache *cache, const char *path,
                              const paro_cache_filter *filter, bool overwrite,
                              const paro_observer *observer)
{
    static const paro_cache_filter everything = {.with_timings = true};
    exporter e = {.cache = cache,
                  .filter = filter != NULL ? filter : &everything,
                  .observer = observer,
                  .err = err};
    unsigned char *data = NULL;
    bool is_reading = false;
    paro_status status = check_arch(err, e.filter->arch);
    if (status == PARO_STATUS_OK)
        status = check_absent(err, path, overwrite);
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_open(err, path, PARO_CACHE_MODE_MEMORY, observer, &e.out);
    if (status == PARO_STATUS_OK) {
        status = paro_cache_read_begin(err, cache);
        is_reading = status == PARO_STATUS_OK;
    }
    if (status == PARO_STATUS_OK)
        status = export_rows(err, &e);
    if (is_reading)
        paro_cache_read_end(cache);
    if (status != PARO_STATUS_OK)
        goto done;
    sqlite3_int64 n_bytes = 0;
    data = sqlite3_serialize(e.out.db, "main", &n_bytes, 0);
    if (data == NULL) {
        status = paro_fail_memory(err, (size_t)n_bytes, "a bundle");
        goto done;
    }
    status = check_absent(err, path, overwrite);
    if (status == PARO_STATUS_OK)
        status = paro_file_write(err, path, data, (size_t)n_bytes);
done:
    sqlite3_free(data);
    paro_cache_layer_close(&e.out);
    return status;
}

/* ---- import ------------------------------------------------------------------------------------
 */

static bool beats(const paro_cache_winner *a, const char *a_hash, const paro_cache_winner *b,
                  const char *b_hash)
{
    if (paro_cache_is_timed(a) != paro_cache_is_timed(b))
        return paro_cache_is_timed(a);
    if (a->n_samples != b->n_samples)
        return a->n_samples > b->n_samples;
    if (a->median_us != b->median_us)
        return a->median_us < b->median_us;
    return strcmp(a_hash, b_hash) > 0;
}

typedef struct importer {
    paro_cache_layer *to;
    sqlite3_stmt *winner, *kernel; /* the row of the same key */
    paro_merge_result *result;
    uint64_t n_done;
} importer;

/* The user's sound row of the key; *there. */
static paro_status find_own(paro_error *err, importer *im, sqlite3_stmt *statement,
                            paro_cache_table_id table, const char *const *key, int n_key,
                            paro_arena *arena, paro_cache_row *row,
                            char hash[PARO_SHA256_HEX_BYTES], bool *there)
{
    bool has_row = false;
    paro_status status = PARO_STATUS_OK;
    *there = false;
    for (int i = 0; i < n_key; i++)
        (void)sqlite3_bind_text(statement, i + 1, key[i], -1, SQLITE_STATIC);
    status = paro_cache_layer_step(err, im->to, statement, &has_row);
    if (status == PARO_STATUS_OK && has_row)
        status = paro_cache_layer_read(err, im->to, statement, table, arena, row, hash, there);
    sqlite3_reset(statement);
    sqlite3_clear_bindings(statement);
    return status;
}

static paro_status import_winner(paro_error *err, importer *im, const paro_cache_cursor *from,
                                 paro_arena *arena)
{
    const paro_cache_winner *winner = &from->row.winner;
    const char *const key[] = {winner->problem, winner->device_class, winner->template_hash,
                               winner->layout};
    paro_cache_row own;
    char hash[PARO_SHA256_HEX_BYTES];
    bool there = false;
    /* Under today's schema: what is in the file may be of an older one. */
    char own_hash[PARO_SHA256_HEX_BYTES];
    if (!paro_cache_row_hash(&paro_cache_tables[PARO_CACHE_WINNERS], PARO_CACHE_SCHEMA, winner,
                             &im->to->scratch, hash))
        return paro_fail_memory(err, 0, "a row of a cache");
    paro_status status =
        find_own(err, im, im->winner, PARO_CACHE_WINNERS, key, 4, arena, &own, own_hash, &there);
    if (status != PARO_STATUS_OK)
        return status;
    if (there && !beats(winner, hash, &own.winner, own_hash)) {
        im->result->n_winners_kept++;
        return PARO_STATUS_OK;
    }
    *(there ? &im->result->n_winners_replaced : &im->result->n_winners_added) += 1;
    return paro_cache_layer_put(err, im->to, PARO_CACHE_WINNERS, winner, NULL);
}

static paro_status import_kernel(paro_error *err, importer *im, const paro_cache_cursor *from,
                                 paro_arena *arena)
{
    const char *const key[] = {from->row.kernel.key};
    paro_cache_row own;
    bool there = false;
    paro_status status =
        find_own(err, im, im->kernel, PARO_CACHE_KERNELS, key, 1, arena, &own, NULL, &there);
    if (status != PARO_STATUS_OK || there)
        return status;
    im->result->n_kernels_added++;
    return paro_cache_layer_put(err, im->to, PARO_CACHE_KERNELS, &from->row.kernel, NULL);
}

static paro_status import_timing(paro_error *err, importer *im, const paro_cache_cursor *from,
                                 paro_arena *arena)
{
    bool was_added = false;
    (void)arena;
    paro_status status =
        paro_cache_layer_put(err, im->to, PARO_CACHE_TIMINGS, &from->row.timing, &was_added);
    im->result->n_timings_added += status == PARO_STATUS_OK && was_added;
    return status;
}

static paro_status import_table(paro_error *err, importer *im, paro_cache_layer *from,
                                paro_cache_table_id table, const paro_observer *observer)
{
    typedef paro_status import_fn(paro_error *, importer *, const paro_cache_cursor *,
                                  paro_arena *);
    static import_fn *const imports[PARO_CACHE_TABLE_COUNT] = {import_winner, import_kernel,
                                                               import_timing};
    const paro_cache_select all = {.by_rowid = true};
    paro_arena arena = {0};
    paro_cache_cursor cursor;
    paro_status status = paro_cache_cursor_open(err, from, table, &all, &cursor);
    if (status != PARO_STATUS_OK)
        return status;
    for (;;) {
        status = paro_cache_cursor_next(err, &cursor);
        if (status != PARO_STATUS_OK || !cursor.has_row)
            break;
        status = imports[table](err, im, &cursor, &arena);
        paro_arena_release(&arena);
        if (status == PARO_STATUS_OK && im->n_done++ % ROWS_PER_REPORT == 0)
            status = paro_report(err, observer, "import", 0, 0);
        if (status != PARO_STATUS_OK)
            break;
    }
    im->result->n_damaged += cursor.n_damaged;
    paro_cache_cursor_close(&cursor);
    return status;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return b != NULL && stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev &&
           x.st_ino == y.st_ino;
}

paro_status paro_cache_import(paro_error *err, paro_cache *cache, const char *path,
                              const paro_observer *observer, paro_merge_result *out)
{
    paro_merge_result result = {0};
    importer im = {.to = &cache->layers[PARO_CACHE_USER], .result = &result};
    paro_cache_layer from = {0};
    if (!paro_path_exists(path))
        return paro_fail(err, PARO_STATUS_NOT_FOUND, "%s: no such bundle", path);
    if (is_same_file(path, im.to->path))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "%s: expected another file than the cache itself", path);
    paro_status status = paro_cache_layer_open(err, path, PARO_CACHE_MODE_READ, observer, &from);
    if (status != PARO_STATUS_OK)
        return status;
    bool begun = false;
    if (from.version > PARO_CACHE_SCHEMA) {
        status = paro_fail(err, PARO_STATUS_UNSUPPORTED,
                           "%s: expected a bundle of schema %d or older, found %u: a later paro "
                           "wrote it",
                           path, PARO_CACHE_SCHEMA, from.version);
        goto done;
    }
    status = paro_cache_begin(err, cache);
    begun = status == PARO_STATUS_OK;
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_statement(err, im.to, PARO_CACHE_WINNER_OF_KEY, &im.winner);
    if (status == PARO_STATUS_OK)
        status = paro_cache_layer_statement(err, im.to, PARO_CACHE_KERNEL_OF_KEY, &im.kernel);
    if (status == PARO_STATUS_OK && from.db != NULL)
        status = paro_cache_layer_run(err, &from, "BEGIN");
    /* Kernels first: nowhere is a winner without what it names. */
    static const paro_cache_table_id order[] = {PARO_CACHE_KERNELS, PARO_CACHE_WINNERS,
                                                PARO_CACHE_TIMINGS};
    for (int i = 0; i < PARO_CACHE_TABLE_COUNT && status == PARO_STATUS_OK; i++)
        status = import_table(err, &im, &from, order[i], observer);
    if (status == PARO_STATUS_OK)
        status = paro_cache_commit(err, cache);
    if (status == PARO_STATUS_OK)
        *out = result;
done:
    if (begun)
        paro_cache_rollback(cache); /* does nothing after a commit */
    paro_cache_layer_close(&from);
    return status;
}
