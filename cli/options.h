/* SPDX-License-Identifier: MIT
 *
 * Options of a command as a table: parsing, checking, and the text of --help from the same rows.
 */
#ifndef PARO_CLI_OPTIONS_H
#define PARO_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* What an option's argument is, and the type of the member that receives it. */
typedef enum paro_option_kind {
    PARO_OPTION_FLAG,    /* bool: no argument */
    PARO_OPTION_STRING,  /* const char * into argv */
    PARO_OPTION_STRINGS, /* paro_strings: every use adds one */
    PARO_OPTION_NUMBER,  /* uint64_t: a whole number min .. max */
    PARO_OPTION_REAL,    /* double: min .. max */
    PARO_OPTION_BYTES,   /* uint64_t: min .. max, with or without kB, MB, GB, KiB, MiB, GiB */
    PARO_OPTION_CHOICE   /* int: the index in `choices` */
} paro_option_kind;

typedef struct paro_strings {
    const char **items; /* the strings belong to argv */
    size_t n_items;
} paro_strings;

/* One row of a table; the table ends with a row whose name is NULL. */
typedef struct paro_option {
    const char *name; /* without "--" */
    char letter;      /* short form; 0: none */
    paro_option_kind kind;
    size_t offset;              /* of the member in the command's argument struct */
    const char *argument;       /* the argument's name in --help; NULL for flags */
    const char *help;           /* sentences; wrapped by the printer */
    double min, max;            /* for numbers */
    const char *const *choices; /* NULL-terminated; for PARO_OPTION_CHOICE */
} paro_option;

/* Every command's argument struct begins with these. */
typedef struct paro_global_args {
    uint64_t n_threads; /* 0: one per available core */
    bool quiet;
    bool verbose;
    bool help;
    bool version;
} paro_global_args;

extern const paro_option paro_global_options[];

typedef struct paro_arguments {
    paro_strings positional; /* at most max_positional of them */
    size_t max_positional;
    paro_strings *rest; /* where further ones go, in order with PARO_OPTION_STRINGS of the same
                           list; NULL: a further one is an error */
    bool options_first; /* the first that is no option ends the options */
} paro_arguments;

enum { PARO_OPTION_MESSAGE_BYTES = 512, PARO_OPTIONS_MAX_THREADS = 256 };

/* Parses argv[1] … argv[argc - 1] by the global table and `options` into `args`, the struct that
 * the tables' offsets refer to, which holds the defaults before. Options and others may be mixed,
 * if not options_first;
 * "--" ends the options. Returns NULL, or what is wrong, written to `message`. */
const char *paro_options_parse(const paro_option *options, int argc, char **argv, void *args,
                               paro_arguments *arguments, char message[PARO_OPTION_MESSAGE_BYTES]);

/* The same with the global table only, up to the first argument that is not an option; *n_read is
 * its index in argv. */
const char *paro_options_parse_global(int argc, char **argv, paro_global_args *args, int *n_read,
                                      char message[PARO_OPTION_MESSAGE_BYTES]);

/* Frees the lists in `args`. */
void paro_options_free(const paro_option *options, void *args);

/* Prints a table for --help. */
void paro_options_print(const paro_option *options, FILE *stream);

/* Prints `text` in lines of at most 80 columns that begin with n_indent spaces; n_first columns of
 * the first line are there already. */
void paro_options_wrap(const char *text, unsigned n_first, unsigned n_indent, FILE *stream);

/* Parses a whole number in decimal digits; false where it is anything else or beyond 2^64 - 1. */
bool paro_options_number(const char *text, uint64_t *out);

#endif
