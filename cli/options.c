/* SPDX-License-Identifier: MIT
 *
 * Options of a command as a table: parsing with getopt_long, checking, and the text of --help.
 */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/text.h"

enum {
    MAX_OPTIONS = 48,
    LONG_VALUE = 256, /* getopt's value of the n-th long option is LONG_VALUE + n */
    HELP_COLUMN = 28,
    HELP_WIDTH = 80
};

const paro_option paro_global_options[] = {
    {.name = "threads",
     .kind = PARO_OPTION_NUMBER,
     .offset = offsetof(paro_global_args, n_threads),
     .argument = "N",
     .min = 0,
     .max = PARO_OPTIONS_MAX_THREADS,
     .help = "CPU threads; 0, the default, takes one per available core"},
    {.name = "quiet",
     .letter = 'q',
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(paro_global_args, quiet),
     .help = "only warnings and errors on standard error"},
    {.name = "verbose",
     .letter = 'v',
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(paro_global_args, verbose),
     .help = "more on standard error"},
    {.name = "help",
     .letter = 'h',
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(paro_global_args, help),
     .help = "print this help and exit"},
    {.name = "version",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(paro_global_args, version),
     .help = "print the version and exit"},
    {0}};

/* The two tables as getopt wants them. */
typedef struct parser {
    const paro_option *rows[MAX_OPTIONS];
    size_t n_rows;
    struct option longs[MAX_OPTIONS + 1];
    char shorts[2 * MAX_OPTIONS + 4];
    char *message;
} parser;

static void fail(parser *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void fail(parser *p, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(p->message, PARO_OPTION_MESSAGE_BYTES, format, values);
    va_end(values);
}

static bool parser_add(parser *p, const paro_option *table)
{
    for (; table && table->name; table++) {
        if (p->n_rows == MAX_OPTIONS)
            return false;
        bool has_argument = table->kind != PARO_OPTION_FLAG;
        p->longs[p->n_rows] =
            (struct option){table->name, has_argument ? required_argument : no_argument, NULL,
                            LONG_VALUE + (int)p->n_rows};
        if (table->letter) {
            size_t n = strlen(p->shorts);
            p->shorts[n] = table->letter;
            p->shorts[n + 1] = has_argument ? ':' : '\0';
        }
        p->rows[p->n_rows++] = table;
    }
    return true;
}

/* Sets up getopt; `order` is "-" (others come in order) or "+" (stop at the first of them). */
static bool parser_begin(parser *p, const char *order, const paro_option *options, char *message)
{
    *p = (parser){.message = message};
    snprintf(p->shorts, sizeof p->shorts, "%s:", order);
    if (!parser_add(p, paro_global_options) || !parser_add(p, options)) {
        fail(p, "internal error: more than %d options in a command's table", MAX_OPTIONS);
        return false;
    }
    optind = 0; /* glibc: forget an earlier parse altogether */
    opterr = 0;
    return true;
}

static const paro_option *parser_find(const parser *p, int value)
{
    if (value >= LONG_VALUE && (size_t)(value - LONG_VALUE) < p->n_rows)
        return p->rows[value - LONG_VALUE];
    for (size_t i = 0; i < p->n_rows; i++)
        if (value && p->rows[i]->letter == value)
            return p->rows[i];
    return NULL;
}

/* Says why getopt refused `argument`, a long option it did not know. */
static void fail_unknown_long(parser *p, const char *argument)
{
    const char *names[MAX_OPTIONS + 1] = {NULL};
    const char *start = argument + strspn(argument, "-");
    char name[64] = "";
    size_t n = strcspn(start, "="), n_alike = 0;
    char alike[256] = "";

    if (n < sizeof name)
        memcpy(name, start, n);
    for (size_t i = 0; i < p->n_rows; i++) {
        names[i] = p->rows[i]->name;
        if (name[0] && strncmp(name, names[i], n) == 0) {
            size_t used = strlen(alike);
            snprintf(alike + used, sizeof alike - used, "%s--%s", n_alike ? ", " : "", names[i]);
            n_alike++;
        }
    }
    const char *nearest = paro_text_nearest(name, names);
    if (n_alike > 1)
        fail(p, "option '--%.60s' is ambiguous: it may be %s", name, alike);
    else if (nearest)
        fail(p, "unknown option '--%.60s'; did you mean '--%s'?", name, nearest);
    else
        fail(p, "unknown option '%.200s'", argument);
}

static void fail_getopt(parser *p, int code, char **argv)
{
    const paro_option *option = parser_find(p, optopt);

    if (code == ':' && option)
        fail(p, "option '--%s' needs an argument: --%s=%s", option->name, option->name,
             option->argument);
    else if (optopt >= LONG_VALUE && option)
        fail(p, "option '--%s' takes no argument", option->name);
    else if (optopt == 0)
        fail_unknown_long(p, argv[optind - 1]);
    else if (isprint((unsigned char)optopt))
        fail(p, "unknown option '-%c'", optopt);
    else
        fail(p, "unknown option '%.200s'", argv[optind - 1]);
}

bool paro_options_number(const char *text, uint64_t *out)
{
    if (!*text || text[strspn(text, "0123456789")])
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno)
        return false;
    *out = value;
    return true;
}

