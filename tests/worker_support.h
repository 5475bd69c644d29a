/* SPDX-License-Identifier: MIT
 *
 * A worker process for tests: the test program itself, run again. It speaks the tuner's protocol
 * and measures nothing: times are made up from the config, and some configs go wrong as told.
 *
 *     PROGRAM --test-worker LOG [FAULT TEXT]…
 *
 * Every MEASURE appends a byte to LOG (unless it is "-"). A config whose text contains TEXT meets
 * the FAULT: crash, hang, garbage, short, silent-exit, lost, lost-early (an error), wrong, nan,
 * slow (20 ms), no-data (crashes while preparing). A FAULT `clock` has the probe find the clock
 * TEXT, and `capability` is the device's.
 */
#ifndef PARO_TESTS_WORKER_SUPPORT_H
#define PARO_TESTS_WORKER_SUPPORT_H

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "families/family.h"
#include "tuner/protocol.h"

static inline double test_worker_us(const char *problem, const char *config)
{
    char text[PARO_PROBLEM_TEXT_BYTES + PARO_KERNEL_CONFIG_TEXT_BYTES];
    snprintf(text, sizeof text, "%s %s", problem, config);
    char hex[PARO_SHA256_HEX_BYTES];
    paro_sha256_hex(text, strlen(text), hex);
    unsigned value = 0;
    sscanf(hex, "%6x", &value);
    return 5 + 20 * (double)value / 0x1000000;
}

static inline const char *test_worker_fault(char **faults, const char *config)
{
    for (; faults[0] != NULL && faults[1] != NULL; faults += 2)
        if (strstr(config, faults[1]) != NULL)
            return faults[0];
    return "";
}

static inline void test_worker_measure(paro_wire_reader *r, char **arguments)
{
    char problem[PARO_PROBLEM_TEXT_BYTES], config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_wire_writer w = {0};
    paro_measurement m;
    memset(&m, 0, sizeof m);
    paro_wire_get_text(r, problem, sizeof problem);
    paro_wire_get_text(r, config, sizeof config);
    paro_wire_get_u32(r);
    uint64_t seed = paro_wire_get_u64(r);
    uint32_t n_samples = paro_wire_get_u32(r);
    const char *fault = test_worker_fault(arguments + 1, config);
    FILE *log = strcmp(arguments[0], "-") == 0 ? NULL : fopen(arguments[0], "ab");
    if (log != NULL) {
        fputc('x', log);
        fclose(log);
    }
    if (strcmp(fault, "crash") == 0) {
        signal(SIGSEGV, SIG_DFL); /* whatever a sanitizer does with it */
        raise(SIGSEGV);
    }
    if (strcmp(fault, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(fault, "silent-exit") == 0)
        exit(3);
    if (strcmp(fault, "garbage") == 0) {
        if (write(1, "a line that some library printed\n", 33) != 33)
            exit(4);
        return;
    }
    if (strcmp(fault, "short") == 0) {
        if (write(1, "PTW1\10\0\0\0\377\0\0\0", 12) != 12)
            exit(4);
        exit(0);
    }
    if (strcmp(fault, "lost-early") == 0) {
        paro_wire_put_u32(&w, PARO_STATUS_IO);
        paro_wire_put_text(&w, "cuda:0 is lost");
        paro_wire_put_u32(&w, 1);
        if (paro_wire_send(NULL, 1, 0, PARO_WIRE_ERROR, &w) != PARO_STATUS_OK)
            exit(5);
        exit(0);
    }
    if (strcmp(fault, "slow") == 0)
        usleep(20000);
    m.state = PARO_CANDIDATE_TIMED;
    m.median_us = test_worker_us(problem, config) * (1 + (double)(seed % 7) * 1e-4);
    m.min_us = m.median_us * 0.99;
    m.spread_us = m.median_us * 0.004;
    m.n_samples = n_samples;
    m.clock_mhz = 1980;
    m.occupancy = 0.5;
    snprintf(m.clock, sizeof m.clock, "host");
    if (strcmp(fault, "wrong") == 0) {
        m.state = PARO_CANDIDATE_WRONG;
        snprintf(m.reason, sizeof m.reason, "y[3]: expected 1, found 2");
    }
    if (strcmp(fault, "lost") == 0) {
        m.state = PARO_CANDIDATE_CRASHED;
        snprintf(m.reason, sizeof m.reason, "an illegal address");
    }
    if (strcmp(fault, "nan") == 0)
        m.median_us = 0.0 / (m.error * 0);
    paro_wire_put_measurement(&w, &m);
    paro_wire_put_u32(&w, strcmp(fault, "lost") == 0);
    if (paro_wire_send(NULL, 1, 0, PARO_WIRE_ROW, &w) != PARO_STATUS_OK)
        exit(5);
    if (strcmp(fault, "lost") == 0)
        exit(0);
}

static inline const char *test_worker_setting(char **faults, const char *name, const char *fallback)
{
    for (; faults[0] != NULL && faults[1] != NULL; faults += 2)
        if (strcmp(faults[0], name) == 0)
            return faults[1];
    return fallback;
}

static inline void test_worker_prepare(paro_wire_reader *r, char **arguments)
{
    char problem[PARO_PROBLEM_TEXT_BYTES], config[PARO_KERNEL_CONFIG_TEXT_BYTES];
    paro_wire_get_text(r, problem, sizeof problem);
    paro_wire_get_text(r, config, sizeof config);
    if (strcmp(test_worker_fault(arguments + 1, config), "no-data") == 0)
        exit(6);
}

/* What main calls first: true where the program was run as a worker, which then has ended. */
static inline bool test_worker_main(int argc, char **argv)
{
    paro_buffer payload = {0};
    paro_wire_type type;
    if (argc < 3 || strcmp(argv[1], "--test-worker") != 0)
        return false;
    while (paro_wire_receive(NULL, 0, 0, &type, &payload) == PARO_STATUS_OK) {
        paro_wire_reader r = {(const unsigned char *)payload.data, payload.n_bytes, false};
        paro_wire_writer w = {0};
        paro_device_info info;
        if (type == PARO_WIRE_MEASURE) {
            test_worker_measure(&r, argv + 2);
            continue;
        }
        if (type == PARO_WIRE_OPEN) {
            paro_device_typical(paro_arch_find("sm_90"), &info);
            info.capability = (unsigned)atoi(test_worker_setting(argv + 3, "capability", "90"));
            paro_wire_put_device(&w, &info);
            paro_wire_put_text(&w, "none");
            paro_wire_put_text(&w, "host");
            paro_wire_put_u32(&w, 0);
        } else if (type == PARO_WIRE_PROBE) {
            paro_wire_put_f64(&w, 1000);
            paro_wire_put_text(&w, test_worker_setting(argv + 3, "clock", "host"));
        } else if (type == PARO_WIRE_PREPARE) {
            test_worker_prepare(&r, argv + 2);
        }
        if (paro_wire_send(NULL, 1, 0, (paro_wire_type)(type + 1), &w) != PARO_STATUS_OK)
            break;
    }
    paro_buffer_free(&payload);
    return true;
}

/* The path of the running program. */
static inline const char *test_program(void)
{
    static char path[4096];
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    path[n > 0 ? n : 0] = '\0';
    return path;
}

#endif
