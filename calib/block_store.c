/* SPDX-License-Identifier: MIT
 *
 * Finished blocks, in a folder or in memory. Format and invariants in block_store.h.
 */
#include "calib/block_store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "base/safetensors_write.h"

enum { JOB_MAX_BYTES = 1 << 20 };
static const char SUMMARY_KEY[] = "paro.summary";

struct paro_block_store {
    paro_arena arena;
    const char *dir; /* NULL: in memory */
    int dir_fd;      /* locked; -1 in memory */
    uint32_t n_layers;
    uint32_t n_done;
    paro_tensor_set **sets; /* [n_layers] of finished blocks */
    char **summaries;       /* [n_layers] */
};

/* The tensors of a linear, in the order in which they are written. */
typedef struct stored {
    const char *suffix;
    paro_dtype dtype;
    uint32_t rank;
    uint64_t shape[2];
    void *data; /* of the linear; NULL: the tensor is not there */
} stored;

enum { N_STORED = 6, CODES = 0, ZEROS, SCALES, CHANNEL_SCALES, PAIRS, THETA };

static void list_stored(const paro_train_linear *l, stored out[N_STORED])
{
    const uint64_t n_groups = l->bits > 0 ? l->n_in / l->group_size : 0;
    const stored all[N_STORED] = {
        [CODES] = {"codes", PARO_DTYPE_U8, 2, {l->n_out, l->n_in}, l->codes.codes},
        [ZEROS] = {"zeros", PARO_DTYPE_U8, 2, {l->n_out, n_groups}, l->codes.zeros},
        [SCALES] = {"scales", PARO_DTYPE_F32, 2, {l->n_out, n_groups}, l->codes.scales},
        [CHANNEL_SCALES] =
            {"weight_channel_scales", PARO_DTYPE_F32, 1, {l->n_in, 0}, l->weight_channel_scales},
        [PAIRS] = {"pairs", PARO_DTYPE_I16, 2, {l->krot, l->n_in}, l->krot > 0 ? l->pairs : NULL},
        [THETA] =
            {"theta", PARO_DTYPE_F32, 2, {l->krot, l->n_in / 2}, l->krot > 0 ? l->theta : NULL},
    };
    memcpy(out, all, sizeof all);
}

static size_t stored_bytes(const stored *s)
{
    return (size_t)(s->shape[0] * (s->rank > 1 ? s->shape[1] : 1)) * paro_dtype_bytes(s->dtype);
}

/* ---- opening ---- */

/* The folder of a block, in the arena; NULL when out of memory. */
static char *block_dir(paro_arena *arena, const char *dir, uint32_t layer)
{
    return paro_arena_printf(arena, "%s/block-%05" PRIu32, dir, layer);
}

static paro_status write_job(paro_error *err, const char *path, const char *job, const char *about)
{
    json_t *root = json_pack("{s:s, s:s}", "job", job, "about", about);
    char *text = root != NULL ? json_dumps(root, JSON_INDENT(1)) : NULL;
    paro_status status = text != NULL ? paro_file_write(err, path, text, strlen(text))
                                      : paro_fail_memory(err, strlen(about), path);
    free(text);
    json_decref(root);
    return status;
}

/* Whether the folder is of this job; writes job.json into one that has none. */
static paro_status check_job(paro_error *err, paro_block_store *store, const char *job,
                             const char *about)
{
    const char *found = NULL, *other = NULL;
    json_t *root = NULL;
    const char *path = paro_path_join(&store->arena, store->dir, "job.json");
    if (path == NULL)
        return paro_fail_memory(err, strlen(store->dir), "a path");
    if (!paro_path_exists(path)) {
        char *first = block_dir(&store->arena, store->dir, 0);
        if (first == NULL)
            return paro_fail_memory(err, strlen(store->dir), "a path");
        if (paro_path_exists(first))
            return paro_fail(err, PARO_STATUS_EXISTS,
                             "%s: has finished blocks, but no job.json that says of what; remove "
                             "the folder, or name another",
                             store->dir);
        return write_job(err, path, job, about);
    }
    paro_status status = paro_json_load(err, path, JOB_MAX_BYTES, &root);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_string(err, path, root, "job", "", &found);
    if (status == PARO_STATUS_OK)
        status = paro_json_get_string(err, path, root, "about", "something else", &other);
    if (status == PARO_STATUS_OK && strcmp(found, job) != 0)
        status = paro_fail(err, PARO_STATUS_EXISTS,
                           "%s: holds the unfinished work of another job (%s); expected %s: run "
                           "that command again to finish it, remove the folder, or name another",
                           store->dir, other, about);
    json_decref(root);
    return status;
}

