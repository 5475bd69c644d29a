/* SPDX-License-Identifier: MIT
 *
 * paro lua: scripts, and a prompt.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <paro/script.h>

#include "cli/command.h"
#include "cli/device.h"
#include "cli/input.h"
#include "cli/interrupt.h"

typedef struct lua_args {
    paro_global_args global;
    paro_strings code;
    bool allow_io;
    uint64_t memory_bytes;
    const char *device;
    paro_strings arguments; /* of the script */
} lua_args;

static const paro_option options[] = {
    {.name = "execute",
     .letter = 'e',
     .kind = PARO_OPTION_STRINGS,
     .offset = offsetof(lua_args, code),
     .argument = "CODE",
     .help = "run CODE, before SCRIPT where there is one; may be given again"},
    {.name = "allow-io",
     .kind = PARO_OPTION_FLAG,
     .offset = offsetof(lua_args, allow_io),
     .help = "let the script open and write files, checkpoints among them, and so its recipes"},
    {.name = "memory",
     .kind = PARO_OPTION_BYTES,
     .offset = offsetof(lua_args, memory_bytes),
     .argument = "SIZE",
     .min = 1,
     .max = 9007199254740992.0,
     .help = "the most that the script's values may take, and as much again for its tensors "
             "(default: no limit)"},
    {.name = "device",
     .kind = PARO_OPTION_STRING,
     .offset = offsetof(lua_args, device),
     .argument = PARO_DEVICE_ARGUMENT,
     .help = PARO_DEVICE_HELP},
    {0}};

/* What the script prints is data. Shown at once: a script may take hours. */
static bool print(void *context, const char *text, size_t n_bytes)
{
    paro_console_pause(context);
    return fwrite(text, 1, n_bytes, stdout) == n_bytes && fflush(stdout) == 0;
}

/* ---- the prompt ---- */

/* The text so far: complete lines. */
typedef struct prompt {
    char *text;
    size_t n_bytes;
} prompt;

static bool add_line(prompt *p, const char *line, size_t n_bytes)
{
    char *text = realloc(p->text, p->n_bytes + n_bytes + 1);

    if (!text)
        return false;
    memcpy(text + p->n_bytes, line, n_bytes);
    p->n_bytes += n_bytes;
    text[p->n_bytes] = '\0';
    p->text = text;
    return true;
}

static void forget(prompt *p)
{
    free(p->text);
    *p = (prompt){0};
}

/* Runs what there is, or leaves it for more lines. Errors are said. */
static void run_lines(paro_console *console, paro_script *script, prompt *p)
{
    bool is_incomplete = false;
    paro_error err;
    paro_status status = paro_script_run_lines(&err, script, p->text, p->n_bytes, &is_incomplete);

    if (status != PARO_STATUS_OK)
        paro_console_fail(console, &err);
    if (!is_incomplete)
        forget(p);
    paro_console_pause(console);
}

/* Ctrl-D ends it, with what was begun. */
static paro_exit run_prompt(paro_console *console, paro_script *script)
{
    prompt p = {0};
    char *line = NULL;
    size_t n_allocated = 0;
    paro_exit code = PARO_EXIT_DONE;

    paro_console_info(console, "paro %s: Lua 5.4 with models; docs/scripts.md; Ctrl-D ends it",
                      paro_version());
    for (;;) {
        fputs(p.text ? ">> " : "> ", stderr);
        if (!paro_interrupt_wait(STDIN_FILENO)) {
            fputs("\n", stderr);
            forget(&p);
            if (paro_interrupt_reset())
                continue;
            code = PARO_EXIT_INTERRUPTED;
            break;
        }
        ssize_t n = getline(&line, &n_allocated, stdin); /* a terminal gives one at a time */
        if (n < 0)
            break;
        if (!add_line(&p, line, (size_t)n)) {
            paro_console_error(console, "out of memory for the line");
            code = PARO_EXIT_FAILED;
            break;
        }
        run_lines(console, script, &p);
        if (paro_interrupt_wanted() && !paro_interrupt_reset()) {
            code = PARO_EXIT_INTERRUPTED;
            break;
        }
    }
    if (code == PARO_EXIT_DONE)
        fputs("\n", stderr);
    forget(&p);
    free(line);
    return code;
}

