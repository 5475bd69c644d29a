/* SPDX-License-Identifier: MIT
 *
 * From Oniguruma's regular expressions to PCRE2's: one pass from left to right.
 *
 * What is written the same and means another thing (Oniguruma 6.9, ONIG_SYNTAX_RUBY, against PCRE2
 * 10.42 with UTF and UCP):
 *
 *     \s          White_Space; PCRE2 adds U+180E
 *     \w \b       Alphabetic, M, Nd, Pc and six Latin-1 digits and fractions; PCRE2: L, N and _
 *     \d          Nd in both, spelled out here all the same
 *     \h          a hexadecimal digit; PCRE2: horizontal space
 *     \v          U+000B; PCRE2: vertical space
 *     \p{Greek}   the script; PCRE2: the script's extensions too
 *     \p{Letter}  long names; PCRE2 has the short ones
 *     ^ $         at every line; PCRE2 with PCRE2_MULTILINE
 *     (?m)        . matches a line feed; PCRE2: (?s)
 *     {,3}        from 0 to 3; PCRE2 10.42: those four characters
 *     {2,3}+      the repetition repeated; PCRE2: possessive. Not handled.
 *     [a[bc]]     a set in a set; PCRE2: "[" as a character
 *     [a&&b]      the intersection. Not handled.
 *     (?i) in the middle of a branch: scoped differently. Not handled.
 *
 * Letters, digits and marks that Unicode gained after the version PCRE2 knows are added from
 * unicode_supplement.h, so that results do not depend on the installed PCRE2.
 */
#include "tokenizer/regex.h"

#include <stdbool.h>
#include <string.h>

#include "base/utf8.h"
#include "tokenizer/property.h"

enum { MAX_PATTERN_BYTES = 1 << 15, MAX_SET_DEPTH = 8, MAX_NAME_BYTES = 48 };

typedef struct rewriter {
    paro_error *err;
    const char *where;
    const char *text;
    size_t n_bytes;
    size_t at;
    size_t branch_start; /* where the current branch begins; options may only stand there */
    paro_buffer *out;
} rewriter;

static paro_status put(rewriter *r, const char *text, size_t n_bytes)
{
    if (!paro_buffer_append(r->out, text, n_bytes))
        return paro_fail_memory(r->err, n_bytes, "a pattern");
    return PARO_STATUS_OK;
}

static paro_status put_text(rewriter *r, const char *text)
{
    return put(r, text, strlen(text));
}

static paro_status unsupported(const rewriter *r, size_t from, const char *what)
{
    size_t n = r->n_bytes - from;

    return paro_fail(r->err, PARO_STATUS_UNSUPPORTED,
                     "%s: pattern: %s at byte %zu (\"%.*s\") is not supported", r->where, what,
                     from, n > 16 ? 16 : (int)n, r->text + from);
}

