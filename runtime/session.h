/* SPDX-License-Identifier: MIT
 *
 * What the rest of the runtime asks of a session besides include/paro/model.h.
 */
#ifndef PARO_RUNTIME_SESSION_H
#define PARO_RUNTIME_SESSION_H

#include <paro/model.h>

const paro_model *paro_session_model(const paro_session *session);

/* Tokens that can still be read. */
uint32_t paro_session_room(const paro_session *session);

#endif
