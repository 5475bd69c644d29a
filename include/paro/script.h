/* SPDX-License-Identifier: MIT
 *
 * Scripts (Lua): programs that open models, quantise and score them. docs/scripts.md has what they
 * can call.
 */
#ifndef PARO_SCRIPT_H
#define PARO_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <paro/model.h>
#include <paro/observer.h>
#include <paro/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A Lua state with all that recipes have, and the table `paro`. Not to be used from two threads at
 * once. */
typedef struct paro_script paro_script;

/* Receives what a script prints, with its newline; not zero-terminated. False: it could not be
 * written, an error in the script. */
typedef bool paro_print_fn(void *context, const char *text, size_t n_bytes);

typedef struct paro_script_options {
    bool allow_io;         /* gives the script the io library, and lets it write files */
    uint64_t memory_bytes; /* limit of its Lua state, and of its tensors beside that; 0: none */
    const char *name;      /* its `arg[0]`; NULL: "" */
    const char *const *arguments; /* its `arg[1]`, `arg[2]`, …, and its `...` */
    size_t n_arguments;
    const paro_model_options *model; /* how models are opened where the script does not say; NULL:
                                        the defaults. What it points to outlives the script; its
                                        observer is not looked at */
    paro_print_fn *print;            /* where `print` goes; NULL: to the observer's log */
    void *print_context;
    /* Told how far quantising and scoring are. While the script runs its progress is called about
     * ten times a second, with the stage "script" and 0 of 0, and can stop it. May be NULL. */
    const paro_observer *observer;
} paro_script_options;

/* `options` may be NULL. The caller frees *out. */
paro_status paro_script_new(paro_error *err, const paro_script_options *options, paro_script **out);
void paro_script_free(paro_script *script);

/* Runs a file, or the shipped script of that name ("ablation") where no such file exists. An error
 * that the script raises is PARO_STATUS_RECIPE, with its message; it can go on with another text
 * afterwards, with the globals as they are. */
paro_status paro_script_run_file(paro_error *err, paro_script *script, const char *path);

/* Runs a text; `name` is what messages call it, for example "-e". */
paro_status paro_script_run_text(paro_error *err, paro_script *script, const char *name,
                                 const char *text, size_t n_bytes);

/* For a prompt: runs lines, or prints the values of an expression. *is_incomplete says, with
 * PARO_STATUS_OK and nothing done, that they need more lines to be a statement. */
paro_status paro_script_run_lines(paro_error *err, paro_script *script, const char *text,
                                  size_t n_bytes, bool *is_incomplete);

/* The n-th shipped script's name, or NULL past the last. */
const char *paro_script_shipped(size_t n);

#ifdef __cplusplus
}
#endif
#endif
