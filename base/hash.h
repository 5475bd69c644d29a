/* SPDX-License-Identifier: MIT
 *
 * Hashes: a fast one for tables, SHA-256 for identity, and a table from names to numbers.
 */
#ifndef PARO_BASE_HASH_H
#define PARO_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 64 bits, well mixed, not for untrusted collisions to matter and not to be stored. */
uint64_t paro_hash_bytes(const void *data, size_t n_bytes);

/* Mixes one 64-bit value (splitmix64's finaliser: Steele, Lea, Flood 2014). */
uint64_t paro_hash_mix(uint64_t value);

enum { PARO_SHA256_HEX_BYTES = 65 };

/* SHA-256 (FIPS 180-4, libsodium) as 64 lower-case hexadecimal digits and a zero. */
void paro_sha256_hex(const void *data, size_t n_bytes, char out[PARO_SHA256_HEX_BYTES]);

/* A table from byte strings to uint32_t. Keys are referenced, not copied: they must outlive the
 * table. Zero-initialised is empty and ready. */
typedef struct paro_map_slot {
    const char *key; /* NULL: empty */
    uint32_t n_bytes;
    uint32_t value;
    uint64_t hash;
} paro_map_slot;

typedef struct paro_map {
    unsigned char secret[16]; /* drawn anew for every map: no file can know which names collide */
    paro_map_slot *slots;
    size_t n_slots; /* 0 or a power of two */
    size_t n_used;
} paro_map;

/* Makes room for n_keys in all; false when out of memory. */
bool paro_map_reserve(paro_map *map, size_t n_keys);

/* Adds or replaces; *was_there (may be NULL) tells which. False when out of memory. */
bool paro_map_put(paro_map *map, const char *key, size_t n_bytes, uint32_t value, bool *was_there);

/* True, and *value where value is not NULL, if the key is there. */
bool paro_map_get(const paro_map *map, const char *key, size_t n_bytes, uint32_t *value);

void paro_map_free(paro_map *map);

#endif
