/* SPDX-License-Identifier: MIT
 *
 * Fuzzing base/safetensors.c: the input is a file; or, where it begins with "INDEX", the rest is
 * the model.safetensors.index.json of a folder with two good shards. What opens is read to its last
 * byte, so that a tensor outside its file shows.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/safetensors.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static char folder[] = "/tmp/paro-fuzz-XXXXXX";

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fuzz_safetensors: %s\n", what);
        abort();
    }
}

static void write_shard(const char *name, const char *header, size_t n_data)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    require(file != NULL, "cannot write a shard");
    uint8_t length[8] = {(uint8_t)strlen(header)};
    fwrite(length, 1, sizeof length, file);
    fputs(header, file);
    for (size_t i = 0; i < n_data; i++)
        fputc((int)i, file);
    require(fclose(file) == 0, "cannot write a shard");
}

static void remove_folder(void)
{
    (void)paro_remove_tree(NULL, folder);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    require(mkdtemp(folder) != NULL, "cannot create a folder");
    atexit(remove_folder);
    write_shard("s1", "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2);
    write_shard("s2", "{\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 2);
    return 0;
}

static void read_all(const paro_tensor_set *set)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < paro_tensor_set_count(set); i++) {
        const paro_tensor *tensor = paro_tensor_set_get(set, i);
        const uint8_t *bytes = tensor->data;
        char text[PARO_SHAPE_TEXT_BYTES];
        require(paro_tensor_set_find(set, tensor->name) == tensor, "a tensor that is not found");
        require(tensor->rank <= PARO_MAX_RANK, "a rank over the limit");
        require(tensor->n_values * paro_dtype_bytes(tensor->dtype) == tensor->n_bytes,
                "a size that is not the shape's");
        paro_shape_text(text, tensor->shape, tensor->rank);
        for (uint64_t k = 0; k < tensor->n_bytes; k++)
            sum += bytes[k];
    }
    const char *value;
    for (size_t i = 0; paro_tensor_set_metadata(set, i, &value) != NULL; i++)
        sum += strlen(value);
    volatile uint64_t sink = sum;
    (void)sink;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char mark[] = "INDEX";
    char path[64];
    int fd = -1;
    if (n_bytes >= sizeof mark - 1 && memcmp(data, mark, sizeof mark - 1) == 0) {
        snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
        FILE *file = fopen(path, "wb");
        require(file != NULL, "cannot write the index");
        fwrite(data + sizeof mark - 1, 1, n_bytes - (sizeof mark - 1), file);
        require(fclose(file) == 0, "cannot write the index");
        snprintf(path, sizeof path, "%s", folder);
    } else {
        fd = memfd_create("input", MFD_CLOEXEC);
        require(fd >= 0 && write(fd, data, n_bytes) == (ssize_t)n_bytes, "cannot write the input");
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    paro_error err = {.status = PARO_STATUS_OK};
    paro_tensor_set *set = NULL;
    paro_status status = paro_tensor_set_open(&err, path, &set);
    if (status == PARO_STATUS_OK) {
        read_all(set);
    } else {
        require(set == NULL, "an output that was touched on failure");
        require(err.status == status && strstr(err.message, path) != NULL,
                "an error that does not name the file");
    }
    paro_tensor_set_free(set);
    if (fd >= 0)
        close(fd);
    return 0;
}
