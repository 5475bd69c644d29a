/* SPDX-License-Identifier: MIT
 *
 * Models as scripts have them: handles with fields and methods, and what is behind the handles.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "lua/options.h"
#include "lua/recipe.h"
#include "lua/script.h"
#include "lua/tensor.h"
#include "runtime/model.h"

typedef struct handle {
    paro_script_model *model; /* NULL: closed */
} handle;

enum { FIELDS = 1 }; /* the user value: the model as recipes see it */

/* ---- behind the handles ---- */

void paro_script_hold(paro_script_model *model)
{
    model->n_users++;
}

static void free_model(paro_script *script, paro_script_model *model)
{
    if (model->prev != NULL)
        model->prev->next = model->next;
    else
        script->models = model->next;
    if (model->next != NULL)
        model->next->prev = model->prev;
    paro_tokenizer_free(model->tokenizer);
    paro_model_free(model->model);
    free(model->device);
    free(model);
}

void paro_script_release(paro_script *script, paro_script_model *model)
{
    while (model != NULL && --model->n_users == 0) {
        paro_script_model *source = model->source;
        free_model(script, model);
        model = source;
    }
}

void paro_script_free_models(paro_script *script)
{
    while (script->models != NULL)
        free_model(script, script->models);
}

paro_status paro_script_tokenizer(paro_error *err, paro_script_model *model,
                                  const paro_tokenizer **out)
{
    paro_status status = PARO_STATUS_OK;
    while (model->source != NULL) /* the same folder's */
        model = model->source;
    if (model->tokenizer == NULL) {
        paro_model_info info;
        paro_model_get_info(model->model, &info);
        status = paro_tokenizer_open(err, info.dir, &model->tokenizer);
    }
    if (status == PARO_STATUS_OK)
        *out = model->tokenizer;
    return status;
}

paro_status paro_script_open_model(paro_error *err, const paro_script *script, const char *dir,
                                   const char *device, int n_threads, paro_model **out)
{
    paro_model_options options = script->model_options;
    if (device != NULL)
        options.device = device;
    if (n_threads != 0)
        options.n_threads = n_threads;
    return paro_model_open(err, dir, &options, out);
}

/* ---- handles ---- */

static handle *check_handle(lua_State *state, int index)
{
    return luaL_checkudata(state, index, PARO_SCRIPT_MODEL_NAME);
}

paro_script_model *paro_script_check_model(lua_State *state, int index)
{
    handle *h = check_handle(state, index);
    if (h->model == NULL)
        luaL_error(state, "the model is closed");
    return h->model;
}

int paro_script_push_handle(lua_State *state)
{
    handle *h = lua_newuserdatauv(state, sizeof *h, 1);
    h->model = NULL;
    luaL_setmetatable(state, PARO_SCRIPT_MODEL_NAME);
    return lua_gettop(state);
}

paro_status paro_script_adopt(paro_error *err, lua_State *state, int index, paro_model *model,
                              const char *device, int n_threads, paro_script_model *source)
{
    paro_script *script = paro_script_of(state);
    paro_script_model *entry = calloc(1, sizeof *entry);
    char *copy = device != NULL ? strdup(device) : NULL;
    if (entry == NULL || (device != NULL && copy == NULL)) {
        free(entry);
        free(copy);
        paro_model_free(model);
        return paro_fail_memory(err, sizeof *entry, "a model");
    }
    *entry = (paro_script_model){.next = script->models,
                                 .n_users = 1,
                                 .source = source,
                                 .model = model,
                                 .device = copy,
                                 .n_threads = n_threads};
    if (source != NULL)
        paro_script_hold(source);
    if (script->models != NULL)
        script->models->prev = entry;
    script->models = entry;
    handle *h = lua_touserdata(state, index);
    h->model = entry;
    return PARO_STATUS_OK;
}

void paro_script_fill_handle(lua_State *state, int index)
{
    paro_recipe_push_model(state, paro_script_check_model(state, index)->model);
    lua_setiuservalue(state, index, FIELDS);
    lua_settop(state, index);
}

/* model:close(), and the end of a handle */
static int model_close(lua_State *state)
{
    handle *h = check_handle(state, 1);
    paro_script_model *model = h->model;
    h->model = NULL;
    paro_script_release(paro_script_of(state), model);
    return 0;
}

/* ---- fields ---- */

/* Those that recipes do not have; the others follow in `fields`. */
static bool push_own_field(lua_State *state, const paro_model_info *info, const char *field)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {{"bits", info->bits},
                   {"group_size", info->group_size},
                   {"krot", info->krot},
                   {"n_weight_bytes", info->n_weight_bytes}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        if (strcmp(field, numbers[i].name) == 0) {
            lua_pushinteger(state, (lua_Integer)numbers[i].value);
            return true;
        }
    }
    if (strcmp(field, "dir") == 0)
        lua_pushstring(state, info->dir);
    else if (strcmp(field, "device") == 0)
        lua_pushstring(state, info->device);
    else
        return false;
    return true;
}

static void push_field(lua_State *state, int index, const char *field)
{
    paro_model_info info;
    paro_model_get_info(paro_script_check_model(state, index)->model, &info);
    if (push_own_field(state, &info, field))
        return;
    lua_getiuservalue(state, index, FIELDS);
    lua_getfield(state, -1, field);
}

static int model_to_string(lua_State *state)
{
    const handle *h = check_handle(state, 1);
    if (h->model == NULL) {
        lua_pushliteral(state, "model (closed)");
        return 1;
    }
    paro_model_info info;
    paro_model_get_info(h->model->model, &info);
    if (info.bits != 0)
        lua_pushfstring(state, "model %s: %s, %s, %d bits", info.dir, info.architecture,
                        info.quant_method, (int)info.bits);
    else
        lua_pushfstring(state, "model %s: %s", info.dir, info.architecture);
    return 1;
}

