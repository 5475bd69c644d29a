/* SPDX-License-Identifier: MIT
 *
 * safetensors, written one tensor at a time. Invariants in safetensors_write.h.
 *
 * Tensors are assigned to shards in the order declared, a new shard beginning where the next tensor
 * would make one larger than max_shard_bytes; inside a shard they stand in that order. The header
 * is padded with spaces to a multiple of 8 bytes, as the reference writer does, so that data is
 * aligned.
 */
#include "base/safetensors_write.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/safetensors.h"
#include "base/utf8.h"

static const uint64_t default_shard_bytes = 5000000000;

typedef struct declared {
    const char *name;
    paro_dtype dtype;
    uint32_t rank;
    uint64_t shape[PARO_MAX_RANK];
    uint64_t n_bytes;
    uint32_t shard;
} declared;

struct paro_shard_writer {
    paro_arena arena;
    const char *dir;
    uint64_t max_shard_bytes;
    declared *tensors;
    size_t n_tensors;
    size_t capacity;
    paro_map by_name;
    json_t *metadata;
    uint64_t n_bytes;
    uint32_t n_shards; /* 0 until the first write */
    size_t next;       /* the tensor to be written next */
    int fd;            /* of the current shard */
    const char *path;  /* of the current shard */
    bool failed;       /* a write or a sync failed: the files are not to be trusted */
};

paro_status paro_shard_writer_new(paro_error *err, const char *dir, uint64_t max_shard_bytes,
                                  paro_shard_writer **out)
{
    paro_shard_writer *writer = calloc(1, sizeof *writer);
    if (writer == NULL)
        return paro_fail_memory(err, sizeof *writer, "a writer");
    writer->fd = -1;
    writer->max_shard_bytes = max_shard_bytes == 0 ? default_shard_bytes : max_shard_bytes;
    writer->dir = paro_arena_strdup(&writer->arena, dir);
    writer->metadata = json_pack("{s:s}", "format", "pt");
    if (writer->dir == NULL || writer->metadata == NULL) {
        paro_shard_writer_free(writer);
        return paro_fail_memory(err, strlen(dir), "a writer");
    }
    *out = writer;
    return PARO_STATUS_OK;
}

void paro_shard_writer_free(paro_shard_writer *writer)
{
    if (writer == NULL)
        return;
    if (writer->fd >= 0)
        close(writer->fd);
    json_decref(writer->metadata);
    paro_map_free(&writer->by_name);
    free(writer->tensors);
    paro_arena_release(&writer->arena);
    free(writer);
}

/* What goes into JSON must be UTF-8. */
static paro_status check_utf8(paro_error *err, const char *what, const char *text)
{
    size_t n_bytes = strlen(text);
    if (paro_utf8_valid_prefix(text, n_bytes) != n_bytes)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s %s: expected UTF-8", what, text);
    return PARO_STATUS_OK;
}

paro_status paro_shard_writer_metadata(paro_error *err, paro_shard_writer *writer, const char *key,
                                       const char *value)
{
    if (writer->n_shards > 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "metadata %s: comes after the first tensor's data", key);
    paro_status status = check_utf8(err, "metadata", key);
    if (status == PARO_STATUS_OK)
        status = check_utf8(err, "metadata", value);
    if (status != PARO_STATUS_OK)
        return status;
    if (json_object_set_new(writer->metadata, key, json_string(value)) != 0)
        return paro_fail_memory(err, strlen(value), "metadata");
    return PARO_STATUS_OK;
}