/* Takes in the finished blocks that are there. */
static paro_status find_blocks(paro_error *err, paro_block_store *store)
{
    for (uint32_t layer = 0; layer < store->n_layers; layer++) {
        const char *value = NULL, *key = NULL;
        char *dir = block_dir(&store->arena, store->dir, layer);
        if (dir == NULL)
            return paro_fail_memory(err, strlen(store->dir), "a path");
        if (!paro_path_is_dir(dir))
            return PARO_STATUS_OK;
        paro_status status = paro_tensor_set_open(err, dir, &store->sets[layer]);
        if (status != PARO_STATUS_OK)
            return status;
        for (size_t n = 0; (key = paro_tensor_set_metadata(store->sets[layer], n, &value)) != NULL;
             n++) {
            if (strcmp(key, SUMMARY_KEY) == 0)
                store->summaries[layer] = paro_arena_strdup(&store->arena, value);
        }
        store->n_done = layer + 1;
    }
    return PARO_STATUS_OK;
}

static paro_status open_folder(paro_error *err, paro_block_store *store, const char *job,
                               const char *about)
{
    /* Making a folder whose parents may be missing is what staging does; it is empty at first. */
    if (!paro_path_is_dir(store->dir)) {
        paro_staging staging = {.lock_fd = -1};
        paro_status status = paro_staging_begin(err, store->dir, false, &staging);
        if (status == PARO_STATUS_OK)
            status = paro_staging_commit(err, &staging);
        if (status != PARO_STATUS_OK) {
            paro_staging_abort(&staging);
            return status;
        }
    }
    store->dir_fd = open(store->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->dir_fd < 0)
        return paro_fail_errno(err, errno, "open", store->dir);
    if (flock(store->dir_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK)
            return paro_fail_errno(err, errno, "lock", store->dir);
        return paro_fail(err, PARO_STATUS_EXISTS,
                         "%s: another process is at work there; wait for it, or name another "
                         "folder",
                         store->dir);
    }
    paro_status status = check_job(err, store, job, about);
    return status == PARO_STATUS_OK ? find_blocks(err, store) : status;
}

paro_status paro_block_store_open(paro_error *err, const char *dir, uint32_t n_layers,
                                  const char job[PARO_SHA256_HEX_BYTES], const char *about,
                                  paro_block_store **out)
{
    paro_status status = PARO_STATUS_OK;
    paro_block_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return paro_fail_memory(err, sizeof *store, "a store of blocks");
    store->dir_fd = -1;
    store->n_layers = n_layers;
    store->sets = paro_arena_array(&store->arena, n_layers, sizeof *store->sets);
    store->summaries = paro_arena_array(&store->arena, n_layers, sizeof *store->summaries);
    if (dir != NULL)
        store->dir = paro_arena_strdup(&store->arena, dir);
    if (store->sets == NULL || store->summaries == NULL || (dir != NULL && store->dir == NULL)) {
        status = paro_fail_memory(err, n_layers * sizeof *store->sets, "a store of blocks");
        goto done;
    }
    if (dir != NULL)
        status = open_folder(err, store, job, about);

done:
    if (status != PARO_STATUS_OK) {
        paro_block_store_free(store);
        return status;
    }
    *out = store;
    return PARO_STATUS_OK;
}

static void close_sets(paro_block_store *store)
{
    for (uint32_t layer = 0; store->sets != NULL && layer < store->n_layers; layer++) {
        paro_tensor_set_free(store->sets[layer]);
        store->sets[layer] = NULL;
    }
    store->n_done = 0;
}

void paro_block_store_free(paro_block_store *store)
{
    if (store == NULL)
        return;
    close_sets(store);
    if (store->dir_fd >= 0)
        close(store->dir_fd);
    paro_arena_release(&store->arena);
    free(store);
}

uint32_t paro_block_store_count(const paro_block_store *store)
{
    return store->n_done;
}

