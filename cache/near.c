/* SPDX-License-Identifier: MIT
 *
 * What is near. The rules are in near.h.
 */
#include "cache/near.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "families/family.h"

typedef struct near_key {
    const char *name;
    double weight;
    double limit; /* of |log2| */
} near_key;

static const near_key near_keys[] = {{"m", 1, 2},   {"ctx", 0.25, INFINITY}, {"n", 4, 0.5},
                                     {"k", 4, 0.5}, {"h", 4, 0.5},           {"vocab", 4, 0.5}};

static double ratio(double a, double b)
{
    if (a == b)
        return 0;
    return a > 0 && b > 0 ? fabs(log2(a / b)) : INFINITY;
}

double paro_cache_problem_distance(const paro_problem *a, const paro_problem *b)
{
    if (a->family != b->family || a->n_parts != b->n_parts)
        return INFINITY;
    double distance = 0;
    for (size_t i = 0; a->family->keys[i].name != NULL; i++) {
        if (a->values[i] == b->values[i])
            continue;
        const near_key *near = NULL;
        for (size_t k = 0; k < sizeof near_keys / sizeof near_keys[0]; k++)
            if (strcmp(near_keys[k].name, a->family->keys[i].name) == 0)
                near = &near_keys[k];
        if (a->family->keys[i].kind != PARO_KEY_INTEGER || near == NULL)
            return INFINITY;
        double d = ratio((double)a->values[i], (double)b->values[i]);
        if (!(d <= near->limit))
            return INFINITY;
        distance += near->weight * d;
    }
    return distance;
}

typedef struct device_class {
    unsigned capability, n_sms, l2_mib, shared_kib;
    int bandwidth;
} device_class;

static bool parse_class(const char *text, device_class *out)
{
    static const char *const before[] = {"cc", "-sm", "-l2_", "-smem", "-bw"};
    unsigned long numbers[5];
    for (size_t i = 0; i < 5; i++) {
        const size_t n = strlen(before[i]);
        if (strncmp(text, before[i], n) != 0 || text[n] < '0' || text[n] > '9')
            return false;
        char *end;
        numbers[i] = strtoul(text + n, &end, 10);
        if (numbers[i] > 999999999)
            return false;
        text = end;
    }
    *out = (device_class){(unsigned)numbers[0], (unsigned)numbers[1], (unsigned)numbers[2],
                          (unsigned)numbers[3], (int)numbers[4]};
    return *text == 0;
}

double paro_cache_class_distance(const char *a, const char *b)
{
    device_class x, y;
    if (!parse_class(a, &x) || !parse_class(b, &y) || x.capability != y.capability)
        return INFINITY;
    /* + 1: a cache or memory of size 0 is near a small one */
    return ratio(x.n_sms + 1.0, y.n_sms + 1.0) + ratio(x.l2_mib + 1.0, y.l2_mib + 1.0) +
           ratio(x.shared_kib + 1.0, y.shared_kib + 1.0) +
           fabs((double)x.bandwidth - y.bandwidth) / 4;
}

int paro_cache_target_rank(const char *target, uint32_t capability)
{
    enum { PTX = 1000, TEGRA = 87 };
    const bool is_ptx = strncmp(target, "compute_", 8) == 0;
    if (!is_ptx && strncmp(target, "sm_", 3) != 0)
        return -1;
    const char *digits = target + (is_ptx ? 8 : 3);
    if (*digits < '1' || *digits > '9')
        return -1;
    char *end;
    unsigned long of = strtoul(digits, &end, 10);
    if (of > capability)
        return -1;
    if (is_ptx)
        return *end == 0 ? PTX + (int)(capability - of) : -1;
    if (strcmp(end, "a") == 0)
        return of == capability ? 0 : -1;
    if (of != capability && (of == TEGRA || capability == TEGRA))
        return -1;
    return *end == 0 && of / 10 == capability / 10 ? (int)(capability - of) : -1;
}
