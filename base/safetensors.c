/* SPDX-License-Identifier: MIT
 *
 * safetensors, read. The format is in safetensors.h; what breaks it is an error that names file and
 * tensor. Nothing of the data is touched here.
 *
 * Invariants of a set: 1. `tensors` is sorted by name once a file was read whole, names are unique,
 * `by_name` finds each; 2. every tensor's data lies inside its mapping (or in memory the set owns);
 * 3. a hidden tensor has data NULL and is never found.
 */
#include "base/safetensors.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

enum { HEADER_LENGTH_BYTES = 8, MAX_HEADER_BYTES = 100000000, MAX_INDEX_BYTES = 100000000 };

typedef struct metadata_entry {
    const char *key;
    const char *value;
} metadata_entry;

struct paro_tensor_set {
    const paro_tensor_set *under;
    paro_arena arena; /* names, paths, metadata */
    paro_mapping *mappings;
    size_t n_mappings;
    const paro_tensor **tensors;
    size_t n_tensors;
    size_t tensors_capacity;
    paro_map by_name; /* name -> position in `in_arrival` */
    const paro_tensor **in_arrival;
    size_t in_arrival_capacity;
    void **owned; /* data of tensors that were put */
    size_t n_owned;
    metadata_entry *metadata;
    size_t n_metadata;
    size_t metadata_capacity;
    paro_map metadata_by_key;
};

/* The array with room for one more item, maybe moved; NULL when out of memory. */
static void *grow(void *array, size_t n, size_t *capacity, size_t item_bytes)
{
    if (n < *capacity)
        return array;
    size_t bigger = *capacity == 0 ? 64 : *capacity * 2;
    void *moved = realloc(array, bigger * item_bytes);
    if (moved != NULL)
        *capacity = bigger;
    return moved;
}

const char *paro_shape_text(char out[PARO_SHAPE_TEXT_BYTES], const uint64_t *shape, uint32_t rank)
{
    size_t n = (size_t)snprintf(out, PARO_SHAPE_TEXT_BYTES, "[");
    for (uint32_t i = 0; i < rank && i < PARO_MAX_RANK; i++)
        n += (size_t)snprintf(out + n, PARO_SHAPE_TEXT_BYTES - n, "%s%" PRIu64, i > 0 ? ", " : "",
                              shape[i]);
    snprintf(out + n, PARO_SHAPE_TEXT_BYTES - n, "]");
    return out;
}

paro_status paro_tensor_expect(paro_error *err, const paro_tensor *tensor, paro_dtype dtype,
                               uint32_t rank, const uint64_t *shape)
{
    bool same = tensor->dtype == dtype && tensor->rank == rank;
    for (uint32_t i = 0; same && i < rank; i++)
        same = tensor->shape[i] == shape[i];
    if (same)
        return PARO_STATUS_OK;
    char expected[PARO_SHAPE_TEXT_BYTES], found[PARO_SHAPE_TEXT_BYTES];
    return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: expected %s %s, found %s %s", tensor->file,
                     tensor->name, paro_dtype_name(dtype), paro_shape_text(expected, shape, rank),
                     paro_dtype_name(tensor->dtype),
                     paro_shape_text(found, tensor->shape, tensor->rank));
}

/* Fills n_values and n_bytes from shape and dtype; false when they do not fit 63 bits. */
static bool compute_size(paro_tensor *tensor)
{
    uint64_t n = paro_dtype_bytes(tensor->dtype);
    const uint64_t limit = INT64_MAX;
    bool empty = false;
    for (uint32_t i = 0; i < tensor->rank; i++) {
        uint64_t d = tensor->shape[i];
        if (d == 0)
            empty = true;
        else if (n > limit / d)
            return false;
        else
            n *= d;
    }
    tensor->n_bytes = empty ? 0 : n;
    tensor->n_values = tensor->n_bytes / paro_dtype_bytes(tensor->dtype);
    return true;
}

/* One entry of the header, except that data is its offset in the file's data part. */
typedef struct header_entry {
    paro_tensor tensor;
    uint64_t begin;
} header_entry;

static paro_status parse_offsets(paro_error *err, const char *path, const char *name,
                                 const json_t *value, uint64_t *begin, uint64_t *end)
{
    const json_t *first = json_array_get(value, 0);
    const json_t *second = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(first) || !json_is_integer(second) ||
        json_integer_value(first) < 0 || json_integer_value(second) < json_integer_value(first))
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s: data_offsets: expected [begin, end] with 0 <= begin <= end", path,
                         name);
    *begin = (uint64_t)json_integer_value(first);
    *end = (uint64_t)json_integer_value(second);
    return PARO_STATUS_OK;
}