const char *paro_block_store_summary(const paro_block_store *store, uint32_t layer)
{
    return store->summaries[layer] != NULL ? store->summaries[layer] : "";
}

/* ---- putting ---- */

/* Calls `each` for every tensor of every quantised linear. */
typedef paro_status stored_fn(paro_error *err, void *context, const char *name, const stored *s);

static paro_status for_each(paro_error *err, const paro_train_linear *linears, size_t n_linears,
                            stored_fn *each, void *context)
{
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < n_linears && status == PARO_STATUS_OK; i++) {
        paro_arena scratch = {0};
        stored all[N_STORED];
        list_stored(&linears[i], all);
        for (size_t k = 0; linears[i].bits > 0 && k < N_STORED && status == PARO_STATUS_OK; k++) {
            const char *name = paro_arena_printf(&scratch, "%s.%s", linears[i].name, all[k].suffix);
            if (name == NULL)
                status = paro_fail_memory(err, strlen(linears[i].name), "a tensor name");
            else if (all[k].data != NULL)
                status = each(err, context, name, &all[k]);
        }
        paro_arena_release(&scratch);
    }
    return status;
}

static paro_status declare_in_file(paro_error *err, void *writer, const char *name, const stored *s)
{
    return paro_shard_writer_declare(err, writer, name, s->dtype, s->rank, s->shape);
}

static paro_status write_to_file(paro_error *err, void *writer, const char *name, const stored *s)
{
    return paro_shard_writer_write(err, writer, name, s->data, stored_bytes(s));
}

static paro_status put_file(paro_error *err, const char *dir, const paro_train_linear *linears,
                            size_t n_linears, const char *summary)
{
    paro_staging staging = {.lock_fd = -1};
    paro_shard_writer *writer = NULL;
    paro_status status = paro_staging_begin(err, dir, true, &staging);
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_new(err, staging.temporary, UINT64_MAX, &writer);
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_metadata(err, writer, SUMMARY_KEY, summary);
    if (status == PARO_STATUS_OK)
        status = for_each(err, linears, n_linears, declare_in_file, writer);
    if (status == PARO_STATUS_OK)
        status = for_each(err, linears, n_linears, write_to_file, writer);
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_finish(err, writer, NULL, NULL);
    paro_shard_writer_free(writer);
    if (status == PARO_STATUS_OK)
        status = paro_staging_commit(err, &staging);
    if (status != PARO_STATUS_OK)
        paro_staging_abort(&staging);
    return status;
}

static paro_status put_in_set(paro_error *err, void *set, const char *name, const stored *s)
{
    const size_t n_bytes = stored_bytes(s);
    paro_tensor tensor = {.name = name, .dtype = s->dtype, .rank = s->rank};
    memcpy(tensor.shape, s->shape, sizeof s->shape);
    void *data = malloc(n_bytes);
    if (data == NULL)
        return paro_fail_memory(err, n_bytes, name);
    memcpy(data, s->data, n_bytes);
    return paro_tensor_set_put(err, set, &tensor, data);
}

paro_status paro_block_store_put(paro_error *err, paro_block_store *store,
                                 const paro_train_linear *linears, size_t n_linears,
                                 const char *summary)
{
    const uint32_t layer = store->n_done;
    paro_tensor_set *set = NULL;
    paro_status status = PARO_STATUS_OK;
    char *kept = paro_arena_strdup(&store->arena, summary);
    if (kept == NULL)
        return paro_fail_memory(err, strlen(summary), "a summary");
    if (store->dir != NULL) {
        char *dir = block_dir(&store->arena, store->dir, layer);
        if (dir == NULL)
            return paro_fail_memory(err, strlen(store->dir), "a path");
        status = put_file(err, dir, linears, n_linears, summary);
        if (status == PARO_STATUS_OK)
            status = paro_tensor_set_open(err, dir, &set);
    } else {
        status = paro_tensor_set_new(err, NULL, &set);
        if (status == PARO_STATUS_OK)
            status = for_each(err, linears, n_linears, put_in_set, set);
    }
    if (status != PARO_STATUS_OK) {
        paro_tensor_set_free(set);
        return status;
    }
    store->sets[layer] = set;
    store->summaries[layer] = kept;
    store->n_done++;
    return PARO_STATUS_OK;
}

