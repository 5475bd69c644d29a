/* SPDX-License-Identifier: MIT
 *
 * A variant to its source: header comment, then the template with the family's holes filled.
 *
 * The header names the template, its hash and every hole: what the source is made from, and all of
 * it. Problem, config and arch reach the source through the holes only, so variants that differ in
 * nothing the code sees (buckets of m of an elementwise kernel, most archs) share one source, and
 * for one target one cubin. No dates, paths or versions: same inputs, same bytes.
 */
#include <stdio.h>
#include <string.h>

#include "codegen/codegen.h"
#include "codegen/expand.h"

paro_status paro_template_hash(paro_error *err, const paro_family *family,
                               char out[PARO_SHA256_HEX_BYTES])
{
    paro_buffer text = {0};
    paro_status status =
        paro_expand(err, paro_expand_read_embedded, NULL, family->template_name, NULL, &text);
    if (status == PARO_STATUS_OK)
        paro_sha256_hex(text.data, text.n_bytes, out);
    paro_buffer_free(&text);
    return status;
}

static bool put_header(const paro_family *family, const char *hash, const paro_holes *holes,
                       paro_buffer *out)
{
    bool fine = paro_buffer_printf(out,
                                   "// A kernel of paro's family %s, made from templates/%s by "
                                   "filling its holes.\n// template: %s\n",
                                   family->name, family->template_name, hash);
    for (size_t i = 0; i < holes->n && fine; i++)
        fine = paro_buffer_printf(out, "// hole: %s = %s\n", holes->list[i].name,
                                  holes->list[i].value);
    return fine;
}

paro_status paro_render(paro_error *err, const paro_variant *variant, paro_buffer *source)
{
    const paro_family *family = variant->problem->family;
    paro_holes holes = {0};
    paro_buffer text = {0};
    char hash[PARO_SHA256_HEX_BYTES];
    paro_status status = paro_template_hash(err, family, hash);
    if (status != PARO_STATUS_OK)
        goto done;
    status = paro_holes_make(err, variant->problem, variant->config, variant->arch, &holes);
    if (status != PARO_STATUS_OK)
        goto done;
    if (!put_header(family, hash, &holes, &text)) {
        status = paro_fail_memory(err, text.n_bytes, "a kernel's source");
        goto done;
    }
    status =
        paro_expand(err, paro_expand_read_embedded, NULL, family->template_name, &holes, &text);
    if (status == PARO_STATUS_OK && !paro_buffer_append(source, text.data, text.n_bytes))
        status = paro_fail_memory(err, text.n_bytes, "a kernel's source");
done:
    paro_buffer_free(&text);
    paro_holes_release(&holes);
    return status;
}

const char *paro_target_of(const char *source, const paro_arch *arch)
{
    static const char mark[] = "// needs: own";
    for (const char *line = source; line != NULL && arch->own_name != NULL;) {
        if (strncmp(line, mark, sizeof mark - 1) == 0)
            return arch->own_name;
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return arch->name;
}