/* ---- scripts ---- */

static paro_exit run_stdin(paro_console *console, paro_script *script)
{
    char *text = NULL;
    size_t n_bytes = 0;
    paro_error err;
    paro_exit code = PARO_EXIT_DONE;

    if (paro_input_read(&err, "-", &text, &n_bytes) != PARO_STATUS_OK ||
        paro_script_run_text(&err, script, "stdin", text, n_bytes) != PARO_STATUS_OK)
        code = paro_console_fail(console, &err);
    free(text);
    return code;
}

static void hint_scripts(paro_console *console)
{
    char names[256] = "";
    size_t n = 0;

    for (size_t i = 0; paro_script_shipped(i) && n < sizeof names; i++)
        n += (size_t)snprintf(names + n, sizeof names - n, "%s%s", i ? ", " : "",
                              paro_script_shipped(i));
    paro_console_hint(console, "scripts that come with paro: %s", names);
}

static paro_exit run_script(paro_console *console, paro_script *script, const char *path)
{
    paro_error err;

    if (path && strcmp(path, "-") != 0) {
        if (paro_script_run_file(&err, script, path) == PARO_STATUS_OK)
            return PARO_EXIT_DONE;
        paro_exit code = paro_console_fail(console, &err);
        if (err.status == PARO_STATUS_NOT_FOUND)
            hint_scripts(console);
        return code;
    }
    return path || !isatty(STDIN_FILENO) ? run_stdin(console, script) : run_prompt(console, script);
}

static paro_exit run(paro_console *console, const void *args, const paro_strings *positional)
{
    const lua_args *a = args;
    const char *path = positional->n_items > 0 ? positional->items[0] : NULL;
    const paro_model_options model = paro_console_model_options(console, a->device);
    const paro_script_options o = {.allow_io = a->allow_io,
                                   .memory_bytes = a->memory_bytes,
                                   .name = path,
                                   .arguments = a->arguments.items,
                                   .n_arguments = a->arguments.n_items,
                                   .model = &model,
                                   .print = print,
                                   .print_context = console,
                                   .observer = &console->observer};
    paro_script *script = NULL;
    paro_exit code = PARO_EXIT_DONE;
    paro_error err;

    if (paro_script_new(&err, &o, &script) != PARO_STATUS_OK)
        return paro_console_fail(console, &err);
    for (size_t i = 0; i < a->code.n_items && code == PARO_EXIT_DONE; i++)
        if (paro_script_run_text(&err, script, "-e", a->code.items[i], strlen(a->code.items[i])) !=
            PARO_STATUS_OK)
            code = paro_console_fail(console, &err);
    if (code == PARO_EXIT_DONE && (path || a->code.n_items == 0))
        code = run_script(console, script, path);
    paro_script_free(script);
    return code;
}

const paro_command paro_command_lua = {
    .name = "lua",
    .synopsis = "[OPTION]... [SCRIPT [ARGUMENT]...]",
    .summary = "run a script that quantises and measures models, or a prompt",
    .details = "SCRIPT is a Lua file, '-' for standard input, or the name of a script that comes "
               "with paro, such as ablation; what follows it is for the script. Without SCRIPT and "
               "CODE it is a prompt on a terminal, else standard input. Scripts have all that "
               "recipes have, and the table paro: docs/scripts.md.",
    .options = options,
    .args_bytes = sizeof(lua_args),
    .max_positional = 1,
    .has_rest = true,
    .rest_offset = offsetof(lua_args, arguments),
    .options_first = true,
    .run = run};
