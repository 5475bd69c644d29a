/* SPDX-License-Identifier: MIT
 *
 * Which channels are rotated with which: the pairs of a rotation.
 */
#ifndef PARO_CALIB_PAIRS_H
#define PARO_CALIB_PAIRS_H

#include "calib/train_linear.h"

typedef enum paro_pairs_kind {
    /* For every group and round, a random matching of all its channels in pairs that no round
     * before has. (The reference, v0.1.16, takes pairs greedily from one shuffled list of all; a
     * first round of that is as likely to be any matching as here. Its later rounds take what the
     * list has left, and their last pairs are at times missing. Here a slot is empty only where
     * chance leads into a corner that a few hundred attempts do not find out of, in rounds near
     * group_size - 1, the most there are; in later ones all are.) */
    PARO_PAIRS_KIND_RANDOM,
    /* The paper's text (section 3): a group's pairs ranked by the difference of their channels'
     * magnitudes in the weight (mean |w| times s), the top 10 % taken greedily, disjoint within a
     * round and none in two; the rest of a round's slots are empty. */
    PARO_PAIRS_KIND_MAGNITUDE,
    /* Round r pairs channel i with i XOR 2^(r mod log2 group_size): a whole group is mixed in
     * log2 group_size rounds. group_size is a power of two. */
    PARO_PAIRS_KIND_BUTTERFLY
} paro_pairs_kind;

const char *paro_pairs_kind_name(paro_pairs_kind kind);
paro_status paro_pairs_kind_parse(paro_error *err, const char *name, paro_pairs_kind *out);

/* Sets linear->pairs for its krot; theta becomes 0. The same seed gives the same pairs everywhere.
 */
paro_status paro_pairs_make(paro_error *err, paro_pool *pool, paro_train_linear *linear,
                            paro_pairs_kind kind, uint64_t seed);

#endif