paro_status paro_shard_writer_declare(paro_error *err, paro_shard_writer *writer, const char *name,
                                      paro_dtype dtype, uint32_t rank, const uint64_t *shape)
{
    if (writer->n_shards > 0 || paro_map_get(&writer->by_name, name, strlen(name), NULL))
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "tensor %s: declared twice, or after the first data", name);
    if (*name == 0 || strcmp(name, "__metadata__") == 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "\"%s\": not a name for a tensor",
                         name);
    if (rank > PARO_MAX_RANK || paro_dtype_bytes(dtype) == 0)
        return paro_fail(
            err, PARO_STATUS_INVALID_ARGUMENT,
            "tensor %s: expected a dtype and at most %d dimensions, found dtype %d and "
            "%u dimensions",
            name, PARO_MAX_RANK, (int)dtype, rank);
    paro_status status = check_utf8(err, "tensor", name);
    if (status != PARO_STATUS_OK)
        return status;
    if (writer->n_tensors == writer->capacity) {
        size_t capacity = writer->capacity == 0 ? 64 : writer->capacity * 2;
        declared *tensors = realloc(writer->tensors, capacity * sizeof *tensors);
        if (tensors == NULL)
            return paro_fail_memory(err, capacity * sizeof *tensors, "tensor names");
        writer->tensors = tensors;
        writer->capacity = capacity;
    }
    declared tensor = {.dtype = dtype, .rank = rank, .n_bytes = paro_dtype_bytes(dtype)};
    for (uint32_t i = 0; i < rank; i++) {
        if (shape[i] != 0 && tensor.n_bytes > INT64_MAX / shape[i])
            return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "tensor %s: too large", name);
        tensor.shape[i] = shape[i];
        tensor.n_bytes *= shape[i];
    }
    if (tensor.n_bytes > INT64_MAX - writer->n_bytes)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "tensor %s: too large", name);
    tensor.name = paro_arena_strdup(&writer->arena, name);
    if (tensor.name == NULL || !paro_map_put(&writer->by_name, tensor.name, strlen(name), 0, NULL))
        return paro_fail_memory(err, strlen(name), "tensor names");
    writer->n_bytes += tensor.n_bytes;
    writer->tensors[writer->n_tensors++] = tensor;
    return PARO_STATUS_OK;
}

static void assign_shards(paro_shard_writer *writer)
{
    uint64_t filled = 0;
    writer->n_shards = 1;
    for (size_t i = 0; i < writer->n_tensors; i++) {
        declared *tensor = &writer->tensors[i];
        if (filled > 0 && filled + tensor->n_bytes > writer->max_shard_bytes) {
            writer->n_shards++;
            filled = 0;
        }
        filled += tensor->n_bytes;
        tensor->shard = writer->n_shards - 1;
    }
}

static const char *shard_name(paro_shard_writer *writer, uint32_t shard)
{
    return writer->n_shards == 1
               ? "model.safetensors"
               : paro_arena_printf(&writer->arena, "model-%05u-of-%05u.safetensors", shard + 1,
                                   writer->n_shards);
}

static paro_status write_all(paro_error *err, const paro_shard_writer *writer, const void *data,
                             size_t n_bytes)
{
    const char *bytes = data;
    while (n_bytes > 0) {
        ssize_t n = write(writer->fd, bytes, n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return paro_fail_errno(err, errno, "write", writer->path);
        bytes += n;
        n_bytes -= (size_t)n;
    }
    return PARO_STATUS_OK;
}

/* The header's JSON of one shard: metadata, then its tensors in order. NULL when out of memory. */
static char *make_header(paro_shard_writer *writer, uint32_t shard, size_t *n_bytes)
{
    paro_buffer text = {0};
    char *metadata = json_dumps(writer->metadata, JSON_COMPACT | JSON_SORT_KEYS);
    bool ok = metadata != NULL && paro_buffer_printf(&text, "{\"__metadata__\":%s", metadata);
    uint64_t at = 0;
    for (size_t i = 0; ok && i < writer->n_tensors; i++) {
        const declared *tensor = &writer->tensors[i];
        if (tensor->shard != shard)
            continue;
        json_t *name = json_string(tensor->name);
        char *quoted = json_dumps(name, JSON_ENCODE_ANY);
        char shape[PARO_SHAPE_TEXT_BYTES];
        ok = quoted != NULL &&
             paro_buffer_printf(
                 &text,
                 ",%s:{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}",
                 quoted, paro_dtype_name(tensor->dtype),
                 paro_shape_text(shape, tensor->shape, tensor->rank), at, at + tensor->n_bytes);
        at += tensor->n_bytes;
        json_decref(name);
        free(quoted);
    }
    ok = ok && paro_buffer_append_text(&text, "}");
    while (ok && text.n_bytes % 8 != 0)
        ok = paro_buffer_append_text(&text, " ");
    free(metadata);
    if (!ok) {
        paro_buffer_free(&text);
        return NULL;
    }
    *n_bytes = text.n_bytes;
    return paro_buffer_take(&text);
}

static paro_status close_shard(paro_error *err, paro_shard_writer *writer)
{
    if (writer->fd < 0)
        return PARO_STATUS_OK;
    paro_status status = PARO_STATUS_OK;
    if (fsync(writer->fd) != 0)
        status = paro_fail_errno(err, errno, "sync", writer->path);
    if (close(writer->fd) != 0 && status == PARO_STATUS_OK)
        status = paro_fail_errno(err, errno, "close", writer->path);
    writer->fd = -1;
    return status;
}

static paro_status open_shard(paro_error *err, paro_shard_writer *writer, uint32_t shard)
{
    paro_status status = close_shard(err, writer);
    if (status != PARO_STATUS_OK)
        return status;
    const char *name = shard_name(writer, shard);
    writer->path = name == NULL ? NULL : paro_path_join(&writer->arena, writer->dir, name);
    size_t n_header = 0;
    char *header = writer->path == NULL ? NULL : make_header(writer, shard, &n_header);
    if (header == NULL)
        return paro_fail_memory(err, writer->n_tensors * 100, "a safetensors header");
    writer->fd = open(writer->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (writer->fd < 0) {
        status = paro_fail_errno(err, errno, "create", writer->path);
    } else {
        unsigned char length[8];
        for (int i = 0; i < 8; i++)
            length[i] = (unsigned char)((uint64_t)n_header >> (8 * i));
        status = write_all(err, writer, length, sizeof length);
        if (status == PARO_STATUS_OK)
            status = write_all(err, writer, header, n_header);
    }
    free(header);
    return status;
}

static paro_status fail_again(paro_error *err, const paro_shard_writer *writer)
{
    return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT, "%s: writing failed before; start anew",
                     writer->dir);
}

paro_status paro_shard_writer_write(paro_error *err, paro_shard_writer *writer, const char *name,
                                    const void *data, size_t n_bytes)
{
    if (writer->failed)
        return fail_again(err, writer);
    if (writer->n_shards == 0)
        assign_shards(writer);
    const declared *tensor =
        writer->next < writer->n_tensors ? &writer->tensors[writer->next] : NULL;
    if (tensor == NULL || strcmp(tensor->name, name) != 0 || tensor->n_bytes != n_bytes)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "tensor %s of %zu bytes: expected %s of %" PRIu64 " bytes next", name,
                         n_bytes, tensor == NULL ? "no more tensors" : tensor->name,
                         tensor == NULL ? 0 : tensor->n_bytes);
    paro_status status = PARO_STATUS_OK;
    if (writer->next == 0 || tensor->shard != writer->tensors[writer->next - 1].shard)
        status = open_shard(err, writer, tensor->shard);
    if (status == PARO_STATUS_OK)
        status = write_all(err, writer, data, n_bytes);
    if (status == PARO_STATUS_OK)
        writer->next++;
    else
        writer->failed = true;
    return status;
}

