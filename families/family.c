/* SPDX-License-Identifier: MIT
 *
 * The table of families; configs as text.
 */
#include "families/family.h"

#include <stdio.h>
#include <string.h>

#include "base/nearest.h"
#include "families/adamw.h"
#include "families/attention.h"
#include "families/attention_grad.h"
#include "families/attention_train.h"
#include "families/embed.h"
#include "families/fake_quant.h"
#include "families/fake_quant_grad.h"
#include "families/linear_16.h"
#include "families/linear_w4.h"
#include "families/norm.h"
#include "families/norm_grad.h"
#include "families/pack_w4.h"
#include "families/read.h"
#include "families/rope.h"
#include "families/rope_grad.h"
#include "families/rotate.h"
#include "families/sample.h"
#include "families/smooth_l1.h"
#include "families/swiglu.h"
#include "families/swiglu_grad.h"

/* One line for each; its header is families/NAME.h. NULL ends the table. */
static const paro_family *const families[] = {
    &paro_family_rotate,          &paro_family_linear_w4,      &paro_family_pack_w4,
    &paro_family_linear_16,       &paro_family_norm,           &paro_family_rope,
    &paro_family_attention,       &paro_family_swiglu,         &paro_family_embed,
    &paro_family_sample,          &paro_family_read,           &paro_family_fake_quant,
    &paro_family_fake_quant_grad, &paro_family_adamw,          &paro_family_smooth_l1,
    &paro_family_norm_grad,       &paro_family_swiglu_grad,    &paro_family_rope_grad,
    &paro_family_attention_train, &paro_family_attention_grad, NULL,
};

const paro_family *paro_family_get(size_t n)
{
    return n < sizeof families / sizeof families[0] ? families[n] : NULL;
}

const paro_family *paro_family_find(const char *name)
{
    for (size_t i = 0; families[i] != NULL; i++)
        if (strcmp(families[i]->name, name) == 0)
            return families[i];
    return NULL;
}

size_t paro_family_n_params(const paro_family *family)
{
    size_t n = 0;
    while (family->params[n].name != NULL)
        n++;
    return n;
}

size_t paro_family_n_args(const paro_family *family)
{
    size_t n = 0;
    while (family->args[n].name != NULL)
        n++;
    return n;
}

enum { VALUE_BYTES = 64 };

static void print_value(const paro_param *param, int32_t value, char out[VALUE_BYTES])
{
    if (param->choices != NULL)
        snprintf(out, VALUE_BYTES, "%s", param->choices[value]);
    else
        snprintf(out, VALUE_BYTES, "%d", (int)value);
}

void paro_kernel_config_print(const paro_family *family, const paro_kernel_config *config,
                              char out[PARO_KERNEL_CONFIG_TEXT_BYTES])
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; family->params[i].name != NULL; i++) {
        char value[VALUE_BYTES];
        print_value(&family->params[i], config->values[i], value);
        int written = snprintf(out + n, PARO_KERNEL_CONFIG_TEXT_BYTES - n, "%s%s=%s",
                               i == 0 ? "" : ",", family->params[i].name, value);
        if (written < 0 || (size_t)written >= PARO_KERNEL_CONFIG_TEXT_BYTES - n)
            return;
        n += (size_t)written;
    }
}

static const char *param_name(const void *context, size_t i)
{
    return ((const paro_param *)context)[i].name;
}

static paro_status read_value(paro_error *err, const paro_family *family, const paro_param *param,
                              const char *text, size_t n, int32_t *out)
{
    char allowed[512] = "";
    size_t n_allowed = 0;
    for (size_t i = 0; i < param->n_values; i++) {
        char value[VALUE_BYTES];
        print_value(param, param->values[i], value);
        if (strlen(value) == n && memcmp(value, text, n) == 0) {
            *out = param->values[i];
            return PARO_STATUS_OK;
        }
        int written = snprintf(allowed + n_allowed, sizeof allowed - n_allowed, "%s%s",
                               i == 0 ? "" : ", ", value);
        if (written > 0 && (size_t)written < sizeof allowed - n_allowed)
            n_allowed += (size_t)written;
    }
    return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                     "config of %s: %s (%s): expected one of %s, found \"%.*s\"", family->name,
                     param->name, param->help, allowed, (int)n, text);
}

/* One "param=value" of n bytes; seen: bit i for param i. */
static paro_status read_pair(paro_error *err, const paro_family *family, const char *pair, size_t n,
                             uint32_t *seen, paro_kernel_config *config)
{
    const char *equals = memchr(pair, '=', n);
    if (equals == NULL)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "config of %s: expected param=value, found \"%.*s\"", family->name, (int)n,
                         pair);
    size_t n_name = (size_t)(equals - pair), n_params = paro_family_n_params(family), at = 0;
    while (at < n_params && (strlen(family->params[at].name) != n_name ||
                             memcmp(family->params[at].name, pair, n_name) != 0))
        at++;
    if (at == n_params) {
        char word[64], names[256];
        snprintf(word, sizeof word, "%.*s", (int)n_name, pair);
        paro_nearest(names, sizeof names, word, n_params, param_name, family->params);
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "config of %s: it has no param \"%s\" (nearest: %s)", family->name, word,
                         names);
    }
    if ((*seen >> at & 1) != 0)
        return paro_fail(err, PARO_STATUS_INVALID_ARGUMENT,
                         "config of %s: expected every param once, found %s twice", family->name,
                         family->params[at].name);
    *seen |= 1U << at;
    return read_value(err, family, &family->params[at], equals + 1, n - n_name - 1,
                      &config->values[at]);
}

paro_status paro_kernel_config_parse(paro_error *err, const paro_family *family, const char *text,
                                     paro_kernel_config *config)
{
    paro_kernel_config read = *config;
    uint32_t seen = 0;
    if (*text == '\0')
        return PARO_STATUS_OK;
    for (const char *at = text;;) {
        size_t n = strcspn(at, ",");
        paro_status status = read_pair(err, family, at, n, &seen, &read);
        if (status != PARO_STATUS_OK)
            return status;
        if (at[n] == '\0')
            break;
        at += n + 1;
    }
    *config = read;
    return PARO_STATUS_OK;
}
