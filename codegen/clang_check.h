/* SPDX-License-Identifier: MIT
 *
 * The checker with a library of the caller's choice; for codegen.h's paro_checker_new, and for
 * tests of its absence.
 */
#ifndef PARO_CODEGEN_CLANG_CHECK_H
#define PARO_CODEGEN_CLANG_CHECK_H

#include "codegen/codegen.h"

/* `library` NULL: searched for. */
paro_status paro_checker_load(paro_error *err, const char *library, paro_checker **out);

#endif
