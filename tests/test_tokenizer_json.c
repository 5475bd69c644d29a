/* SPDX-License-Identifier: MIT
 *
 * What a tokenizer.json may say, and what is refused, by name: tokenizer_json.c and
 * tokenizer_pipeline.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/support.h"
#include "tokenizer/tokenizer.h"

#define BYTE_LEVEL "{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true}"
#define PRE        "'pre_tokenizer':" BYTE_LEVEL
#define DECODER    "'decoder':" BYTE_LEVEL
#define VOCAB      "'vocab':{'a':0,'b':1,'ab':2}"
#define MODEL      "'model':{'type':'BPE'," VOCAB ",'merges':['a b']}"
#define END        "{'id':3,'content':'<e>','special':true}"
#define TEMPLATE(single, specials)                                                                 \
    PRE "," DECODER "," MODEL ",'added_tokens':[" END "],"                                         \
        "'post_processor':{'type':'TemplateProcessing','single':[" single                          \
        "],'special_tokens':{" specials "}}"
#define A "{'Sequence':{'id':'A','type_id':0}}"
#define E "{'SpecialToken':{'id':'e','type_id':0}}"

/* `members` of the root, with ' for ". */
static paro_status parse(paro_error *err, const char *members, paro_tokenizer **out)
{
    char *text = NULL;
    int n = asprintf(&text, "{%s}", members);
    paro_status status;

    assert_true(n > 0);
    for (char *c = text; *c != '\0'; c++)
        *c = *c == '\'' ? '"' : *c;
    status = paro_tokenizer_parse(err, "t.json", text, (size_t)n, out);
    free(text);
    return status;
}

static void expect_ids(const char *members, const char *text, const int32_t *expected, size_t n)
{
    const paro_encode_options options = {.add_special_tokens = true};
    paro_error err;
    paro_tokenizer *tokenizer = NULL;
    int32_t *ids = NULL;
    size_t n_ids = 0;

    assert_ok(parse(&err, members, &tokenizer));
    assert_ok(paro_tokenizer_encode(&err, tokenizer, text, strlen(text), &options, &ids, &n_ids));
    assert_int_equal(n_ids, n);
    assert_memory_equal(ids, expected, n * sizeof(*ids));
    free(ids);
    paro_tokenizer_free(tokenizer);
}

static void test_accepted(void **state)
{
    (void)state;
    expect_ids(PRE "," DECODER "," MODEL, "abb", (int32_t[]){2, 1}, 2);
    expect_ids("'version':'1.0','truncation':null,'normalizer':null,'post_processor':null," PRE
               "," DECODER ",'model':{" VOCAB ",'merges':['#version: 0.2',['a','b']]}",
               "aba", (int32_t[]){2, 0}, 2);
    expect_ids(PRE ",'decoder':{'type':'Sequence','decoders':[" BYTE_LEVEL "]}," MODEL, "b",
               (int32_t[]){1}, 1);
    /* Two templates, one around the other; ids of several tokens. */
    expect_ids(TEMPLATE(E "," A, "'e':{'id':'e','ids':[3,0],'tokens':['<e>','a']}"), "b",
               (int32_t[]){3, 0, 1}, 3);
    expect_ids(PRE "," DECODER "," MODEL ",'added_tokens':[" END "],'post_processor':{'type':"
                   "'Sequence','processors':[" BYTE_LEVEL ",{'type':'TemplateProcessing','single':"
                   "[" E "," A "," E "],'special_tokens':{'e':{'ids':[3]}}},"
                   "{'type':'TemplateProcessing','single':[" E "," A "],'special_tokens':"
                   "{'e':{'ids':[0]}}}]}",
               "b", (int32_t[]){0, 3, 1, 3}, 4);
    /* An added token that the model has keeps its id; one that it has not gets the next. */
    expect_ids(PRE "," DECODER "," MODEL ",'added_tokens':[{'id':2,'content':'ab'}," END "]",
               "aab<e>", (int32_t[]){0, 2, 3}, 3);
    /* The model's ids may have holes, and added tokens begin where the number of its tokens says.
     */
    expect_ids(PRE "," DECODER ",'model':{'vocab':{'a':0,'b':9},'merges':[]},'added_tokens':["
                   "{'id':2,'content':'x'},{'id':9,'content':'b'},{'id':10,'content':'y'}]",
               "axyb", (int32_t[]){0, 2, 10, 9}, 4);
    expect_ids(PRE "," DECODER ",'model':{" VOCAB ",'merges':[],'unk_token':'b'}", "ax",
               (int32_t[]){0, 1}, 2);
}

