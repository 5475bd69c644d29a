/* SPDX-License-Identifier: MIT
 *
 * See protocol.h.
 */
#include "tuner/protocol.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"

enum { MAGIC = 0x31575450, HEADER_BYTES = 16, MOST_PAYLOAD_BYTES = 256 << 20 };

/* ---- payloads ---------------------------------------------------------------------------------
 */

static void put(paro_wire_writer *w, const void *data, size_t n_bytes)
{
    if (!paro_buffer_append(&w->buffer, data, n_bytes))
        w->out_of_memory = true;
}

static void encode(unsigned char *out, uint64_t value, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; i++)
        out[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t decode(const unsigned char *in, size_t n_bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n_bytes; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

void paro_wire_put_u32(paro_wire_writer *w, uint32_t value)
{
    unsigned char bytes[4];
    encode(bytes, value, 4);
    put(w, bytes, 4);
}

void paro_wire_put_u64(paro_wire_writer *w, uint64_t value)
{
    unsigned char bytes[8];
    encode(bytes, value, 8);
    put(w, bytes, 8);
}

void paro_wire_put_f64(paro_wire_writer *w, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    paro_wire_put_u64(w, bits);
}

void paro_wire_put_bytes(paro_wire_writer *w, const void *data, size_t n_bytes)
{
    paro_wire_put_u32(w, (uint32_t)n_bytes);
    put(w, data, n_bytes);
}

void paro_wire_put_text(paro_wire_writer *w, const char *text)
{
    paro_wire_put_bytes(w, text, strlen(text));
}

static const unsigned char *take(paro_wire_reader *r, size_t n_bytes)
{
    if (r->is_bad || n_bytes > r->n_left) {
        r->is_bad = true;
        return NULL;
    }
    const unsigned char *at = r->at;
    r->at += n_bytes;
    r->n_left -= n_bytes;
    return at;
}

uint32_t paro_wire_get_u32(paro_wire_reader *r)
{
    const unsigned char *at = take(r, 4);
    return at != NULL ? (uint32_t)decode(at, 4) : 0;
}

uint64_t paro_wire_get_u64(paro_wire_reader *r)
{
    const unsigned char *at = take(r, 8);
    return at != NULL ? decode(at, 8) : 0;
}

double paro_wire_get_f64(paro_wire_reader *r)
{
    uint64_t bits = paro_wire_get_u64(r);
    double value;
    memcpy(&value, &bits, sizeof value);
    if (!isfinite(value)) {
        r->is_bad = true;
        return 0;
    }
    return value;
}

const void *paro_wire_get_bytes(paro_wire_reader *r, size_t *n_bytes)
{
    size_t n = paro_wire_get_u32(r);
    const void *at = take(r, n);
    *n_bytes = at != NULL ? n : 0;
    return at;
}

void paro_wire_get_text(paro_wire_reader *r, char *out, size_t capacity)
{
    size_t n_bytes = 0;
    const void *at = paro_wire_get_bytes(r, &n_bytes);
    out[0] = '\0';
    if (at == NULL)
        return;
    if (n_bytes >= capacity || memchr(at, 0, n_bytes) != NULL) {
        r->is_bad = true;
        return;
    }
    memcpy(out, at, n_bytes);
    out[n_bytes] = '\0';
}

bool paro_wire_is_done(const paro_wire_reader *r)
{
    return !r->is_bad && r->n_left == 0;
}

void paro_wire_put_device(paro_wire_writer *w, const paro_device_info *info)
{
    paro_wire_put_text(w, info->name);
    paro_wire_put_u32(w, info->capability);
    paro_wire_put_u32(w, info->n_sms);
    paro_wire_put_u32(w, info->clock_mhz);
    paro_wire_put_u64(w, info->l2_bytes);
    paro_wire_put_u64(w, info->memory_bytes);
    paro_wire_put_u32(w, info->sm_shared_bytes);
    paro_wire_put_u32(w, info->max_shared_bytes);
    paro_wire_put_u32(w, info->bandwidth_gbs);
}

void paro_wire_get_device(paro_wire_reader *r, paro_device_info *out)
{
    memset(out, 0, sizeof *out);
    paro_wire_get_text(r, out->name, sizeof out->name);
    out->capability = paro_wire_get_u32(r);
    out->n_sms = paro_wire_get_u32(r);
    out->clock_mhz = paro_wire_get_u32(r);
    out->l2_bytes = paro_wire_get_u64(r);
    out->memory_bytes = paro_wire_get_u64(r);
    out->sm_shared_bytes = paro_wire_get_u32(r);
    out->max_shared_bytes = paro_wire_get_u32(r);
    out->bandwidth_gbs = paro_wire_get_u32(r);
}

void paro_wire_put_measurement(paro_wire_writer *w, const paro_measurement *m)
{
    paro_wire_put_u32(w, (uint32_t)m->state);
    paro_wire_put_text(w, m->reason);
    paro_wire_put_f64(w, m->median_us);
    paro_wire_put_f64(w, m->spread_us);
    paro_wire_put_f64(w, m->min_us);
    paro_wire_put_u32(w, m->n_samples);
    paro_wire_put_u32(w, m->clock_mhz);
    paro_wire_put_text(w, m->clock);
    paro_wire_put_f64(w, m->error);
    paro_wire_put_f64(w, m->occupancy);
}

void paro_wire_get_measurement(paro_wire_reader *r, paro_measurement *out)
{
    memset(out, 0, sizeof *out);
    uint32_t state = paro_wire_get_u32(r);
    if (state >= PARO_CANDIDATE_STATE_COUNT)
        r->is_bad = true;
    else
        out->state = (paro_candidate_state)state;
    paro_wire_get_text(r, out->reason, sizeof out->reason);
    out->median_us = paro_wire_get_f64(r);
    out->spread_us = paro_wire_get_f64(r);
    out->min_us = paro_wire_get_f64(r);
    out->n_samples = paro_wire_get_u32(r);
    out->clock_mhz = paro_wire_get_u32(r);
    paro_wire_get_text(r, out->clock, sizeof out->clock);
    out->error = paro_wire_get_f64(r);
    out->occupancy = paro_wire_get_f64(r);
}

/* ---- frames -----------------------------------------------------------------------------------
 */

/* Until fd is ready; LIMIT when the deadline comes. After it fd is looked at all the same: the
 * caller may have been busy while the answer came. */
static paro_status await(paro_error *err, int fd, short events, double deadline)
{
    while (deadline > 0) {
        double seconds = deadline - paro_clock_seconds();
        struct pollfd wait = {.fd = fd, .events = events};
        int n = poll(&wait, 1, (int)fmax(0, fmin(ceil(seconds * 1e3), 1e9)));
        if (n > 0)
            break;
        if (n == 0)
            return paro_fail(err, PARO_STATUS_LIMIT, "no answer in time");
        if (errno != EINTR)
            return paro_fail_errno(err, errno, "wait for", "another process");
    }
    return PARO_STATUS_OK;
}

static paro_status send_all(paro_error *err, int fd, double deadline, const void *data,
                            size_t n_bytes)
{
    const char *at = data;
    while (n_bytes > 0) {
        paro_status status = await(err, fd, POLLOUT, deadline);
        if (status != PARO_STATUS_OK)
            return status;
        ssize_t n = send(fd, at, n_bytes, MSG_NOSIGNAL | (deadline > 0 ? MSG_DONTWAIT : 0));
        if (n < 0 && errno == ENOTSOCK)
            n = write(fd, at, n_bytes);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (n <= 0)
            return paro_fail(err, PARO_STATUS_IO, "the other process is gone: %s", strerror(errno));
        at += n;
        n_bytes -= (size_t)n;
    }
    return PARO_STATUS_OK;
}

paro_status paro_wire_send(paro_error *err, int fd, double deadline, paro_wire_type type,
                           paro_wire_writer *w)
{
    unsigned char header[HEADER_BYTES];
    size_t n_bytes = w->buffer.n_bytes;
    paro_status status = PARO_STATUS_OK;
    if (w->out_of_memory || n_bytes > MOST_PAYLOAD_BYTES) {
        status = paro_fail_memory(err, n_bytes, "a message to another process");
        goto done;
    }
    encode(header, MAGIC, 4);
    encode(header + 4, (uint64_t)type, 4);
    encode(header + 8, n_bytes, 4);
    encode(header + 12, paro_hash_bytes(n_bytes > 0 ? w->buffer.data : "", n_bytes), 4);
    status = send_all(err, fd, deadline, header, sizeof header);
    if (status == PARO_STATUS_OK && n_bytes > 0)
        status = send_all(err, fd, deadline, w->buffer.data, n_bytes);
done:
    paro_buffer_free(&w->buffer);
    w->out_of_memory = false;
    return status;
}

static paro_status receive_all(paro_error *err, int fd, double deadline, void *out, size_t n_bytes)
{
    char *at = out;
    size_t n_left = n_bytes;
    while (n_left > 0) {
        paro_status status = await(err, fd, POLLIN, deadline);
        if (status != PARO_STATUS_OK)
            return status;
        ssize_t n = read(fd, at, n_left);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 && n_left == n_bytes)
            return paro_fail(err, PARO_STATUS_NOT_FOUND, "the other process closed the connection");
        if (n <= 0)
            return paro_fail(err, PARO_STATUS_IO, "the other process is gone");
        at += n;
        n_left -= (size_t)n;
    }
    return PARO_STATUS_OK;
}

paro_status paro_wire_receive(paro_error *err, int fd, double deadline, paro_wire_type *type,
                              paro_buffer *payload)
{
    unsigned char header[HEADER_BYTES];
    paro_status status = receive_all(err, fd, deadline, header, sizeof header);
    if (status != PARO_STATUS_OK)
        return status;
    uint32_t found = (uint32_t)decode(header + 4, 4);
    size_t n_bytes = (size_t)decode(header + 8, 4);
    if (decode(header, 4) != MAGIC || found < PARO_WIRE_OPEN || found > PARO_WIRE_ERROR ||
        n_bytes > MOST_PAYLOAD_BYTES)
        return paro_fail(err, PARO_STATUS_FORMAT,
                         "expected a frame of the tuner's protocol, found other bytes");
    paro_buffer_clear(payload);
    if (!paro_buffer_reserve(payload, n_bytes + 1))
        return paro_fail_memory(err, n_bytes, "a message of another process");
    status = receive_all(err, fd, deadline, payload->data, n_bytes);
    if (status == PARO_STATUS_NOT_FOUND && n_bytes > 0)
        return paro_fail(err, PARO_STATUS_IO, "the other process is gone");
    if (status != PARO_STATUS_OK)
        return status;
    payload->n_bytes = n_bytes;
    payload->data[n_bytes] = '\0';
    if ((uint32_t)paro_hash_bytes(payload->data, n_bytes) != (uint32_t)decode(header + 12, 4))
        return paro_fail(err, PARO_STATUS_FORMAT, "a frame's sum does not fit its bytes");
    *type = (paro_wire_type)found;
    return PARO_STATUS_OK;
}