static paro_status parse_entry(paro_error *err, const char *path, const char *name,
                               const json_t *value, uint64_t n_data_bytes, header_entry *out)
{
    paro_tensor tensor = {.name = name, .file = path};
    if (!json_is_object(value))
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: expected an object, found %s", path,
                         name, paro_json_type_name(value));
    const json_t *dtype = json_object_get(value, "dtype");
    const json_t *shape = json_object_get(value, "shape");
    if (!json_is_string(dtype) || !paro_dtype_parse(json_string_value(dtype), &tensor.dtype))
        return paro_fail(
            err, PARO_STATUS_FORMAT,
            "%s: %s: dtype: expected one such as \"F16\", \"BF16\", \"I32\", found %s", path, name,
            json_is_string(dtype) ? json_string_value(dtype) : paro_json_type_name(dtype));
    if (!json_is_array(shape) || json_array_size(shape) > PARO_MAX_RANK)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s: shape: expected an array of at most %d sizes", path, name,
                         PARO_MAX_RANK);
    tensor.rank = (uint32_t)json_array_size(shape);
    for (uint32_t i = 0; i < tensor.rank; i++) {
        const json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: shape[%u]: expected an integer >= 0, found %s", path, name, i,
                             json_is_integer(d) ? "a negative one" : paro_json_type_name(d));
        tensor.shape[i] = (uint64_t)json_integer_value(d);
    }
    uint64_t begin = 0, end = 0;
    paro_status status =
        parse_offsets(err, path, name, json_object_get(value, "data_offsets"), &begin, &end);
    if (status != PARO_STATUS_OK)
        return status;
    char text[PARO_SHAPE_TEXT_BYTES];
    if (!compute_size(&tensor) || tensor.n_bytes != end - begin)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s: %s %s does not take the %" PRIu64 " bytes its data_offsets span",
                         path, name, paro_dtype_name(tensor.dtype),
                         paro_shape_text(text, tensor.shape, tensor.rank), end - begin);
    if (end > n_data_bytes)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: %s: data ends at byte %" PRIu64
                         " of the file's data, which has %" PRIu64
                         " bytes: the file is cut short, or its header is wrong",
                         path, name, end, n_data_bytes);
    *out = (header_entry){tensor, begin};
    return PARO_STATUS_OK;
}

static int compare_begin(const void *a, const void *b)
{
    const header_entry *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->tensor.n_bytes < y->tensor.n_bytes ? -1 : x->tensor.n_bytes > y->tensor.n_bytes;
}

/* The tensors cover the data without overlaps and without gaps. */
static paro_status check_cover(paro_error *err, const char *path, header_entry *entries, size_t n,
                               uint64_t n_data_bytes)
{
    qsort(entries, n, sizeof *entries, compare_begin);
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        if (entries[i].begin != at)
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: %s: begins at byte %" PRIu64 " of the data, expected %" PRIu64
                             " (it %s)",
                             path, entries[i].tensor.name, entries[i].begin, at,
                             entries[i].begin < at ? "overlaps another tensor" : "leaves a gap");
        at += entries[i].tensor.n_bytes;
    }
    if (at != n_data_bytes)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: the tensors end at byte %" PRIu64 " of the data, which has %" PRIu64
                         " bytes",
                         path, at, n_data_bytes);
    return PARO_STATUS_OK;
}

/* Appends a copy of the tensor; its name must be new. */
static paro_status add_tensor(paro_error *err, paro_tensor_set *set, const paro_tensor *tensor)
{
    uint32_t at;
    if (paro_map_get(&set->by_name, tensor->name, strlen(tensor->name), &at))
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s is also in %s", tensor->file,
                         tensor->name, set->in_arrival[at]->file);
    paro_tensor *copy = paro_arena_alloc(&set->arena, sizeof *copy);
    const paro_tensor **tensors =
        grow(set->tensors, set->n_tensors, &set->tensors_capacity, sizeof *tensors);
    if (tensors != NULL)
        set->tensors = tensors;
    const paro_tensor **in_arrival =
        grow(set->in_arrival, set->n_tensors, &set->in_arrival_capacity, sizeof *in_arrival);
    if (in_arrival != NULL)
        set->in_arrival = in_arrival;
    if (copy == NULL || tensors == NULL || in_arrival == NULL || set->n_tensors >= UINT32_MAX ||
        !paro_map_put(&set->by_name, tensor->name, strlen(tensor->name), (uint32_t)set->n_tensors,
                      NULL))
        return paro_fail_memory(err, sizeof *copy, tensor->name);
    *copy = *tensor;
    set->tensors[set->n_tensors] = copy;
    set->in_arrival[set->n_tensors] = copy;
    set->n_tensors++;
    return PARO_STATUS_OK;
}

