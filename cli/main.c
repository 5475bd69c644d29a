/* SPDX-License-Identifier: MIT
 *
 * paro: finds the command, parses its options, runs it. The only file that reads the environment.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/text.h"

static const paro_command *const commands[] = {&paro_command_inspect,
                                               &paro_command_quantize,
                                               &paro_command_eval,
                                               &paro_command_run,
                                               &paro_command_tokenize,
                                               &paro_command_lua,
                                               &paro_command_tune,
                                               &paro_command_kernel,
                                               &paro_command_cache,
                                               &paro_command_bench,
                                               &paro_command_version,
                                               &paro_command_tune_worker,
                                               NULL};

enum { N_COMMANDS = sizeof commands / sizeof commands[0] - 1 };

/* A file that is opened later must not get the number of a closed standard stream, or it would
 * receive what is printed. Nothing can be written to these stand-ins but on standard error. */
static bool occupy_standard_streams(void)
{
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF &&
            open("/dev/null", fd == STDERR_FILENO ? O_WRONLY : O_RDONLY) != fd)
            return false;
    return true;
}

/* A cookie_write_function_t: standard output, keeping the reason where a write fails, which would
 * be lost by the time the stream's error is looked at. */
static ssize_t write_stdout(void *cookie, const char *data, size_t n_bytes)
{
    paro_console *console = cookie;
    size_t n_done = 0;

    while (n_done < n_bytes) {
        ssize_t n = write(STDOUT_FILENO, data + n_done, n_bytes - n_done);
        if (n >= 0) {
            n_done += (size_t)n;
        } else if (errno != EINTR) {
            console->write_error = errno;
            return 0;
        }
    }
    return (ssize_t)n_done;
}

static bool watch_stdout(paro_console *console)
{
    FILE *stream = fopencookie(console, "w", (cookie_io_functions_t){.write = write_stdout});

    if (!stream)
        return false;
    setvbuf(stream, NULL, isatty(STDOUT_FILENO) ? _IOLBF : _IOFBF, BUFSIZ);
    stdout = stream; /* glibc allows it */
    return true;
}

/* COLUMNS; 0 where it is not set, or no width. */
static unsigned environment_columns(void)
{
    const char *value = getenv("COLUMNS");
    uint64_t number;

    return value && paro_options_number(value, &number) && number <= 10000 ? (unsigned)number : 0;
}

/* `a` and `b` in one malloc'd text; NULL where memory ran out. */
static char *joined(const char *a, const char *b)
{
    char *text = NULL;

    return asprintf(&text, "%s%s", a, b) < 0 ? NULL : text;
}

/* Where the user's kernel cache is; malloc'd, NULL where nothing says. */
static char *cache_path(void)
{
    const char *given = getenv("PARO_CACHE"), *xdg = getenv("XDG_CACHE_HOME"),
               *home = getenv("HOME");

    if (given && *given)
        return strdup(given);
    if (xdg && *xdg == '/') /* others count as not set: XDG base directory specification */
        return joined(xdg, "/paro/cache.db");
    return home && *home ? joined(home, "/.cache/paro/cache.db") : NULL;
}

/* This program's path, malloc'd; NULL where the system does not say. */
static char *program_path(void)
{
    char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

    if (n <= 0 || (size_t)n >= sizeof path - 1)
        return NULL;
    path[n] = 0;
    return strdup(path);
}

