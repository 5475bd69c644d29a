/* SPDX-License-Identifier: MIT
 *
 * Hashes, and an open-addressing table from names to numbers.
 */
#include "base/hash.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

uint64_t paro_hash_mix(uint64_t value)
{
    value = (value ^ (value >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ (value >> 27)) * UINT64_C(0x94d049bb133111eb);
    return value ^ (value >> 31);
}

uint64_t paro_hash_bytes(const void *data, size_t n_bytes)
{
    const unsigned char *bytes = data;
    uint64_t hash = paro_hash_mix(n_bytes + UINT64_C(0x9e3779b97f4a7c15));
    while (n_bytes >= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        hash = paro_hash_mix(hash ^ word) + UINT64_C(0x9e3779b97f4a7c15);
        bytes += 8;
        n_bytes -= 8;
    }
    if (n_bytes > 0) {
        uint64_t word = 0;
        memcpy(&word, bytes, n_bytes);
        hash = paro_hash_mix(hash ^ word);
    }
    return hash;
}

void paro_sha256_hex(const void *data, size_t n_bytes, char out[PARO_SHA256_HEX_BYTES])
{
    unsigned char digest[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(digest, data, n_bytes);
    sodium_bin2hex(out, PARO_SHA256_HEX_BYTES, digest, sizeof digest);
}

/* SipHash-2-4 (libsodium) under the map's secret: names come from files, which could otherwise
 * choose ones that collide. */
static uint64_t hash_name(const paro_map *map, const char *key, size_t n_bytes)
{
    unsigned char hash[crypto_shorthash_BYTES];
    uint64_t value;
    crypto_shorthash(hash, (const unsigned char *)key, n_bytes, map->secret);
    memcpy(&value, hash, sizeof value);
    return value;
}

/* The slot of the key, or the empty one where it would go. The table is never full. */
static paro_map_slot *find_slot(const paro_map *map, const char *key, size_t n_bytes, uint64_t hash)
{
    size_t mask = map->n_slots - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        paro_map_slot *slot = &map->slots[i];
        if (slot->key == NULL || (slot->hash == hash && slot->n_bytes == n_bytes &&
                                  memcmp(slot->key, key, n_bytes) == 0))
            return slot;
    }
}

bool paro_map_reserve(paro_map *map, size_t n_keys)
{
    if (n_keys > SIZE_MAX / (4 * sizeof *map->slots))
        return false;
    size_t n_slots = map->n_slots == 0 ? 16 : map->n_slots;
    while (n_slots / 4 * 3 < n_keys)
        n_slots *= 2;
    if (n_slots == map->n_slots)
        return true;
    if (map->n_slots == 0 && getrandom(map->secret, sizeof map->secret, 0) < 0)
        memcpy(map->secret, &map, sizeof map); /* no system call: the address is some secret too */
    paro_map bigger = *map;
    bigger.slots = calloc(n_slots, sizeof *bigger.slots);
    bigger.n_slots = n_slots;
    if (bigger.slots == NULL)
        return false;
    for (size_t i = 0; i < map->n_slots; i++) {
        const paro_map_slot *slot = &map->slots[i];
        if (slot->key != NULL)
            *find_slot(&bigger, slot->key, slot->n_bytes, slot->hash) = *slot;
    }
    free(map->slots);
    *map = bigger;
    return true;
}

bool paro_map_put(paro_map *map, const char *key, size_t n_bytes, uint32_t value, bool *was_there)
{
    if (n_bytes > UINT32_MAX || !paro_map_reserve(map, map->n_used + 1))
        return false;
    uint64_t hash = hash_name(map, key, n_bytes);
    paro_map_slot *slot = find_slot(map, key, n_bytes, hash);
    bool there = slot->key != NULL;
    if (!there) {
        *slot = (paro_map_slot){key, (uint32_t)n_bytes, value, hash};
        map->n_used++;
    }
    slot->value = value;
    if (was_there != NULL)
        *was_there = there;
    return true;
}

bool paro_map_get(const paro_map *map, const char *key, size_t n_bytes, uint32_t *value)
{
    if (map->n_slots == 0)
        return false;
    const paro_map_slot *slot = find_slot(map, key, n_bytes, hash_name(map, key, n_bytes));
    if (slot->key == NULL)
        return false;
    if (value != NULL)
        *value = slot->value;
    return true;
}

void paro_map_free(paro_map *map)
{
    if (map == NULL)
        return;
    free(map->slots);
    memset(map, 0, sizeof *map);
}
