/* SPDX-License-Identifier: MIT */
#ifndef PARO_VERSION_H
#define PARO_VERSION_H

#ifdef __cplusplus
extern "C" {
#endif

#define PARO_VERSION "0.1.0"

/* The version of the library at run time, for example "0.1.0". */
const char *paro_version(void);

/* One line: which CPU kernels this machine uses. */
const char *paro_build_summary(void);

#ifdef __cplusplus
}
#endif
#endif