typedef struct refusal {
    const char *members;
    paro_status status;
    const char *words;
} refusal;

static void expect_refusals(const refusal *refusals, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        paro_error err;
        paro_tokenizer *tokenizer = NULL;

        assert_fails(parse(&err, refusals[i].members, &tokenizer), refusals[i].status,
                     refusals[i].words);
        assert_int_equal(strncmp(err.message, "t.json: ", 8), 0);
        assert_null(tokenizer);
    }
}

#define WITH_MODEL(model) PRE "," DECODER ",'model':" model
#define WITH_ADDED(added) PRE "," DECODER "," MODEL ",'added_tokens':" added

static void test_model_refused(void **state)
{
    static const refusal refusals[] = {
        {"'a':", PARO_STATUS_FORMAT, "not valid JSON"},
        {"'version':'2.0'," PRE "," DECODER "," MODEL, PARO_STATUS_UNSUPPORTED, "version"},
        {PRE "," DECODER, PARO_STATUS_FORMAT, "model: missing"},
        {WITH_MODEL("7"), PARO_STATUS_FORMAT, "model: expected an object"},
        {WITH_MODEL("{'type':'Unigram'}"), PARO_STATUS_UNSUPPORTED,
         "model.type: \"Unigram\" is not supported; \"BPE\""},
        {WITH_MODEL("{'type':'WordPiece'}"), PARO_STATUS_UNSUPPORTED, "WordPiece"},
        {WITH_MODEL("{'byte_fallback':true}"), PARO_STATUS_UNSUPPORTED, "model.byte_fallback"},
        {WITH_MODEL("{'dropout':0.1}"), PARO_STATUS_UNSUPPORTED, "model.dropout"},
        {WITH_MODEL("{'continuing_subword_prefix':'##'}"), PARO_STATUS_UNSUPPORTED,
         "continuing_subword_prefix"},
        {WITH_MODEL("{'end_of_word_suffix':'</w>'}"), PARO_STATUS_UNSUPPORTED, "</w>"},
        {WITH_MODEL("{'merges':[]}"), PARO_STATUS_FORMAT, "model.vocab: missing"},
        {WITH_MODEL("{'vocab':{},'merges':[]}"), PARO_STATUS_FORMAT, "found none"},
        {WITH_MODEL("{'vocab':{'a':0}}"), PARO_STATUS_FORMAT, "model.merges: missing"},
        {WITH_MODEL("{'vocab':{'a':-1},'merges':[]}"), PARO_STATUS_FORMAT, "model.vocab[\"a\"]"},
        {WITH_MODEL("{'vocab':{'a':'0'},'merges':[]}"), PARO_STATUS_FORMAT, "found a string"},
        {WITH_MODEL("{'vocab':{'a':4294967296},'merges':[]}"), PARO_STATUS_FORMAT, "an id from 0"},
        {WITH_MODEL("{'vocab':{'a':3000000},'merges':[]}"), PARO_STATUS_FORMAT, "an id from 0"},
        {WITH_MODEL("{'vocab':{'a':0,'b':0},'merges':[]}"), PARO_STATUS_FORMAT,
         "id 0 is given to \"a\" and to \"b\""},
        {WITH_MODEL("{'vocab':{'a':0,'a':1},'merges':[]}"), PARO_STATUS_FORMAT, "duplicate"},
        {WITH_MODEL("{" VOCAB ",'merges':['a b','a  b']}"), PARO_STATUS_FORMAT, "model.merges[1]"},
        {WITH_MODEL("{" VOCAB ",'merges':['ab']}"), PARO_STATUS_FORMAT, "with one space"},
        {WITH_MODEL("{" VOCAB ",'merges':[['a']]}"), PARO_STATUS_FORMAT, "found an array"},
        {WITH_MODEL("{" VOCAB ",'merges':[['a',1]]}"), PARO_STATUS_FORMAT, "found an array"},
        {WITH_MODEL("{" VOCAB ",'merges':['a c']}"), PARO_STATUS_FORMAT, "\"c\" is not in"},
        {WITH_MODEL("{" VOCAB ",'merges':['b a']}"), PARO_STATUS_FORMAT, "\"ba\" is not in"},
        {WITH_MODEL("{" VOCAB ",'merges':[],'unk_token':'u'}"), PARO_STATUS_FORMAT,
         "model.unk_token: \"u\""},
        {WITH_ADDED("{}"), PARO_STATUS_FORMAT, "added_tokens: expected an array"},
        {WITH_ADDED("[1]"), PARO_STATUS_FORMAT, "added_tokens[0]: expected an object"},
        {WITH_ADDED("[{'id':3}]"), PARO_STATUS_FORMAT, "added_tokens[0]: content: missing"},
        {WITH_ADDED("[{'id':3,'content':''}]"), PARO_STATUS_FORMAT, "content: missing"},
        {WITH_ADDED("[{'content':'x'}]"), PARO_STATUS_FORMAT, "id: missing"},
        {WITH_ADDED("[{'id':9,'content':'x'}]"), PARO_STATUS_FORMAT, "expected 3 for \"x\""},
        {WITH_ADDED("[{'id':3,'content':'ab'}]"), PARO_STATUS_FORMAT, "expected 2 for \"ab\""},
        {WITH_ADDED("[" END ",{'id':4,'content':'<e>'}]"), PARO_STATUS_FORMAT, "added_tokens[1]"},
        {WITH_ADDED("[{'id':2,'content':'ab'},{'id':2,'content':'ab'}]"), PARO_STATUS_FORMAT,
         "\"ab\" is there twice"},
        {WITH_ADDED("[{'id':3,'content':'x','lstrip':1}]"), PARO_STATUS_FORMAT, "lstrip"},
    };

    (void)state;
    expect_refusals(refusals, sizeof(refusals) / sizeof(*refusals));
}

