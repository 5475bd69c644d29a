/* SPDX-License-Identifier: MIT
 *
 * embed: rows of the embedding table to the residual stream (templates/embed.cu).
 */
#ifndef PARO_FAMILIES_EMBED_H
#define PARO_FAMILIES_EMBED_H

#include "families/family.h"

enum { PARO_EMBED_ARG_IDS, PARO_EMBED_ARG_TABLE, PARO_EMBED_ARG_RESIDUAL };

extern const paro_family paro_family_embed;

#endif