static bool parse_real(const char *text, const char **end, double *out)
{
    if (!isdigit((unsigned char)*text) && !strchr("+-.", *text))
        return false;
    char *stop;
    errno = 0;
    double value = strtod(text, &stop);
    if (stop == text || errno == ERANGE || !isfinite(value))
        return false;
    *end = stop;
    *out = value;
    return true;
}

static bool parse_bytes(const char *text, double *out)
{
    static const struct {
        const char *suffix;
        double factor;
    } units[] = {{"", 1},
                 {"B", 1},
                 {"kB", 1e3},
                 {"KB", 1e3},
                 {"MB", 1e6},
                 {"GB", 1e9},
                 {"TB", 1e12},
                 {"KiB", 1024.0},
                 {"MiB", 1048576},
                 {"GiB", 1073741824},
                 {"TiB", 1099511627776.0}};
    const char *end;
    double value;

    if (!isdigit((unsigned char)*text) || !parse_real(text, &end, &value))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
        if (strcmp(end, units[i].suffix) == 0) {
            *out = value * units[i].factor;
            return true;
        }
    return false;
}

static bool strings_add(paro_strings *list, const char *item, int argc)
{
    if (!list->items) /* argv cannot hold more than argc of them */
        list->items = calloc((size_t)argc, sizeof *list->items);
    if (!list->items)
        return false;
    list->items[list->n_items++] = item;
    return true;
}

static bool store_choice(parser *p, const paro_option *o, const char *text, int *member)
{
    char list[160] = "";

    for (int i = 0; o->choices[i]; i++) {
        size_t n = strlen(list);
        if (strcmp(o->choices[i], text) == 0) {
            *member = i;
            return true;
        }
        snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", o->choices[i]);
    }
    fail(p, "option '--%s': '%.100s' is not one of: %s", o->name, text, list);
    return false;
}

static bool store(parser *p, const paro_option *o, const char *text, int argc, void *args)
{
    void *member = (char *)args + o->offset;
    const char *end = "";
    uint64_t number = 0;
    /* A double has no 2^64 - 1: what is written so is 2^64. */
    const uint64_t most = o->max >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)o->max;
    double real = 0;

    switch (o->kind) {
    case PARO_OPTION_FLAG:
        *(bool *)member = true;
        return true;
    case PARO_OPTION_STRING:
        *(const char **)member = text;
        return true;
    case PARO_OPTION_STRINGS:
        if (!strings_add(member, text, argc)) {
            fail(p, "out of memory for the arguments");
            return false;
        }
        return true;
    case PARO_OPTION_CHOICE:
        return store_choice(p, o, text, member);
    case PARO_OPTION_NUMBER:
        if (!paro_options_number(text, &number) || (double)number < o->min || number > most) {
            fail(p,
                 "option '--%s': expected a whole number from %.0f to %" PRIu64 ", found '%.100s'",
                 o->name, o->min, most, text);
            return false;
        }
        *(uint64_t *)member = number;
        return true;
    case PARO_OPTION_REAL:
        if (!parse_real(text, &end, &real) || *end || real < o->min || real > o->max) {
            fail(p, "option '--%s': expected a number from %g to %g, found '%.100s'", o->name,
                 o->min, o->max, text);
            return false;
        }
        *(double *)member = real;
        return true;
    case PARO_OPTION_BYTES:
        if (!parse_bytes(text, &real) || real < o->min || real > o->max) {
            fail(p,
                 "option '--%s': expected a size from %.0f to %.0f bytes such as 500MB or 2GiB, "
                 "found '%.100s'",
                 o->name, o->min, o->max, text);
            return false;
        }
        *(uint64_t *)member = (uint64_t)real;
        return true;
    }
    fail(p, "internal error: option '--%s' is of no known kind", o->name);
    return false;
}

