/* SPDX-License-Identifier: MIT
 *
 * See property.h.
 */
#include "tokenizer/property.h"

#include <stdio.h>
#include <string.h>

#include "tokenizer/unicode_supplement.h"

enum { N_SUPPLEMENT = sizeof(unicode_supplement) / sizeof(*unicode_supplement) };

/* Long names of general categories, and properties that both know by the same name. */
static const struct {
    const char *from;
    const char *to;
} names[] = {
    {"Letter", "L"},
    {"Uppercase_Letter", "Lu"},
    {"Lowercase_Letter", "Ll"},
    {"Titlecase_Letter", "Lt"},
    {"Modifier_Letter", "Lm"},
    {"Other_Letter", "Lo"},
    {"Mark", "M"},
    {"Nonspacing_Mark", "Mn"},
    {"Spacing_Mark", "Mc"},
    {"Enclosing_Mark", "Me"},
    {"Number", "N"},
    {"Decimal_Number", "Nd"},
    {"Letter_Number", "Nl"},
    {"Other_Number", "No"},
    {"Punctuation", "P"},
    {"Connector_Punctuation", "Pc"},
    {"Dash_Punctuation", "Pd"},
    {"Open_Punctuation", "Ps"},
    {"Close_Punctuation", "Pe"},
    {"Initial_Punctuation", "Pi"},
    {"Final_Punctuation", "Pf"},
    {"Other_Punctuation", "Po"},
    {"Symbol", "S"},
    {"Math_Symbol", "Sm"},
    {"Currency_Symbol", "Sc"},
    {"Modifier_Symbol", "Sk"},
    {"Other_Symbol", "So"},
    {"Separator", "Z"},
    {"Space_Separator", "Zs"},
    {"Line_Separator", "Zl"},
    {"Paragraph_Separator", "Zp"},
    {"Other", "C"},
    {"Control", "Cc"},
    {"Format", "Cf"},
    {"Alphabetic", "Alphabetic"},
    {"Uppercase", "Uppercase"},
    {"Lowercase", "Lowercase"},
    {"White_Space", "White_Space"},
    {"Emoji", "Emoji"},
    {"Emoji_Presentation", "Emoji_Presentation"},
    {"Extended_Pictographic", "Extended_Pictographic"},
    {"Ideographic", "Ideographic"},
    {"Any", "Any"},
};

const char *paro_property_name(const char *name, char out[PARO_PROPERTY_NAME_BYTES])
{
    if (strlen(name) <= 2) {
        snprintf(out, PARO_PROPERTY_NAME_BYTES, "%s", name);
        return out;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        if (strcmp(name, names[i].from) == 0) {
            snprintf(out, PARO_PROPERTY_NAME_BYTES, "%s", names[i].to);
            return out;
        }
    }
    snprintf(out, PARO_PROPERTY_NAME_BYTES, "sc:%.*s", PARO_PROPERTY_NAME_BYTES - 4, name);
    return out;
}

static bool has_property(const unicode_range *range, const char *name)
{
    if (strlen(name) <= 2)
        return strncmp(range->category, name, strlen(name)) == 0;
    return (range->is_alphabetic && strcmp(name, "Alphabetic") == 0) ||
           (range->is_han && strcmp(name, "sc:Han") == 0);
}

bool paro_property_append(paro_buffer *out, const char *name)
{
    if (!paro_buffer_printf(out, "\\p{%s}", name))
        return false;
    for (size_t i = 0; i < N_SUPPLEMENT; i++) {
        const unicode_range *range = &unicode_supplement[i];

        if (has_property(range, name) &&
            !paro_buffer_printf(out, "\\x{%x}-\\x{%x}", (unsigned)range->first,
                                (unsigned)range->last))
            return false;
    }
    return true;
}

bool paro_property_append_word(paro_buffer *out)
{
    static const char *const properties[] = {"Alphabetic", "M", "Nd", "Pc"};

    if (!paro_buffer_append_text(out, "\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"))
        return false;
    for (size_t i = 0; i < sizeof(properties) / sizeof(*properties); i++) {
        if (!paro_property_append(out, properties[i]))
            return false;
    }
    return true;
}