#define WITH_PRE(pre)  "'pre_tokenizer':" pre "," DECODER "," MODEL
#define SEQUENCE(list) "{'type':'Sequence','pretokenizers':[" list "]}"
#define SPLIT(rest)    SEQUENCE("{'type':'Split'," rest "}," BYTE_LEVEL)

static void test_pipeline_refused(void **state)
{
    static const refusal refusals[] = {
        {DECODER "," MODEL, PARO_STATUS_UNSUPPORTED, "no ByteLevel"},
        {PRE "," MODEL, PARO_STATUS_UNSUPPORTED, "decoder: none"},
        {"'normalizer':{'type':'Lowercase'}," PRE "," DECODER "," MODEL, PARO_STATUS_UNSUPPORTED,
         "normalizer: normalizer \"Lowercase\" is not supported; NFC"},
        {"'normalizer':{'type':'Sequence','normalizers':[{'type':'NFC'},{'type':'Strip'}]}," PRE
         "," DECODER "," MODEL,
         PARO_STATUS_UNSUPPORTED, "normalizers[1]"},
        {"'normalizer':3," PRE "," DECODER "," MODEL, PARO_STATUS_FORMAT, "found an integer"},
        {"'normalizer':{}," PRE "," DECODER "," MODEL, PARO_STATUS_FORMAT, "type: missing"},
        {WITH_PRE("{'type':'Metaspace'}"), PARO_STATUS_UNSUPPORTED, "Metaspace"},
        {WITH_PRE("{'type':'Sequence'}"), PARO_STATUS_FORMAT, "pretokenizers: missing"},
        {WITH_PRE(SEQUENCE(BYTE_LEVEL "," BYTE_LEVEL)), PARO_STATUS_UNSUPPORTED,
         "pretokenizers[1]: pre_tokenizer \"ByteLevel\" after ByteLevel"},
        {WITH_PRE("{'type':'ByteLevel'}"), PARO_STATUS_FORMAT, "add_prefix_space: missing"},
        {WITH_PRE(SEQUENCE("{'type':'Digits'}")), PARO_STATUS_FORMAT, "individual_digits: missing"},
        {WITH_PRE(SPLIT("'behavior':'Isolated'")), PARO_STATUS_FORMAT, "pattern: expected"},
        {WITH_PRE(SPLIT("'behavior':'Isolated','pattern':{}")), PARO_STATUS_FORMAT,
         "pattern: expected"},
        {WITH_PRE(SPLIT("'behavior':'Isolated','pattern':{'Regex':1}")), PARO_STATUS_FORMAT,
         "pattern: expected"},
        {WITH_PRE(SPLIT("'behavior':'Sideways','pattern':{'Regex':'a'}")), PARO_STATUS_FORMAT,
         "found Sideways"},
        {WITH_PRE(SPLIT("'pattern':{'Regex':'a'}")), PARO_STATUS_FORMAT, "behavior: expected"},
        {WITH_PRE(SPLIT("'behavior':'Isolated','pattern':{'Regex':'(a'}")), PARO_STATUS_FORMAT,
         "pre_tokenizer.pretokenizers[0]: pattern"},
        {WITH_PRE(SEQUENCE(SEQUENCE(
             SEQUENCE(SEQUENCE(SEQUENCE(SEQUENCE(SEQUENCE(SEQUENCE(SEQUENCE(BYTE_LEVEL)))))))))),
         PARO_STATUS_LIMIT, "more than 8 deep"},
        {PRE "," MODEL ",'decoder':{'type':'WordPiece'}", PARO_STATUS_UNSUPPORTED,
         "decoder \"WordPiece\" is not supported; ByteLevel is"},
        {PRE "," MODEL ",'decoder':{'type':'Sequence','decoders':[" BYTE_LEVEL "," BYTE_LEVEL "]}",
         PARO_STATUS_UNSUPPORTED, "after another"},
        {PRE "," DECODER "," MODEL ",'post_processor':{'type':'BertProcessing'}",
         PARO_STATUS_UNSUPPORTED, "BertProcessing"},
        {TEMPLATE(E, "'e':{'ids':[3]}"), PARO_STATUS_FORMAT, "single: expected"},
        {TEMPLATE(A "," A, ""), PARO_STATUS_FORMAT, "single[1]"},
        {TEMPLATE("{'Sequence':{'id':'B'}}", ""), PARO_STATUS_FORMAT, "single[0]"},
        {TEMPLATE("7," A, ""), PARO_STATUS_FORMAT, "single[0]"},
        {TEMPLATE(E "," A, ""), PARO_STATUS_FORMAT, "special_tokens[\"e\"].ids: missing"},
        {TEMPLATE(E "," A, "'e':{'ids':[4]}"), PARO_STATUS_FORMAT, "expected the id of a token"},
        {TEMPLATE(E "," A, "'e':{'ids':[-1]}"), PARO_STATUS_FORMAT, "expected the id of a token"},
    };

    (void)state;
    expect_refusals(refusals, sizeof(refusals) / sizeof(*refusals));
}