/* The cache that came with an installation: PREFIX/share/paro/cache.db for PREFIX/bin/paro. */
static char *system_cache_path(const char *program)
{
    const char *name = program ? strrchr(program, '/') : NULL;
    char *path = NULL;

    if (!name || asprintf(&path, "%.*s/../share/paro/cache.db", (int)(name - program), program) < 0)
        return NULL;
    if (access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

static paro_exit usage_error(paro_console *console, const paro_command *command, const char *what)
{
    paro_console_error(console, "%s", what);
    if (command)
        paro_console_hint(console, "'paro help %s' lists what %s takes", command->name,
                          command->name);
    else
        paro_console_hint(console, "'paro help' lists commands and options");
    return PARO_EXIT_USAGE;
}

static const paro_command *find_command(paro_console *console, const char *name)
{
    const char *names[N_COMMANDS + 2];
    size_t n = 0;

    for (size_t i = 0; i < N_COMMANDS; i++) {
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
        if (!commands[i]->is_hidden)
            names[n++] = commands[i]->name;
    }
    names[n++] = "help";
    names[n] = NULL;
    const char *nearest = paro_text_nearest(name, names);
    if (nearest)
        paro_console_error(console, "unknown command '%.100s'; did you mean '%s'?", name, nearest);
    else
        paro_console_error(console, "unknown command '%.100s'", name);
    paro_console_hint(console, "'paro help' lists commands and options");
    return NULL;
}

static void print_version(void)
{
    printf("paro %s\n", paro_version());
}

/* False, with an error said, where PARO_THREADS counts and is no number of threads. */
static bool apply_global(paro_console *console, const paro_global_args *global)
{
    const char *threads = getenv("PARO_THREADS");
    uint64_t n_threads = global->n_threads;

    if (n_threads == 0 && threads && *threads &&
        (!paro_options_number(threads, &n_threads) || n_threads > PARO_OPTIONS_MAX_THREADS)) {
        paro_console_error(console,
                           "environment variable PARO_THREADS: expected a whole number from 0 to "
                           "%d, found '%.100s'",
                           PARO_OPTIONS_MAX_THREADS, threads);
        return false;
    }
    console->n_threads = (int)n_threads;
    console->quiet = global->quiet;
    console->verbose = global->verbose;
    if (global->quiet)
        console->progress.mode = PARO_PROGRESS_MODE_OFF;
    return true;
}

/* argv[0] is the command's name; `args` holds its defaults and the global options before it. */
static paro_exit parse_and_run(paro_console *console, const paro_command *command, int argc,
                               char **argv, void *args)
{
    char message[PARO_OPTION_MESSAGE_BYTES];
    const paro_global_args *global = args;
    paro_arguments arguments = {.max_positional = command->max_positional,
                                .options_first = command->options_first};
    paro_exit code;

    if (command->has_rest)
        arguments.rest = (paro_strings *)(void *)((char *)args + command->rest_offset);
    const char *wrong = paro_options_parse(command->options, argc, argv, args, &arguments, message);
    if (!wrong && !global->help && !global->version &&
        arguments.positional.n_items < command->min_positional)
        wrong = command->missing;
    for (size_t i = 0; i < arguments.positional.n_items && !wrong; i++)
        if (!*arguments.positional.items[i])
            wrong = "the path is empty";
    if (wrong) {
        code = usage_error(console, command, wrong);
    } else if (global->help || global->version) {
        if (global->help)
            paro_help_print_command(command, stdout);
        else
            print_version();
        code = PARO_EXIT_DONE;
    } else if (!apply_global(console, global)) {
        code = PARO_EXIT_USAGE;
    } else {
        code = command->run(console, args, &arguments.positional);
    }
    free(arguments.positional.items);
    paro_options_free(command->options, args);
    if (arguments.rest) /* where it is no option's list too: else it is empty by now */
        free(arguments.rest->items);
    return code;
}

static paro_exit run_help(paro_console *console, int argc, char **argv)
{
    if (argc > 2)
        return usage_error(console, NULL, "help takes one command's name at most");
    if (argc == 1 || strcmp(argv[1], "help") == 0) {
        paro_help_print(commands, stdout);
        return PARO_EXIT_DONE;
    }
    const paro_command *command = find_command(console, argv[1]);
    if (!command)
        return PARO_EXIT_USAGE;
    paro_help_print_command(command, stdout);
    return PARO_EXIT_DONE;
}

static paro_exit run(paro_console *console, int argc, char **argv)
{
    char message[PARO_OPTION_MESSAGE_BYTES];
    paro_global_args global = {0};
    int n_read = 1;
    const char *wrong = paro_options_parse_global(argc, argv, &global, &n_read, message);

    if (wrong)
        return usage_error(console, NULL, wrong);
    if (global.help || global.version) {
        if (global.help)
            paro_help_print(commands, stdout);
        else
            print_version();
        return PARO_EXIT_DONE;
    }
    if (n_read >= argc)
        return usage_error(console, NULL, "a command is missing");
    if (strcmp(argv[n_read], "help") == 0)
        return run_help(console, argc - n_read, argv + n_read);
    const paro_command *command = find_command(console, argv[n_read]);
    if (!command)
        return PARO_EXIT_USAGE;
    void *args = calloc(1, command->args_bytes);
    if (!args) {
        paro_console_error(console, "out of memory");
        return PARO_EXIT_FAILED;
    }
    if (command->defaults)
        memcpy(args, command->defaults, command->args_bytes);
    memcpy(args, &global, sizeof global);
    paro_exit code = parse_and_run(console, command, argc - n_read, argv + n_read, args);
    free(args);
    return code;
}

int main(int argc, char **argv)
{
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM"),
               *nvrtc = getenv("PARO_NVRTC"), *device = getenv("PARO_DEVICE");
    char *cache = cache_path(), *program = program_path();
    char *system_cache = system_cache_path(program);
    const paro_environment environment = {.no_color = no_color && *no_color,
                                          .dumb = term && strcmp(term, "dumb") == 0,
                                          .columns = environment_columns(),
                                          .cache = cache,
                                          .system_cache = system_cache,
                                          .device = device && *device ? device : NULL,
                                          .nvrtc = nvrtc && *nvrtc ? nvrtc : NULL,
                                          .program = program};
    paro_console console;

    if (!occupy_standard_streams())
        return PARO_EXIT_FAILED;
    paro_interrupt_install();
    paro_console_init(&console, &environment);
    if (!watch_stdout(&console)) {
        paro_console_error(&console, "out of memory");
        return PARO_EXIT_FAILED;
    }
    paro_exit code = run(&console, argc, argv);
    paro_progress_clear(&console.progress);

    /* Only here is it known whether standard output took everything. */
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) != 0 || failed) {
        paro_console_error(&console, "standard output could not be written: %s",
                           strerror(console.write_error));
        if (code == PARO_EXIT_DONE || code == PARO_EXIT_PARTLY)
            code = PARO_EXIT_FAILED;
    }
    free(cache);
    free(system_cache);
    free(program);
    exit(code); /* not return: the streams' last flush may still write to the console */
}
