/* SPDX-License-Identifier: MIT
 *
 * All of paro's public API.
 */
#ifndef PARO_PARO_H
#define PARO_PARO_H

#include <paro/cache.h>
#include <paro/eval.h>
#include <paro/generate.h>
#include <paro/inspect.h>
#include <paro/kernel.h>
#include <paro/model.h>
#include <paro/observer.h>
#include <paro/quantize.h>
#include <paro/script.h>
#include <paro/status.h>
#include <paro/tokenizer.h>
#include <paro/tune.h>
#include <paro/version.h>

#endif
