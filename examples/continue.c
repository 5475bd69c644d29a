/* SPDX-License-Identifier: MIT
 * Continues a prompt:  cc continue.c -o continue $(pkg-config --cflags --libs paro)
 *                      ./continue models/demo "The history of the city" */
#include <paro/paro.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool print_piece(void *context, const char *text, size_t n_bytes)
{
    (void)context;
    return fwrite(text, 1, n_bytes, stdout) == n_bytes && fflush(stdout) == 0;
}

int main(int argc, char **argv)
{
    paro_error err = {PARO_STATUS_INVALID_ARGUMENT, "usage: continue MODEL PROMPT"};
    const paro_encode_options encode = {.add_special_tokens = true};
    const paro_generate_options options = {.n_tokens = 64};
    paro_model *model = NULL;
    paro_tokenizer *tokenizer = NULL;
    paro_session *session = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;

    bool ok = argc == 3 && paro_model_open(&err, argv[1], NULL, &model) == PARO_STATUS_OK &&
              paro_tokenizer_open(&err, argv[1], &tokenizer) == PARO_STATUS_OK &&
              paro_session_new(&err, model, NULL, &session) == PARO_STATUS_OK &&
              paro_tokenizer_encode(&err, tokenizer, argv[2], strlen(argv[2]), &encode, &ids,
                                    &n_ids) == PARO_STATUS_OK &&
              paro_generate(&err, session, tokenizer, ids, n_ids, &options, print_piece, NULL, NULL,
                            NULL) == PARO_STATUS_OK;
    fprintf(ok ? stdout : stderr, "%s\n", ok ? "" : err.message);
    free(ids);
    paro_session_free(session);
    paro_tokenizer_free(tokenizer);
    paro_model_free(model);
    return ok ? 0 : 1;
}