static bool add_positional(parser *p, paro_arguments *arguments, const char *text, int argc)
{
    paro_strings *list = &arguments->positional;

    if (list->n_items >= arguments->max_positional)
        list = arguments->rest;
    if (!list) {
        fail(p, "unexpected argument '%.200s'", text);
        return false;
    }
    if (!strings_add(list, text, argc)) {
        fail(p, "out of memory for the arguments");
        return false;
    }
    return true;
}

const char *paro_options_parse(const paro_option *options, int argc, char **argv, void *args,
                               paro_arguments *arguments, char message[PARO_OPTION_MESSAGE_BYTES])
{
    parser p;
    int code;

    if (!parser_begin(&p, arguments->options_first ? "+" : "-", options, message))
        return message;
    while ((code = getopt_long(argc, argv, p.shorts, p.longs, NULL)) != -1) {
        const paro_option *option = code == 1 ? NULL : parser_find(&p, code);
        if (code == 1) {
            if (!add_positional(&p, arguments, optarg, argc))
                return message;
        } else if (code == ':' || code == '?' || !option) {
            fail_getopt(&p, code, argv);
            return message;
        } else if (!store(&p, option, optarg, argc, args)) {
            return message;
        }
    }
    for (int i = optind; i < argc; i++)
        if (!add_positional(&p, arguments, argv[i], argc))
            return message;
    return NULL;
}

const char *paro_options_parse_global(int argc, char **argv, paro_global_args *args, int *n_read,
                                      char message[PARO_OPTION_MESSAGE_BYTES])
{
    parser p;
    int code;

    if (!parser_begin(&p, "+", NULL, message))
        return message;
    while ((code = getopt_long(argc, argv, p.shorts, p.longs, NULL)) != -1) {
        const paro_option *option = parser_find(&p, code);
        if (code == ':' || code == '?' || !option) {
            fail_getopt(&p, code, argv);
            return message;
        }
        if (!store(&p, option, optarg, argc, args))
            return message;
    }
    *n_read = optind;
    return NULL;
}

void paro_options_free(const paro_option *options, void *args)
{
    for (; options && options->name; options++)
        if (options->kind == PARO_OPTION_STRINGS) {
            paro_strings *list = (void *)((char *)args + options->offset);
            free(list->items);
            *list = (paro_strings){0};
        }
}

void paro_options_wrap(const char *text, unsigned n_first, unsigned n_indent, FILE *stream)
{
    unsigned column = n_first;
    bool first_word = true;

    while (*text) {
        if (*text == '\n') { /* a line break of the author's */
            fprintf(stream, "\n");
            column = 0;
            first_word = true;
            text++;
            continue;
        }
        size_t n = strcspn(text, " \n");
        char word[HELP_WIDTH * 4] = "";
        memcpy(word, text, n < sizeof word ? n : sizeof word - 1);
        unsigned width = paro_text_columns(word);
        if (!first_word && column + 1 + width > HELP_WIDTH) {
            fprintf(stream, "\n");
            column = 0;
            first_word = true;
        }
        if (first_word) {
            fprintf(stream, "%*s%s", column < n_indent ? (int)(n_indent - column) : 0, "", word);
            column = (column < n_indent ? n_indent : column) + width;
        } else {
            fprintf(stream, " %s", word);
            column += 1 + width;
        }
        first_word = false;
        text += n + (text[n] == ' ');
    }
    fprintf(stream, "\n");
}

void paro_options_print(const paro_option *options, FILE *stream)
{
    for (; options && options->name; options++) {
        char left[96], letter[8] = "    ";
        if (options->letter)
            snprintf(letter, sizeof letter, "-%c, ", options->letter);
        snprintf(left, sizeof left, "  %s--%s%s%s", letter, options->name,
                 options->argument ? "=" : "", options->argument ? options->argument : "");
        unsigned column = paro_text_columns(left);
        fprintf(stream, "%s", left);
        if (column + 2 > HELP_COLUMN) {
            fprintf(stream, "\n");
            column = 0;
        }
        paro_options_wrap(options->help, column, HELP_COLUMN, stream);
    }
}