static paro_status broken(const rewriter *r, size_t from, const char *expected)
{
    return paro_fail(r->err, PARO_STATUS_FORMAT,
                     "%s: pattern: expected %s after byte %zu, found the end", r->where, expected,
                     from);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* The character `ahead` of the current one, 0 past the end. */
static char peek(const rewriter *r, size_t ahead)
{
    return r->n_bytes - r->at > ahead ? r->text[r->at + ahead] : '\0';
}

/* Members of \p{name} for inside a set. */
static paro_status put_property(rewriter *r, const char *name)
{
    if (!paro_property_append(r->out, name))
        return paro_fail_memory(r->err, strlen(name), "a pattern");
    return PARO_STATUS_OK;
}

/* Members of \w for inside a set. */
static paro_status put_word(rewriter *r)
{
    if (!paro_property_append_word(r->out))
        return paro_fail_memory(r->err, 0, "a pattern");
    return PARO_STATUS_OK;
}

/* After "\p" or "\P" at `from`: reads {Name} or {^Name}. Inside a set a negated property stands as
 * PCRE2 has it. */
static paro_status rewrite_property(rewriter *r, size_t from, bool negated, bool in_set)
{
    char name[MAX_NAME_BYTES];
    size_t n = 0;
    char resolved[PARO_PROPERTY_NAME_BYTES];
    const char *to;
    paro_status status;

    if (peek(r, 0) != '{')
        return unsupported(r, from, "a property without braces");
    r->at++;
    if (peek(r, 0) == '^') {
        negated = !negated;
        r->at++;
    }
    while (is_letter(peek(r, 0)) || is_digit(peek(r, 0)) || peek(r, 0) == '_') {
        if (n + 1 == sizeof(name))
            return unsupported(r, from, "a property's long name");
        name[n++] = r->text[r->at++];
    }
    name[n] = '\0';
    if (n == 0 || peek(r, 0) != '}')
        return unsupported(r, from, "a property's name");
    r->at++;
    to = paro_property_name(name, resolved);
    if (in_set && negated) {
        if (!paro_buffer_printf(r->out, "\\P{%s}", to))
            return paro_fail_memory(r->err, n, "a pattern");
        return PARO_STATUS_OK;
    }
    if (in_set)
        return put_property(r, to);
    status = put_text(r, negated ? "[^" : "[");
    if (status == PARO_STATUS_OK)
        status = put_property(r, to);
    return status == PARO_STATUS_OK ? put_text(r, "]") : status;
}

/* "\x41", "\x{41}", "\u0041" (`from` is the backslash, r->at after the letter). */
static paro_status rewrite_code_point(rewriter *r, size_t from, char kind)
{
    size_t start = r->at;
    size_t max_digits = kind == 'u' ? 4 : 2;
    bool braces = kind == 'x' && peek(r, 0) == '{';

    if (braces) {
        start = ++r->at;
        max_digits = 6;
    }
    while (r->at - start < max_digits && is_hex(peek(r, 0)))
        r->at++;
    if (r->at == start || (kind == 'u' && r->at - start != 4) || (braces && peek(r, 0) != '}') ||
        (kind == 'x' && !braces && r->text[start] > '7' && r->at - start == 2))
        return unsupported(r, from, "this code point");
    if (!paro_buffer_printf(r->out, "\\x{%.*s}", (int)(r->at - start), r->text + start))
        return paro_fail_memory(r->err, 16, "a pattern");
    if (braces)
        r->at++;
    return PARO_STATUS_OK;
}

/* What an escape letter stands for outside and inside a set; NULL where it cannot stand there. */
static const struct {
    char letter;
    const char *outside;
    const char *in_set;
} escapes[] = {
    {'s', "\\p{White_Space}", "\\p{White_Space}"},
    {'S', "\\P{White_Space}", "\\P{White_Space}"},
    {'h', "[0-9a-fA-F]", "0-9a-fA-F"},
    {'H', "[^0-9a-fA-F]", NULL},
    {'n', "\\n", "\\n"},
    {'r', "\\r", "\\r"},
    {'t', "\\t", "\\t"},
    {'f', "\\f", "\\f"},
    {'a', "\\a", "\\a"},
    {'e', "\\e", "\\e"},
    {'v', "\\x{b}", "\\x{b}"},
    {'A', "\\A", NULL},
    {'z', "\\z", NULL},
    {'Z', "\\Z", NULL},
    {'G', "\\G", NULL},
};

/* `open`, the members of \w, "]". */
static paro_status put_word_in(rewriter *r, const char *open)
{
    paro_status status = put_text(r, open);

    if (status == PARO_STATUS_OK)
        status = put_word(r);
    return status == PARO_STATUS_OK ? put_text(r, "]") : status;
}

/* A place where \w begins or ends, or (`boundary` false) any other. */
static paro_status put_boundary(rewriter *r, bool boundary)
{
    static const char *const parts[2][4] = {
        {"(?:(?<=[", ")(?=[", ")|(?<![", ")(?!["}, /* \B */
        {"(?:(?<=[", ")(?![", ")|(?<![", ")(?=["}, /* \b */
    };
    paro_status status = PARO_STATUS_OK;

    for (size_t i = 0; i < 4 && status == PARO_STATUS_OK; i++)
        status = put_word_in(r, parts[boundary][i]);
    return status == PARO_STATUS_OK ? put_text(r, "))") : status;
}

static paro_status put_property_in(rewriter *r, const char *open, const char *name)
{
    paro_status status = put_text(r, open);

    if (status == PARO_STATUS_OK)
        status = put_property(r, name);
    return status == PARO_STATUS_OK ? put_text(r, "]") : status;
}

/* The character `at` stands for itself. */
static paro_status put_literal(rewriter *r)
{
    size_t length;
    char first = r->text[r->at];
    paro_status status = PARO_STATUS_OK;

    (void)paro_utf8_next(r->text + r->at, r->n_bytes - r->at, &length);
    if (length == 1 && !is_letter(first) && !is_digit(first) && first != '\0')
        status = put(r, "\\", 1);
    if (status == PARO_STATUS_OK)
        status = put(r, r->text + r->at, length);
    r->at += length;
    return status;
}

/* What stands after a backslash (r->at is on it). */
static paro_status rewrite_escape(rewriter *r, bool in_set)
{
    size_t from = r->at++;
    char letter = peek(r, 0);

    if (r->at == r->n_bytes)
        return broken(r, from, "a character");
    if (!is_letter(letter) && !is_digit(letter))
        return put_literal(r);
    r->at++;
    for (size_t i = 0; i < sizeof(escapes) / sizeof(*escapes); i++) {
        const char *text = in_set ? escapes[i].in_set : escapes[i].outside;

        if (escapes[i].letter == letter && text != NULL)
            return put_text(r, text);
    }
    switch (letter) {
    case 'p':
    case 'P':
        return rewrite_property(r, from, letter == 'P', in_set);
    case 'x':
    case 'u':
        return rewrite_code_point(r, from, letter);
    case 'd':
        return in_set ? put_property(r, "Nd") : put_property_in(r, "[", "Nd");
    case 'w':
        return in_set ? put_word(r) : put_word_in(r, "[");
    case 'b':
        return in_set ? put_text(r, "\\x{8}") : put_boundary(r, true);
    default:
        break;
    }
    if (!in_set && letter == 'D')
        return put_property_in(r, "[^", "Nd");
    if (!in_set && letter == 'W')
        return put_word_in(r, "[^");
    if (!in_set && letter == 'B')
        return put_boundary(r, false);
    return unsupported(r, from, in_set ? "this escape in a set" : "this escape");
}

/* "[:alpha:]" inside a set. */
static paro_status rewrite_posix_set(rewriter *r)
{
    static const struct {
        const char *name;
        const char *to;
    } sets[] = {
        {"[:space:]", "\\p{White_Space}"}, {"[:upper:]", "\\p{Uppercase}"},
        {"[:lower:]", "\\p{Lowercase}"},   {"[:xdigit:]", "0-9a-fA-F"},
        {"[:cntrl:]", "\\p{Cc}"},
    };
    size_t left = r->n_bytes - r->at;

    for (size_t i = 0; i < sizeof(sets) / sizeof(*sets); i++) {
        size_t n = strlen(sets[i].name);

        if (left >= n && memcmp(r->text + r->at, sets[i].name, n) == 0) {
            r->at += n;
            return put_text(r, sets[i].to);
        }
    }
    if (left >= 9 && memcmp(r->text + r->at, "[:alpha:]", 9) == 0) {
        r->at += 9;
        return put_property(r, "Alphabetic");
    }
    if (left >= 9 && memcmp(r->text + r->at, "[:digit:]", 9) == 0) {
        r->at += 9;
        return put_property(r, "Nd");
    }
    return unsupported(r, r->at, "this named set");
}

/* The members of a set, from after its "[" (or "[^") to its "]", which is read but not written. */
static paro_status rewrite_members(rewriter *r, int depth)
{
    size_t from = r->at;
    paro_status status = PARO_STATUS_OK;

    if (depth > MAX_SET_DEPTH)
        return unsupported(r, from, "a set nested this deep");
    while (status == PARO_STATUS_OK) {
        char c = peek(r, 0);

        if (r->at == r->n_bytes)
            return broken(r, from, "\"]\"");
        if (c == ']') {
            if (r->at == from)
                return unsupported(r, from, "an empty set");
            r->at++;
            break;
        }
        if (c == '\\') {
            status = rewrite_escape(r, true);
        } else if (c == '[' && peek(r, 1) == ':') {
            status = rewrite_posix_set(r);
        } else if (c == '[') {
            if (peek(r, 1) == '^')
                return unsupported(r, r->at, "a negated set in a set");
            r->at++;
            status = rewrite_members(r, depth + 1);
        } else if (c == '&' && peek(r, 1) == '&') {
            return unsupported(r, r->at, "an intersection of sets");
        } else if (c == '-') {
            r->at++;
            status = put(r, "-", 1);
        } else {
            status = put_literal(r);
        }
    }
    return status;
}

static paro_status rewrite_set(rewriter *r)
{
    paro_status status;
    bool negated = peek(r, 1) == '^';

    r->at += negated ? 2 : 1;
    status = put_text(r, negated ? "[^" : "[");
    if (status == PARO_STATUS_OK)
        status = rewrite_members(r, 1);
    return status == PARO_STATUS_OK ? put_text(r, "]") : status;
}

/* Options of "(?" at r->at, up to ":" or ")": i is written as i, m as s. */
static paro_status rewrite_options(rewriter *r, size_t from)
{
    paro_status status = put_text(r, "(?");

    while (status == PARO_STATUS_OK) {
        char c = peek(r, 0);

        if (c == 'i' || c == '-')
            status = put(r, &c, 1);
        else if (c == 'm')
            status = put_text(r, "s");
        else if (c == ':' || (c == ')' && from == r->branch_start))
            break;
        else
            return unsupported(r, from, "this kind of group or option");
        r->at++;
    }
    if (status == PARO_STATUS_OK)
        status = put(r, r->text + r->at, 1);
    r->at++;
    r->branch_start = r->at;
    return status;
}

/* "(" and what makes it a kind of group; groups that capture need not. */
static paro_status rewrite_group(rewriter *r)
{
    static const char *const kinds[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"};
    size_t from = r->at;
    size_t left = r->n_bytes - r->at;

    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        size_t n = strlen(kinds[i]);

        if (left >= n && memcmp(r->text + r->at, kinds[i], n) == 0) {
            r->at += n;
            r->branch_start = r->at;
            return put(r, kinds[i], n);
        }
    }
    r->at++;
    if (peek(r, 0) == '*')
        return unsupported(r, from, "this kind of group");
    if (peek(r, 0) != '?') {
        r->branch_start = r->at;
        return put_text(r, "(?:");
    }
    r->at++;
    return rewrite_options(r, from);
}

/* "{2}", "{2,}", "{,3}", "{2,3}", with "?" after the last three; any other "{" is itself. */
static paro_status rewrite_interval(rewriter *r)
{
    size_t from = r->at++;
    size_t low = r->at;
    size_t n_low;
    size_t high = 0;
    size_t n_high = 0;
    bool comma = false;

    while (is_digit(peek(r, 0)))
        r->at++;
    n_low = r->at - low;
    if (peek(r, 0) == ',') {
        comma = true;
        high = ++r->at;
        while (is_digit(peek(r, 0)))
            r->at++;
        n_high = r->at - high;
    }
    if (peek(r, 0) != '}' || n_low + n_high == 0) {
        r->at = from;
        return put_literal(r);
    }
    r->at++;
    if (n_low > 5 || n_high > 5)
        return unsupported(r, from, "this many repetitions");
    if (peek(r, 0) == '+' || (peek(r, 0) == '?' && !comma))
        return unsupported(r, from, "a repeated repetition");
    if (!paro_buffer_printf(r->out, "{%.*s%s%.*s}", n_low == 0 ? 1 : (int)n_low,
                            n_low == 0 ? "0" : r->text + low, comma ? "," : "", (int)n_high,
                            r->text + high))
        return paro_fail_memory(r->err, 16, "a pattern");
    return PARO_STATUS_OK;
}

paro_status paro_regex_rewrite(paro_error *err, const char *where, const char *pattern,
                               size_t n_bytes, paro_buffer *out)
{
    rewriter r = {.err = err, .where = where, .text = pattern, .n_bytes = n_bytes, .out = out};
    paro_status status = PARO_STATUS_OK;

    if (n_bytes > MAX_PATTERN_BYTES)
        return paro_fail(err, PARO_STATUS_LIMIT, "%s: pattern: %zu bytes, at most %d are read",
                         where, n_bytes, MAX_PATTERN_BYTES);
    while (status == PARO_STATUS_OK && r.at < n_bytes) {
        char c = pattern[r.at];

        switch (c) {
        case '\\':
            status = rewrite_escape(&r, false);
            break;
        case '[':
            status = rewrite_set(&r);
            break;
        case '(':
            status = rewrite_group(&r);
            break;
        case '{':
            status = rewrite_interval(&r);
            break;
        case '|':
            r.branch_start = r.at + 1;
            status = put(&r, &c, 1);
            r.at++;
            break;
        case ')':
        case '.':
        case '^':
        case '$':
        case '*':
        case '+':
        case '?':
            status = put(&r, &c, 1);
            r.at++;
            break;
        default:
            status = put_literal(&r);
            break;
        }
    }
    return status;
}

paro_status paro_regex_quote(paro_error *err, const char *text, size_t n_bytes, paro_buffer *out)
{
    rewriter r = {.err = err, .where = "", .text = text, .n_bytes = n_bytes, .out = out};
    paro_status status = PARO_STATUS_OK;

    while (status == PARO_STATUS_OK && r.at < n_bytes)
        status = put_literal(&r);
    return status;
}