/* Bounds: steps, special tokens, the length of an added token. */
static void test_limits(void **state)
{
    paro_error err;
    paro_tokenizer *tokenizer = NULL;
    char text[12000];
    size_t n;

    (void)state;
    n = (size_t)snprintf(text, sizeof(text),
                         PRE "," DECODER "," MODEL ",'normalizer':{'type':"
                             "'Sequence','normalizers':[{'type':'NFC'}");
    for (int i = 0; i < 32; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, ",{'type':'NFC'}");
    snprintf(text + n, sizeof(text) - n, "]}");
    assert_fails(parse(&err, text, &tokenizer), PARO_STATUS_LIMIT, "normalizers[32]");

    n = (size_t)snprintf(text, sizeof(text),
                         PRE
                         "," DECODER "," MODEL ",'post_processor':{'type':"
                         "'TemplateProcessing','special_tokens':{'e':{'ids':[0]}},'single':[" A);
    for (int i = 0; i < 65; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "," E);
    snprintf(text + n, sizeof(text) - n, "]}");
    assert_fails(parse(&err, text, &tokenizer), PARO_STATUS_LIMIT, "64 special tokens");

    n = (size_t)snprintf(text, sizeof(text),
                         PRE "," DECODER "," MODEL ",'added_tokens':[{'id':3,'content':'");
    memset(text + n, 'x', 4097);
    snprintf(text + n + 4097, sizeof(text) - n - 4097, "'}]");
    assert_fails(parse(&err, text, &tokenizer), PARO_STATUS_LIMIT, "longer than 4096");
    assert_null(tokenizer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted),
        cmocka_unit_test(test_model_refused),
        cmocka_unit_test(test_pipeline_refused),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
