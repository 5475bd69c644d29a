/* SPDX-License-Identifier: MIT
 *
 * Fuzzing runtime/config.c: config.json, then, after a zero byte, generation_config.json. What is
 * accepted must be a configuration that a model can be made of.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void require(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "fuzz_config: %s\n", what);
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    const char *text = (const char *)data;
    const char *zero = n_bytes > 0 ? memchr(text, 0, n_bytes) : NULL;
    size_t n_config = zero == NULL ? n_bytes : (size_t)(zero - text);
    const char *generation = zero == NULL ? NULL : zero + 1;
    size_t n_generation = zero == NULL ? 0 : n_bytes - n_config - 1;

    paro_error err = {.status = PARO_STATUS_OK};
    paro_config config;
    paro_status status =
        paro_config_parse(&err, "config.json", text, n_config, generation, n_generation, &config);
    if (status != PARO_STATUS_OK) {
        require(err.status == status && strstr(err.message, "config.json") != NULL,
                "an error that does not name the file");
        return 0;
    }
    require(config.architecture != NULL, "no architecture");
    require(config.n_layers > 0 && config.hidden > 0 && config.intermediate > 0, "empty sizes");
    require(config.vocab > 0 && config.max_context > 0, "empty sizes");
    require(config.head_dim > 0 && config.head_dim % 2 == 0, "a head that rope cannot turn");
    require(config.n_kv_heads > 0 && config.n_heads % config.n_kv_heads == 0, "uneven heads");
    require(isfinite(config.norm_epsilon) && config.norm_epsilon >= 0, "an impossible epsilon");
    require(isfinite(config.rope.theta) && config.rope.theta > 0, "an impossible rope");
    require(config.n_eos_ids <= PARO_MAX_EOS, "too many end tokens");
    if (config.quant_method != PARO_QUANT_METHOD_NONE)
        require(config.group_size > 0 && config.bits > 0, "an impossible quantisation");

    double *frequencies = malloc(config.head_dim / 2 * sizeof *frequencies);
    if (frequencies != NULL && config.head_dim <= 65536) {
        paro_ref_rope_frequencies(&config.rope, config.head_dim, frequencies);
        for (uint32_t i = 0; i < config.head_dim / 2; i++)
            require(isfinite(frequencies[i]), "a frequency that is not finite");
    }
    free(frequencies);
    return 0;
}
