/* SPDX-License-Identifier: MIT
 *
 * Status codes and error messages.
 *
 * Every fallible function of paro takes a `paro_error *` first and returns a
 * paro_status. Its outputs are its last parameters and are untouched when it
 * fails. The error may be NULL where the message is of no interest; it is
 * written only on failure, lives where the caller put it (usually the stack),
 * owns nothing and needs no release.
 *
 *     paro_error err;
 *     paro_model *model = NULL;
 *     if (paro_model_open(&err, "models/demo", NULL, &model) != PARO_STATUS_OK)
 *         fprintf(stderr, "%s\n", err.message);
 *
 * paro never aborts, exits or prints. Every _free function accepts NULL.
 */
#ifndef PARO_STATUS_H
#define PARO_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum paro_status {
    PARO_STATUS_OK = 0,
    PARO_STATUS_INVALID_ARGUMENT, /* the caller asked for something that cannot be */
    PARO_STATUS_NOT_FOUND,        /* a file, tensor or name does not exist */
    PARO_STATUS_EXISTS,           /* would overwrite what the user has */
    PARO_STATUS_IO,               /* the operating system refused: the message has its reason */
    PARO_STATUS_FORMAT,           /* a file's contents break the rules of its format */
    PARO_STATUS_UNSUPPORTED,      /* valid, but nothing here handles it */
    PARO_STATUS_OUT_OF_MEMORY,    /* an allocation failed */
    PARO_STATUS_LIMIT,            /* a limit of memory, steps or context length was reached */
    PARO_STATUS_RECIPE,           /* a recipe raised an error or returned nonsense */
    PARO_STATUS_CANCELLED         /* an observer asked to stop */
} paro_status;

enum { PARO_ERROR_MESSAGE_BYTES = 1024 };

typedef struct paro_error {
    paro_status status;
    char message[PARO_ERROR_MESSAGE_BYTES]; /* one line, UTF-8, zero-terminated: where, what was
                                               expected, what was found, what to do */
} paro_error;

/* The name of a status for people, for example "format error". Never NULL. */
const char *paro_status_name(paro_status status);

#ifdef __cplusplus
}
#endif
#endif