static paro_status add_metadata(paro_error *err, paro_tensor_set *set, const char *path,
                                const json_t *metadata)
{
    if (!json_is_object(metadata))
        return paro_fail(err, PARO_STATUS_FORMAT, "%s: __metadata__: expected an object, found %s",
                         path, paro_json_type_name(metadata));
    /* jansson's iteration macro wants a pointer it may change through; nothing is changed. */
    for (void *i = json_object_iter((json_t *)(uintptr_t)metadata); i != NULL;
         i = json_object_iter_next((json_t *)(uintptr_t)metadata, i)) {
        const char *key = json_object_iter_key(i);
        const json_t *value = json_object_iter_value(i);
        if (!json_is_string(value))
            return paro_fail(err, PARO_STATUS_FORMAT,
                             "%s: __metadata__: %s: expected a string, found %s", path, key,
                             paro_json_type_name(value));
        if (paro_map_get(&set->metadata_by_key, key, strlen(key), NULL))
            continue; /* every shard repeats it; the first one counts */
        metadata_entry entry = {paro_arena_strdup(&set->arena, key),
                                paro_arena_strdup(&set->arena, json_string_value(value))};
        metadata_entry *entries =
            grow(set->metadata, set->n_metadata, &set->metadata_capacity, sizeof *entries);
        if (entries != NULL)
            set->metadata = entries;
        if (entry.key == NULL || entry.value == NULL || entries == NULL ||
            !paro_map_put(&set->metadata_by_key, entry.key, strlen(entry.key), 0, NULL))
            return paro_fail_memory(err, sizeof entry, "metadata");
        set->metadata[set->n_metadata++] = entry;
    }
    return PARO_STATUS_OK;
}

/* Header and tensors of one mapped file. */
static paro_status parse_file(paro_error *err, paro_tensor_set *set, const char *path,
                              const paro_mapping *mapping)
{
    paro_status status = PARO_STATUS_OK;
    json_t *root = NULL;
    header_entry *entries = NULL;
    size_t n_entries = 0;

    uint64_t n_header = 0;
    if (mapping->n_bytes < HEADER_LENGTH_BYTES)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: expected a safetensors file, found only %zu bytes", path,
                         mapping->n_bytes);
    for (int i = HEADER_LENGTH_BYTES; i-- > 0;)
        n_header = n_header << 8 | mapping->data[i];
    if (n_header > MAX_HEADER_BYTES || n_header > mapping->n_bytes - HEADER_LENGTH_BYTES)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "%s: its header claims %" PRIu64 " bytes, the file has %zu (and the most "
                         "is %d): not a safetensors file, or cut short",
                         path, n_header, mapping->n_bytes, MAX_HEADER_BYTES);
    const unsigned char *data = mapping->data + HEADER_LENGTH_BYTES + n_header;
    uint64_t n_data_bytes = mapping->n_bytes - HEADER_LENGTH_BYTES - n_header;
    status = paro_json_parse(err, path, (const char *)mapping->data + HEADER_LENGTH_BYTES,
                             (size_t)n_header, &root);
    if (status != PARO_STATUS_OK)
        return status;

    entries = calloc(json_object_size(root) + 1, sizeof *entries);
    if (entries == NULL) {
        status = paro_fail_memory(err, json_object_size(root) * sizeof *entries, path);
        goto done;
    }
    const char *key;
    json_t *value;
    json_object_foreach(root, key, value)
    {
        if (strcmp(key, "__metadata__") == 0) {
            status = add_metadata(err, set, path, value);
        } else if (*key == 0) {
            status = paro_fail(err, PARO_STATUS_FORMAT, "%s: a tensor without a name", path);
        } else {
            const char *name = paro_arena_strdup(&set->arena, key);
            status = name == NULL
                         ? paro_fail_memory(err, strlen(key), "a name")
                         : parse_entry(err, path, name, value, n_data_bytes, &entries[n_entries++]);
        }
        if (status != PARO_STATUS_OK)
            goto done;
    }
    status = check_cover(err, path, entries, n_entries, n_data_bytes);
    for (size_t i = 0; i < n_entries && status == PARO_STATUS_OK; i++) {
        entries[i].tensor.data = data + entries[i].begin;
        status = add_tensor(err, set, &entries[i].tensor);
    }
