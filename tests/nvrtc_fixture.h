/* SPDX-License-Identifier: MIT
 *
 * NVRTC for the tests that compile: $PARO_NVRTC or what the library finds; where there is none, the
 * test is skipped and says so. Include after support.h.
 */
#ifndef PARO_TESTS_NVRTC_FIXTURE_H
#define PARO_TESTS_NVRTC_FIXTURE_H

#include "codegen/codegen.h"

static inline paro_nvrtc *test_nvrtc(const char *test)
{
    paro_error err;
    paro_nvrtc *nvrtc = NULL;
    paro_status status = paro_nvrtc_new(&err, getenv("PARO_NVRTC"), &nvrtc);
    if (status == PARO_STATUS_UNSUPPORTED) {
        printf("SKIP %s: needs NVRTC\n", test);
        fflush(stdout);
        skip();
    }
    assert_int_equal(status, PARO_STATUS_OK);
    return nvrtc;
}

#endif