/* ---- getting ---- */

/* Files may be anyone's: what would lead out of an array, or make NaN, is refused. */
static const char *what_is_wrong(const paro_train_linear *l)
{
    const size_t n_values = (size_t)l->n_out * l->n_in, n_groups = n_values / l->group_size;
    const uint8_t top = (uint8_t)((1U << l->bits) - 1);
    for (size_t i = 0; i < n_values; i++)
        if (l->codes.codes[i] > top)
            return "a code that its bits cannot hold";
    for (size_t i = 0; i < n_groups; i++)
        if (l->codes.zeros[i] > top || !isfinite(l->codes.scales[i]) || l->codes.scales[i] <= 0)
            return "a zero point that its bits cannot hold, or a scale that is not above 0";
    for (size_t i = 0; i < l->n_in; i++)
        if (!isfinite(l->weight_channel_scales[i]) || l->weight_channel_scales[i] <= 0)
            return "a channel scale that is not above 0";
    for (size_t i = 0; i < (size_t)l->krot * l->n_in; i++)
        if (l->pairs[i] < 0 || (uint32_t)l->pairs[i] >= l->group_size)
            return "a pair outside its group";
    for (size_t i = 0; i < (size_t)l->krot * (l->n_in / 2); i++)
        if (!isfinite(l->theta[i]))
            return "an angle that is not finite";
    return NULL;
}

static const paro_tensor *find_stored(const paro_tensor_set *set, paro_arena *scratch,
                                      const char *linear, const char *suffix)
{
    const char *name = paro_arena_printf(scratch, "%s.%s", linear, suffix);
    return name != NULL ? paro_tensor_set_find(set, name) : NULL;
}

static paro_status copy_stored(paro_error *err, const paro_tensor_set *set, paro_arena *scratch,
                               paro_train_linear *l)
{
    stored all[N_STORED];
    list_stored(l, all);
    for (size_t k = 0; k < N_STORED; k++) {
        if (all[k].data == NULL)
            continue;
        const paro_tensor *tensor = find_stored(set, scratch, l->name, all[k].suffix);
        if (tensor == NULL)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "a finished block: tensor %s.%s is missing; remove its folder and all "
                             "after it",
                             l->name, all[k].suffix);
        paro_status status =
            paro_tensor_expect(err, tensor, all[k].dtype, all[k].rank, all[k].shape);
        if (status != PARO_STATUS_OK)
            return status;
        memcpy(all[k].data, tensor->data, stored_bytes(&all[k]));
    }
    return PARO_STATUS_OK;
}

paro_status paro_block_store_get(paro_error *err, const paro_block_store *store, uint32_t layer,
                                 paro_train_linear *out)
{
    paro_train_linear l = *out;
    paro_arena scratch = {0};
    const paro_tensor *theta = find_stored(store->sets[layer], &scratch, l.name, "theta");
    l.krot = theta != NULL && theta->rank == 2 && theta->shape[0] <= UINT32_MAX
                 ? (uint32_t)theta->shape[0]
                 : 0;
    paro_status status = paro_train_linear_alloc(err, &l);
    if (status == PARO_STATUS_OK) {
        free(l.w);
        l.w = NULL;
        l.codes = (paro_quantised){
            .n_out = l.n_out, .n_in = l.n_in, .bits = l.bits, .group_size = l.group_size};
        status = paro_quantised_alloc(err, &l.codes);
    }
    if (status == PARO_STATUS_OK)
        status = copy_stored(err, store->sets[layer], &scratch, &l);
    const char *wrong = status == PARO_STATUS_OK ? what_is_wrong(&l) : NULL;
    if (wrong != NULL)
        status = paro_fail(err, PARO_STATUS_FORMAT,
                           "a finished block: %s: found %s; remove its folder and all after it",
                           l.name, wrong);
    paro_arena_release(&scratch);
    if (status != PARO_STATUS_OK) {
        paro_train_linear_release(&l);
        return status;
    }
    l.is_rounded = true;
    *out = l;
    return PARO_STATUS_OK;
}

paro_status paro_block_store_remove(paro_error *err, paro_block_store *store)
{
    close_sets(store);
    return store->dir != NULL ? paro_remove_tree(err, store->dir) : PARO_STATUS_OK;
}