done:
    free(entries);
    json_decref(root);
    return status;
}

/* Maps a file and adds its tensors. */
static paro_status open_file(paro_error *err, paro_tensor_set *set, const char *path)
{
    const char *kept = paro_arena_strdup(&set->arena, path);
    paro_mapping *mappings = realloc(set->mappings, (set->n_mappings + 1) * sizeof *mappings);
    if (mappings != NULL)
        set->mappings = mappings;
    if (kept == NULL || mappings == NULL)
        return paro_fail_memory(err, sizeof *mappings, path);
    paro_status status = paro_mapping_open(err, kept, &set->mappings[set->n_mappings]);
    if (status != PARO_STATUS_OK)
        return status;
    set->n_mappings++;
    return parse_file(err, set, kept, &set->mappings[set->n_mappings - 1]);
}

static int compare_names(const void *a, const void *b)
{
    const paro_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int compare_keys(const void *a, const void *b)
{
    const metadata_entry *x = a, *y = b;
    return strcmp(x->key, y->key);
}

static void sort(paro_tensor_set *set)
{
    if (set->n_tensors > 0)
        qsort(set->tensors, set->n_tensors, sizeof *set->tensors, compare_names);
    if (set->n_metadata > 0)
        qsort(set->metadata, set->n_metadata, sizeof *set->metadata, compare_keys);
}

/* A file name from an index must stay inside the folder. */
static bool is_plain_file_name(const char *name)
{
    return *name != 0 && strchr(name, '/') == NULL && strcmp(name, ".") != 0 &&
           strcmp(name, "..") != 0;
}

/* Every tensor of weight_map is in the file it names, and no others. */
static paro_status check_index(paro_error *err, const paro_tensor_set *set, const char *index,
                               json_t *weight_map)
{
    const char *key;
    json_t *value;
    json_object_foreach(weight_map, key, value)
    {
        const paro_tensor *tensor = paro_tensor_set_find(set, key);
        const char *file = json_string_value(value);
        if (tensor == NULL || strcmp(paro_path_base(tensor->file), file) != 0)
            return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s: not in %s%s%s", index, key, file,
                             tensor == NULL ? "" : ", but in ", tensor == NULL ? "" : tensor->file);
    }
    for (size_t i = 0; i < set->n_tensors; i++)
        if (json_object_get(weight_map, set->tensors[i]->name) == NULL)
            return paro_fail(err, PARO_STATUS_FORMAT, "%s: %s is not in the index %s",
                             set->tensors[i]->file, set->tensors[i]->name, index);
    return PARO_STATUS_OK;
}

static paro_status open_index(paro_error *err, paro_tensor_set *set, const char *dir,
                              const char *index)
{
    json_t *root = NULL, *weight_map = NULL;
    paro_map files = {0};
    paro_status status = paro_json_load(err, index, MAX_INDEX_BYTES, &root);
    if (status != PARO_STATUS_OK)
        return status;
    status = paro_json_get_container(err, index, root, "weight_map", JSON_OBJECT, &weight_map);
    if (status == PARO_STATUS_OK && weight_map == NULL)
        status = paro_json_missing(err, index, "weight_map", "an object from tensor to file name");
    const char *key;
    json_t *value;
    json_object_foreach(weight_map, key, value)
    {
        const char *file = json_string_value(value);
        bool was_there = false;
        if (status != PARO_STATUS_OK)
            break;
        if (file == NULL || !is_plain_file_name(file)) {
            status = paro_fail(err, PARO_STATUS_FORMAT,
                               "%s: weight_map: %s: expected the name of a file in this folder",
                               index, key);
        } else if (!paro_map_put(&files, file, strlen(file), 0, &was_there)) {
            status = paro_fail_memory(err, strlen(file), "file names");
        } else if (!was_there) {
            const char *path = paro_path_join(&set->arena, dir, file);
            status = path == NULL ? paro_fail_memory(err, strlen(file), "a path")
                                  : open_file(err, set, path);
            if (status != PARO_STATUS_OK)
                status = paro_fail_in(err, status, "%s names this file", index);
        }
    }
    if (status == PARO_STATUS_OK)
        status = check_index(err, set, index, weight_map);
    paro_map_free(&files);
    json_decref(root);
    return status;
}

