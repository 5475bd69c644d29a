/* SPDX-License-Identifier: MIT
 *
 * The files of a model folder that go along unchanged: tokenizer, generation settings, licence.
 */
#ifndef PARO_CALIB_CARRY_H
#define PARO_CALIB_CARRY_H

#include <stdbool.h>

#include "base/error.h"

/* Whether a file of this name is carried over; see the table in carry.c. */
bool paro_carry_wants(const char *name);

/* Copies them byte for byte from folder to folder. A symbolic link is followed. */
paro_status paro_carry_files(paro_error *err, const char *from_dir, const char *to_dir);

#endif
