/* SPDX-License-Identifier: MIT
 *
 * A quantised checkpoint, written: tensors, config.json and what goes along, as one folder that
 * appears whole.
 *
 * The metadata of every shard: "paro.version"; "paro.recipe", its text; "paro.recipe_sha256";
 * "paro.options", what was set, as a JSON object of strings; "paro.plan", a line for people.
 */
#include <paro/version.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/safetensors_write.h"
#include "calib/calibration.h"
#include "calib/carry.h"
#include "calib/config_patch.h"
#include "calib/convert.h"
#include "runtime/model.h"

static paro_status sink_declare(paro_error *err, void *context, const paro_tensor *tensor)
{
    return paro_shard_writer_declare(err, context, tensor->name, tensor->dtype, tensor->rank,
                                     tensor->shape);
}

static paro_status sink_put(paro_error *err, void *context, const paro_tensor *tensor, void *data,
                            size_t n_bytes)
{
    paro_status status = paro_shard_writer_write(err, context, tensor->name, data, n_bytes);
    free(data);
    return status;
}

static paro_status sink_pass(paro_error *err, void *context, const paro_tensor *source)
{
    return paro_shard_writer_write(err, context, source->name, source->data,
                                   (size_t)source->n_bytes);
}

static paro_status add_metadata(paro_error *err, paro_shard_writer *writer, const paro_plan *plan,
                                const paro_format_row *format)
{
    paro_arena scratch = {0};
    const char *summary =
        paro_arena_printf(&scratch, "%zu linears quantised, %zu kept, format %s", plan->n_quantised,
                          plan->n_linears - plan->n_quantised, format->name);
    if (summary == NULL)
        return paro_fail_memory(err, 128, "metadata");
    const struct {
        const char *key;
        const char *value;
    } entries[] = {{"paro.version", paro_version()},
                   {"paro.recipe", plan->recipe_text},
                   {"paro.recipe_sha256", plan->recipe_sha256},
                   {"paro.options", plan->recipe_options},
                   {"paro.plan", summary}};
    paro_status status = PARO_STATUS_OK;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0] && status == PARO_STATUS_OK; i++)
        status = paro_shard_writer_metadata(err, writer, entries[i].key, entries[i].value);
    paro_arena_release(&scratch);
    return status;
}

static paro_status write_tensors(paro_error *err, const paro_model *model, const paro_plan *plan,
                                 const paro_block_store *calibrated, const paro_format_row *format,
                                 const char *dir, const paro_quantize_options *options,
                                 paro_quantize_result *result)
{
    paro_shard_writer *writer = NULL;
    paro_status status = paro_shard_writer_new(err, dir, options->max_shard_bytes, &writer);
    if (status == PARO_STATUS_OK)
        status = add_metadata(err, writer, plan, format);
    if (status == PARO_STATUS_OK) {
        const paro_sink sink = {
            .context = writer, .declare = sink_declare, .put = sink_put, .pass = sink_pass};
        status =
            paro_convert(err, model, plan, calibrated, format, options->observer, &sink, result);
    }
    if (status == PARO_STATUS_OK)
        status = paro_shard_writer_finish(err, writer, &result->n_bytes, &result->n_shards);
    paro_shard_writer_free(writer);
    return status;
}

static paro_status write_config(paro_error *err, const paro_model *model, const paro_plan *plan,
                                const paro_format_row *format, const char *dir)
{
    paro_arena scratch = {0};
    paro_buffer patched = {0};
    char *text = NULL;
    size_t n_bytes = 0;
    json_t *quantization = NULL;
    paro_status status = PARO_STATUS_OK;
    const char *from = paro_path_join(&scratch, model->dir, "config.json");
    const char *to = paro_path_join(&scratch, dir, "config.json");
    if (from == NULL || to == NULL) {
        status = paro_fail_memory(err, strlen(model->dir), "a path");
        goto done;
    }
    status = paro_format_config(err, format, plan, &quantization);
    if (status == PARO_STATUS_OK)
        status = paro_file_read(err, from, PARO_CONFIG_MAX_BYTES, &text, &n_bytes);
    if (status == PARO_STATUS_OK)
        status = paro_config_patch(err, from, text, n_bytes, quantization, &patched);
    if (status == PARO_STATUS_OK)
        status = paro_file_write(err, to, patched.data, patched.n_bytes);

done:
    json_decref(quantization);
    free(text);
    paro_buffer_free(&patched);
    paro_arena_release(&scratch);
    return status;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Replacing the folder whose files are mapped for reading would pull them away: the model's own,
 * and the ones its files are links into. */
static paro_status check_source(paro_error *err, const paro_model *model, const char *target)
{
    bool is_source = is_same_file(model->dir, target);
    const char *checked = NULL;
    for (size_t i = 0; i < paro_tensor_set_count(model->tensors) && !is_source; i++) {
        const char *file = paro_tensor_set_get(model->tensors, i)->file;
        if (checked != NULL && strcmp(file, checked) == 0)
            continue;
        checked = file;
        char *real = realpath(file, NULL);
        if (real == NULL)
            continue;
        *strrchr(real, '/') = 0;
        is_source = is_same_file(real, target);
        free(real);
    }
    if (!is_source)
        return PARO_STATUS_OK;
    return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                     "%s: is the model's own folder, or holds its files; choose another", target);
}

/* What stands in a folder that may be replaced. */
typedef struct folder_contents {
    bool is_empty, has_config, has_weights, has_folder;
} folder_contents;