paro_status paro_tensor_set_open(paro_error *err, const char *path, paro_tensor_set **out)
{
    paro_tensor_set *set = NULL;
    paro_status status = paro_tensor_set_new(err, NULL, &set);
    if (status != PARO_STATUS_OK)
        return status;
    if (!paro_path_is_dir(path)) {
        status = open_file(err, set, path);
    } else {
        const char *index = paro_path_join(&set->arena, path, "model.safetensors.index.json");
        const char *single = paro_path_join(&set->arena, path, "model.safetensors");
        if (index == NULL || single == NULL)
            status = paro_fail_memory(err, strlen(path), "a path");
        else if (access(path, X_OK) != 0)
            status = paro_fail_errno(err, errno, "look into", path);
        else if (paro_path_exists(single)) /* transformers, too, looks for it first */
            status = open_file(err, set, single);
        else if (paro_path_exists(index))
            status = open_index(err, set, path, index);
        else
            status = paro_fail(err, PARO_STATUS_NOT_FOUND,
                               "%s: holds neither model.safetensors nor "
                               "model.safetensors.index.json",
                               path);
    }
    if (status != PARO_STATUS_OK) {
        paro_tensor_set_free(set);
        return status;
    }
    sort(set);
    *out = set;
    return PARO_STATUS_OK;
}

paro_status paro_tensor_set_new(paro_error *err, const paro_tensor_set *under,
                                paro_tensor_set **out)
{
    paro_tensor_set *set = calloc(1, sizeof *set);
    if (set == NULL)
        return paro_fail_memory(err, sizeof *set, "a set of tensors");
    set->under = under;
    *out = set;
    return PARO_STATUS_OK;
}

/* Adds a tensor and keeps the order of names. */
static paro_status insert(paro_error *err, paro_tensor_set *set, const paro_tensor *tensor)
{
    paro_status status = add_tensor(err, set, tensor);
    if (status != PARO_STATUS_OK)
        return status;
    size_t at = set->n_tensors - 1;
    const paro_tensor *added = set->tensors[at];
    for (; at > 0 && strcmp(set->tensors[at - 1]->name, added->name) > 0; at--)
        set->tensors[at] = set->tensors[at - 1];
    set->tensors[at] = added;
    return PARO_STATUS_OK;
}

paro_status paro_tensor_set_put(paro_error *err, paro_tensor_set *set, const paro_tensor *tensor,
                                void *data)
{
    void **owned = realloc(set->owned, (set->n_owned + 1) * sizeof *owned);
    paro_tensor copy = *tensor;
    copy.name = paro_arena_strdup(&set->arena, tensor->name);
    if (owned != NULL)
        set->owned = owned;
    if (owned == NULL || copy.name == NULL) {
        free(data);
        return paro_fail_memory(err, sizeof *owned, tensor->name);
    }
    set->owned[set->n_owned++] = data;
    copy.file = "(memory)";
    copy.data = data;
    if (!compute_size(&copy) || data == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s: no data, or too large", copy.name);
    return insert(err, set, &copy);
}

paro_status paro_tensor_set_hide(paro_error *err, paro_tensor_set *set, const char *name)
{
    paro_tensor hidden = {.name = paro_arena_strdup(&set->arena, name), .file = "(memory)"};
    if (hidden.name == NULL)
        return paro_fail_memory(err, strlen(name), "a name");
    return insert(err, set, &hidden);
}

void paro_tensor_set_free(paro_tensor_set *set)
{
    if (set == NULL)
        return;
    for (size_t i = 0; i < set->n_mappings; i++)
        paro_mapping_close(&set->mappings[i]);
    for (size_t i = 0; i < set->n_owned; i++)
        free(set->owned[i]);
    free(set->mappings);
    free(set->owned);
    free(set->tensors);
    free(set->in_arrival);
    free(set->metadata);
    paro_map_free(&set->by_name);
    paro_map_free(&set->metadata_by_key);
    paro_arena_release(&set->arena);
    free(set);
}

const paro_tensor *paro_tensor_set_find(const paro_tensor_set *set, const char *name)
{
    for (; set != NULL; set = set->under) {
        uint32_t at;
        if (paro_map_get(&set->by_name, name, strlen(name), &at))
            return set->in_arrival[at]->data == NULL ? NULL : set->in_arrival[at];
    }
    return NULL;
}

size_t paro_tensor_set_count(const paro_tensor_set *set)
{
    return set->n_tensors;
}

const paro_tensor *paro_tensor_set_get(const paro_tensor_set *set, size_t n)
{
    return set->tensors[n];
}

const char *paro_tensor_set_metadata(const paro_tensor_set *set, size_t n, const char **value)
{
    if (n >= set->n_metadata)
        return NULL;
    *value = set->metadata[n].value;
    return set->metadata[n].key;
}
