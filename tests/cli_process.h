/* SPDX-License-Identifier: MIT
 *
 * What tests of the program share: running it, and what it printed. Include after <cmocka.h> and
 * tests/support.h. PARO_CLI_PATH is the program's path.
 */
#ifndef PARO_TESTS_CLI_PROCESS_H
#define PARO_TESTS_CLI_PROCESS_H

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/wait.h>

#define DEMO_MODEL "models/demo"

typedef struct process {
    int code;  /* exit code, or 1000 + the signal that killed it */
    char *out; /* standard output, zero-terminated */
    char *err; /* standard error */
    size_t n_out;
} process;

static inline void process_free(process *p)
{
    free(p->out);
    free(p->err);
    *p = (process){0};
}

static inline int process_temporary_file(void)
{
    FILE *file = tmpfile();
    assert_non_null(file);
    int fd = dup(fileno(file));
    assert_true(fd >= 0);
    fclose(file);
    return fd;
}

static inline char *process_read_all(int fd, size_t *n_bytes)
{
    off_t size = lseek(fd, 0, SEEK_END);
    assert_true(size >= 0);
    char *text = calloc(1, (size_t)size + 1);
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)size, 0), size);
    close(fd);
    *n_bytes = (size_t)size;
    return text;
}

/* Starts the program with its standard streams at these descriptors; a negative one is closed.
 * `args` ends with NULL and does not hold the program's name. */
static inline pid_t process_start(const char *const *args, int in, int out, int err)
{
    const char *argv[40] = {"paro"};
    for (size_t i = 0; args[i]; i++) {
        assert_true(i + 2 < sizeof argv / sizeof argv[0]);
        argv[i + 1] = args[i];
    }
    fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int fds[] = {in, out, err};
        for (int i = 0; i < 3; i++)
            if (fds[i] >= 0)
                dup2(fds[i], i);
            else
                close(i);
        const char *threads = getenv("PARO_TEST_THREADS"); /* what a test sets for the program */
        unsetenv("PARO_THREADS");
        if (threads)
            setenv("PARO_THREADS", threads, 1);
        setenv("PARO_DEVICE", "cpu", 1); /* whatever this machine has */
        unsetenv("COLUMNS");
        unsetenv("NO_COLOR");
        setenv("TERM", "xterm", 1);
        union { /* execv promises not to change the strings */
            const char **from;
            char **to;
        } cast = {.from = argv};
        execv(PARO_CLI_PATH, cast.to);
        _exit(127);
    }
    return pid;
}

static inline int process_wait(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0)
        assert_int_equal(errno, EINTR);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* Runs the program to its end; `input` is its standard input. */
static inline process process_run_input(const char *const *args, const char *input, size_t n_input)
{
    int in = process_temporary_file(), out = process_temporary_file();
    int err = process_temporary_file();
    size_t n_err;
    process p = {0};

    assert_int_equal(write(in, input, n_input), (ssize_t)n_input);
    assert_int_equal(lseek(in, 0, SEEK_SET), 0);
    p.code = process_wait(process_start(args, in, out, err));
    close(in);
    p.out = process_read_all(out, &p.n_out);
    p.err = process_read_all(err, &n_err);
    return p;
}

#define RUN(...) process_run_input((const char *const[]){__VA_ARGS__, NULL}, "", 0)
#define RUN_INPUT(input, ...)                                                                      \
    process_run_input((const char *const[]){__VA_ARGS__, NULL}, input, strlen(input))

/* The exit code is as expected; or all that was printed is shown. */
#define assert_exit(p, expected)                                                                   \
    do {                                                                                           \
        if ((p).code != (expected))                                                                \
            fail_msg("exit code %d, expected %d\n-- stdout\n%s\n-- stderr\n%s", (p).code,          \
                     (int)(expected), (p).out, (p).err);                                           \
    } while (0)

#define assert_contains(text, words)                                                               \
    do {                                                                                           \
        if (strstr(text, words) == NULL)                                                           \
            fail_msg("expected '%s' in:\n%s", words, text);                                        \
    } while (0)

/* Standard output is one JSON document. */
static inline json_t *process_json(const process *p)
{
    json_error_t error;
    json_t *root = json_loadb(p->out, p->n_out, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    if (!root)
        fail_msg("standard output is not JSON: %s (line %d)\n%s", error.text, error.line, p->out);
    return root;
}

/* Runs with a usage error: code 2, nothing on standard output, and these words in the message. */
/* A pseudo-terminal: its master, and the side for the program in *slave. Where the machine has none
 * (a bare chroot) the test is skipped and says so. */
static inline int process_open_terminal(const char *test, int *slave)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        printf("SKIP %s: needs pseudo-terminals\n", test);
        fflush(stdout);
        skip();
    }
    fcntl(master, F_SETFD, FD_CLOEXEC);
    *slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(*slave >= 0);
    return master;
}

static inline void check_usage_error(const char *const *args, const char *words)
{
    process p = process_run_input(args, "", 0);
    assert_exit(p, 2);
    assert_string_equal(p.out, "");
    assert_int_equal(strncmp(p.err, "paro: error: ", 13), 0);
    assert_contains(p.err, words);
    process_free(&p);
}

#define USAGE_ERROR(words, ...) check_usage_error((const char *const[]){__VA_ARGS__, NULL}, words)

/* Quantises the demo model into `dir`, and makes a scale of its first linear NaN. */
static inline void write_damaged_model(const char *dir)
{
    static const char tensor[] = "model.layers.0.self_attn.q_proj.scales";
    process p = RUN("quantize", DEMO_MODEL, "-q", "-r", "rtn", "-o", dir);
    assert_exit(p, 0);
    process_free(&p);
    char *path = test_path(dir, "model.safetensors");
    int fd = open(path, O_RDWR);
    uint64_t n_header = 0;
    assert_int_equal(pread(fd, &n_header, 8, 0), 8);
    char *header = malloc((size_t)n_header);
    assert_int_equal(pread(fd, header, (size_t)n_header, 8), (ssize_t)n_header);
    json_t *root = json_loadb(header, (size_t)n_header, 0, NULL);
    json_t *offsets = json_object_get(json_object_get(root, tensor), "data_offsets");
    off_t at = 8 + (off_t)n_header + (off_t)json_integer_value(json_array_get(offsets, 0));
    assert_non_null(offsets);
    assert_int_equal(pwrite(fd, "\x00\x7e", 2, at), 2); /* NaN as F16 */
    close(fd);
    json_decref(root);
    free(header);
    free(path);
}

/* A text of some 800 tokens in `dir`; returns its path. */
static inline char *sample_text_file(const char *dir)
{
    static const char sentence[] =
        "The river runs past the old town, and the road follows it to the sea. In the morning the "
        "market opens; people come from the hills with apples, bread and news. ";
    char *text = calloc(15, sizeof sentence);
    assert_non_null(text);
    for (int i = 0; i < 15; i++)
        strcat(text, sentence);
    test_file_write(dir, "sample.txt", text, strlen(text));
    free(text);
    return test_path(dir, "sample.txt");
}

#endif