/* ---- weights and tokens ---- */

static const char *linear_name(const void *context, size_t n)
{
    return paro_model_linear(context, n)->name;
}

/* "NAME" or "NAME.weight". */
static paro_linear *find_linear(const paro_model *model, const char *name)
{
    for (size_t i = 0; i < paro_model_n_linears(model); i++) {
        paro_linear *linear = paro_model_linear(model, i);
        size_t n = strlen(linear->name);
        if (strncmp(linear->name, name, n) == 0 &&
            (name[n] == '\0' || strcmp(name + n, ".weight") == 0))
            return linear;
    }
    return NULL;
}

static int push_linear_weight(lua_State *state, const paro_model *model, paro_linear *linear)
{
    paro_error err;
    paro_lua_tensor *tensor = paro_lua_tensor_push(state, 2, linear->n_out, linear->n_in);
    if (paro_linear_weight(&err, linear, model->pool, tensor->data) != PARO_STATUS_OK)
        return paro_sandbox_fail(state, &err);
    return 1;
}

/* model:weight(name) */
static int model_weight(lua_State *state)
{
    const paro_model *model = paro_script_check_model(state, 1)->model;
    const char *name = luaL_checkstring(state, 2);
    paro_linear *linear = find_linear(model, name);
    if (linear != NULL)
        return push_linear_weight(state, model, linear);
    const paro_tensor *found = paro_tensor_set_find(model->tensors, name);
    if (found == NULL) {
        char nearest[256];
        paro_nearest(nearest, sizeof nearest, name, paro_model_n_linears(model), linear_name,
                     model);
        return luaL_error(state,
                          "model:weight: %s has neither a linear nor a tensor \"%s\" (nearest "
                          "linears: %s)",
                          model->dir, name, nearest);
    }
    bool is_float = found->dtype == PARO_DTYPE_F32 || found->dtype == PARO_DTYPE_F16 ||
                    found->dtype == PARO_DTYPE_BF16;
    bool is_small = true;
    for (uint32_t i = 0; i < found->rank; i++)
        is_small = is_small && found->shape[i] >= 1 && found->shape[i] <= PARO_LUA_TENSOR_MAX;
    if (!is_float || !is_small || found->rank < 1 || found->rank > 2)
        return luaL_error(state,
                          "model:weight: %s: expected a tensor of F32, F16 or BF16 with one or two "
                          "dimensions",
                          name);
    int rank = (int)found->rank;
    paro_lua_tensor *tensor = paro_lua_tensor_push(
        state, rank, rank == 2 ? (size_t)found->shape[0] : 1, (size_t)found->shape[rank - 1]);
    paro_f32_from_array(tensor->data, found->data, found->dtype, (size_t)found->n_values);
    return 1;
}

typedef struct id_list {
    int32_t *ids;
    size_t n_ids;
} id_list;

static int push_ids(lua_State *state)
{
    const id_list *list = lua_touserdata(state, 1);
    lua_createtable(state, list->n_ids < INT_MAX ? (int)list->n_ids : 0, 0);
    for (size_t i = 0; i < list->n_ids; i++) {
        lua_pushinteger(state, list->ids[i]);
        lua_rawseti(state, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* model:tokens(text): without a begin token, as texts are scored. */
static int model_tokens(lua_State *state)
{
    paro_script_model *model = paro_script_check_model(state, 1);
    size_t n_bytes = 0;
    const char *text = luaL_checklstring(state, 2, &n_bytes);
    const paro_tokenizer *tokenizer = NULL;
    id_list list = {0};
    paro_error err;
    paro_status status = paro_script_tokenizer(&err, model, &tokenizer);
    if (status == PARO_STATUS_OK)
        status =
            paro_tokenizer_encode(&err, tokenizer, text, n_bytes, NULL, &list.ids, &list.n_ids);
    if (status == PARO_STATUS_OK)
        status = paro_sandbox_call(&err, state, push_ids, &list, 1);
    free(list.ids);
    return status == PARO_STATUS_OK ? 1 : paro_sandbox_fail(state, &err);
}

const luaL_Reg paro_script_model_methods[] = {{"close", model_close},
                                              {"generate", paro_script_generate},
                                              {"tokens", model_tokens},
                                              {"weight", model_weight},
                                              {NULL, NULL}};
static const luaL_Reg *const methods[] = {paro_script_model_methods, NULL};
const char *const paro_script_model_fields[] = {"dir",
                                                "device",
                                                "bits",
                                                "group_size",
                                                "krot",
                                                "n_weight_bytes",
                                                "architecture",
                                                "quant_method",
                                                "n_layers",
                                                "hidden",
                                                "intermediate",
                                                "n_heads",
                                                "n_kv_heads",
                                                "head_dim",
                                                "vocab",
                                                "max_context",
                                                "n_parameters",
                                                "linears",
                                                NULL};

static const paro_lua_handle_kind kind = {.name = PARO_SCRIPT_MODEL_NAME,
                                          .methods = methods,
                                          .fields = paro_script_model_fields,
                                          .push_field = push_field,
                                          .to_string = model_to_string};

void paro_script_open_models(lua_State *state)
{
    static const luaL_Reg ends[] = {{"__gc", model_close}, {"__close", model_close}, {NULL, NULL}};
    paro_lua_new_handle_kind(state, &kind);
    luaL_getmetatable(state, PARO_SCRIPT_MODEL_NAME);
    luaL_setfuncs(state, ends, 0);
    lua_pop(state, 1);
}