static paro_status look_into(paro_error *err, DIR *dir, const char *path, folder_contents *out)
{
    folder_contents contents = {.is_empty = true};
    for (;;) {
        struct stat info;
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL && errno != 0)
            return paro_fail_errno(err, errno, "list", path);
        if (entry == NULL)
            break;
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (fstatat(dirfd(dir), name, &info, AT_SYMLINK_NOFOLLOW) != 0)
            return paro_fail_errno(err, errno, "look into", path);
        contents.is_empty = false;
        contents.has_config = contents.has_config || strcmp(name, "config.json") == 0;
        contents.has_weights = contents.has_weights || strncmp(name, "model", 5) == 0;
        contents.has_folder = contents.has_folder || S_ISDIR(info.st_mode);
    }
    *out = contents;
    return PARO_STATUS_OK;
}

/* Replacing a folder removes all that is in it: only what looks like a checkpoint, and holds no
 * folders (one of which might be the source), may be replaced; and only where removing will work.
 */
static paro_status check_replaceable(paro_error *err, const char *target)
{
    folder_contents contents = {.is_empty = true};
    DIR *dir = opendir(target);
    if (dir == NULL && (errno == ENOENT || errno == ENOTDIR)) /* the staging says what is wrong */
        return PARO_STATUS_OK;
    if (dir == NULL)
        return paro_fail_errno(err, errno, "look into", target);
    paro_status status = look_into(err, dir, target, &contents);
    closedir(dir);
    if (status != PARO_STATUS_OK)
        return status;
    if (access(target, R_OK | W_OK | X_OK) != 0)
        return paro_fail_errno(err, errno, "replace", target);
    if (is_same_file(target, "."))
        return paro_fail(err, PARO_STATUS_EXISTS,
                         "%s: is not replaced: it is the current folder; choose another", target);
    if (contents.is_empty || (contents.has_config && contents.has_weights && !contents.has_folder))
        return PARO_STATUS_OK;
    return paro_fail(
        err, PARO_STATUS_EXISTS,
        "%s: is not replaced: expected a checkpoint (config.json, model*, no folders), "
        "found %s; remove it yourself, or choose another name",
        target, contents.has_folder ? "a folder in it" : "other files");
}

/* Where finished blocks are kept: as named, or beside the target (without trailing slashes). */
static const char *work_dir_of(paro_arena *arena, const paro_quantize_options *options,
                               const char *out_dir)
{
    size_t n = strlen(out_dir);
    while (n > 1 && out_dir[n - 1] == '/')
        n--;
    if (options->work_dir != NULL)
        return paro_arena_strdup(arena, options->work_dir);
    return paro_arena_printf(arena, "%.*s.paro-work", (int)n, out_dir);
}

/* The finished blocks are of no use any more; that they cannot be removed is no failure. */
static void remove_work(paro_block_store *calibrated, const char *work_dir,
                        const paro_observer *observer)
{
    paro_error why;
    if (calibrated != NULL && paro_block_store_remove(&why, calibrated) != PARO_STATUS_OK)
        paro_log(observer, PARO_LOG_LEVEL_WARNING, "%s: is left behind: %s", work_dir, why.message);
}

paro_status paro_quantize(paro_error *err, const paro_model *model, const paro_plan *plan,
                          const char *out_dir, const paro_quantize_options *options,
                          paro_quantize_result *result)
{
    static const paro_quantize_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    double started = paro_clock_seconds();
    paro_arena scratch = {0};
    paro_staging staging = {.lock_fd = -1};
    paro_block_store *calibrated = NULL;
    paro_quantize_result measured = {0};
    const paro_format_row *format = paro_format_get(options->format);
    paro_status status = paro_format_check_plan(err, plan, options->format);
    if (status == PARO_STATUS_OK)
        status = check_source(err, model, out_dir);
    if (status == PARO_STATUS_OK && options->overwrite)
        status = check_replaceable(err, out_dir);
    const char *work_dir = work_dir_of(&scratch, options, out_dir);
    if (status == PARO_STATUS_OK && work_dir == NULL)
        status = paro_fail_memory(err, strlen(out_dir), "a path");
    if (status == PARO_STATUS_OK)
        status = paro_staging_begin(err, out_dir, options->overwrite, &staging);
    if (status != PARO_STATUS_OK)
        goto done;
    if (model->config.quant_method != PARO_QUANT_METHOD_NONE)
        paro_log(options->observer, PARO_LOG_LEVEL_WARNING,
                 "%s is quantised already: its weights are dequantised first", model->dir);

    /* Small files first: what is wrong with one shows before the long work. */
    status = write_config(err, model, plan, format, staging.temporary);
    if (status == PARO_STATUS_OK)
        status = paro_carry_files(err, model->dir, staging.temporary);
    if (status == PARO_STATUS_OK)
        status = paro_calibrate_plan(err, model, plan, options, work_dir, &calibrated);
    if (status == PARO_STATUS_OK)
        status = write_tensors(err, model, plan, calibrated, format, staging.temporary, options,
                               &measured);
    /* Again: much may have come into it since. */
    if (status == PARO_STATUS_OK && options->overwrite)
        status = check_replaceable(err, out_dir);
    if (status == PARO_STATUS_OK)
        status = paro_staging_commit(err, &staging);
    if (status != PARO_STATUS_OK) {
        paro_staging_abort(&staging);
        goto done;
    }
    remove_work(calibrated, work_dir, options->observer);
    if (result != NULL) {
        measured.seconds = paro_clock_seconds() - started;
        *result = measured;
    }

done:
    if (status != PARO_STATUS_OK && plan->block.run != NULL && work_dir != NULL &&
        paro_path_is_dir(work_dir))
        paro_log(options->observer, PARO_LOG_LEVEL_INFO,
                 "finished blocks are kept in %s: the same command goes on after them", work_dir);
    paro_block_store_free(calibrated);
    paro_arena_release(&scratch);
    return status;
}