static paro_status write_index(paro_error *err, paro_shard_writer *writer)
{
    paro_status status = PARO_STATUS_OK;
    json_t *weight_map = json_object();
    char *text = NULL;
    bool ok = weight_map != NULL;
    for (size_t i = 0; ok && i < writer->n_tensors; i++) {
        const char *file = shard_name(writer, writer->tensors[i].shard);
        ok = file != NULL &&
             json_object_set_new(weight_map, writer->tensors[i].name, json_string(file)) == 0;
    }
    json_t *root = ok ? json_pack("{s:{s:I}, s:O}", "metadata", "total_size",
                                  (json_int_t)writer->n_bytes, "weight_map", weight_map)
                      : NULL;
    if (root != NULL)
        text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    const char *path = paro_path_join(&writer->arena, writer->dir, "model.safetensors.index.json");
    if (text == NULL || path == NULL)
        status = paro_fail_memory(err, writer->n_tensors * 100, "a safetensors index");
    else
        status = paro_file_write(err, path, text, strlen(text));
    free(text);
    json_decref(root);
    json_decref(weight_map);
    return status;
}

paro_status paro_shard_writer_finish(paro_error *err, paro_shard_writer *writer, uint64_t *n_bytes,
                                     uint32_t *n_shards)
{
    if (writer->failed)
        return fail_again(err, writer);
    if (writer->next != writer->n_tensors)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "tensor %s: was declared, but never written",
                         writer->tensors[writer->next].name);
    paro_status status = PARO_STATUS_OK;
    if (writer->n_shards == 0) { /* no tensors at all: still a valid file */
        assign_shards(writer);
        status = open_shard(err, writer, 0);
    }
    if (status == PARO_STATUS_OK)
        status = close_shard(err, writer);
    if (status == PARO_STATUS_OK && writer->n_shards > 1)
        status = write_index(err, writer);
    if (status != PARO_STATUS_OK) {
        writer->failed = true;
        return status;
    }
    if (n_bytes != NULL)
        *n_bytes = writer->n_bytes;
    if (n_shards != NULL)
        *n_shards = writer->n_shards;
    return status;
}
