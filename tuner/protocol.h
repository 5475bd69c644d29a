/* SPDX-License-Identifier: MIT
 *
 * What the tuner and its worker process say to each other, over one socket. Numbers are
 * little-endian.
 *
 *     frame    = magic "PTW1" (u32), type (u32), n_bytes (u32), sum (u32), payload [n_bytes]
 *     sum      = of the payload: low half of paro_hash_bytes
 *     payload  = fields in the order of the type's row below; text and bytes have a u32 length
 * first
 *
 *     OPEN     device (i32; -1: the emulator)                            -> OPENED or ERROR
 *     OPENED   the device's info, driver (text), clock (text), processes (u32)
 *     PROBE    is_ptx (u32), image (bytes)                               -> PROBED or ERROR
 *     PROBED   read_gbs (f64), clock (text): the one that proved to work
 *     PREPARE  problem, config (text), m (u32), seed (u64)               -> DONE or ERROR
 *     MEASURE  the same, n_samples, verify, is_ptx (u32), image (bytes)  -> ROW or ERROR
 *     ROW      a measurement, is_lost (u32: the device is, and the worker ends after this)
 *     ERROR    status (u32), message (text), is_lost (u32)
 *
 * Either side takes a frame that breaks these rules for the death of the other.
 */
#ifndef PARO_TUNER_PROTOCOL_H
#define PARO_TUNER_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/error.h"
#include "tuner/tuner.h"

typedef enum paro_wire_type {
    PARO_WIRE_OPEN = 1,
    PARO_WIRE_OPENED,
    PARO_WIRE_PROBE,
    PARO_WIRE_PROBED,
    PARO_WIRE_PREPARE,
    PARO_WIRE_DONE,
    PARO_WIRE_MEASURE,
    PARO_WIRE_ROW,
    PARO_WIRE_ERROR
} paro_wire_type;

/* Writing a payload: failures (memory) are remembered and reported by the send. */
typedef struct paro_wire_writer {
    paro_buffer buffer;
    bool out_of_memory;
} paro_wire_writer;
void paro_wire_put_u32(paro_wire_writer *w, uint32_t value);
void paro_wire_put_u64(paro_wire_writer *w, uint64_t value);
void paro_wire_put_f64(paro_wire_writer *w, double value);
void paro_wire_put_bytes(paro_wire_writer *w, const void *data, size_t n_bytes);
void paro_wire_put_text(paro_wire_writer *w, const char *text);
void paro_wire_put_device(paro_wire_writer *w, const paro_device_info *info);
void paro_wire_put_measurement(paro_wire_writer *w, const paro_measurement *m);

/* Reading one: past the end, or of a text that is too long, everything is zero and `is_bad`. */
typedef struct paro_wire_reader {
    const unsigned char *at;
    size_t n_left;
    bool is_bad;
} paro_wire_reader;
uint32_t paro_wire_get_u32(paro_wire_reader *r);
uint64_t paro_wire_get_u64(paro_wire_reader *r);
double paro_wire_get_f64(paro_wire_reader *r);
const void *paro_wire_get_bytes(paro_wire_reader *r, size_t *n_bytes); /* into the payload */
void paro_wire_get_text(paro_wire_reader *r, char *out, size_t capacity);
void paro_wire_get_device(paro_wire_reader *r, paro_device_info *out);
void paro_wire_get_measurement(paro_wire_reader *r, paro_measurement *out);
bool paro_wire_is_done(const paro_wire_reader *r); /* read to the end, and nothing was bad */

/* Sends type and payload (and empties the writer). deadline: paro_clock_seconds at which to give up
 * (0: never). IO where the other side is gone, LIMIT when the deadline came. */
paro_status paro_wire_send(paro_error *err, int fd, double deadline, paro_wire_type type,
                           paro_wire_writer *w);

/* Receives one frame into `payload` (replaced). NOT_FOUND: the other side closed the connection
 * between frames; LIMIT: the deadline came (what is there by then is received, however late it is
 * asked for); FORMAT: no frame. */
paro_status paro_wire_receive(paro_error *err, int fd, double deadline, paro_wire_type *type,
                              paro_buffer *payload);

#endif
