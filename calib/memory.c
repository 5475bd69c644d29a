/* SPDX-License-Identifier: MIT
 *
 * A model quantised in memory: its tensors lie over the source's, which are shared.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "calib/calibration.h"
#include "calib/convert.h"
#include "runtime/model.h"

static paro_status sink_put(paro_error *err, void *context, const paro_tensor *tensor, void *data,
                            size_t n_bytes)
{
    (void)n_bytes;
    return paro_tensor_set_put(err, context, tensor, data);
}

static paro_status sink_hide(paro_error *err, void *context, const paro_tensor *source)
{
    return paro_tensor_set_hide(err, context, source->name);
}

paro_status paro_convert_in_memory(paro_error *err, const paro_model *model, const paro_plan *plan,
                                   const paro_quantize_options *options,
                                   paro_quantize_result *result, paro_model **out)
{
    double started = paro_clock_seconds();
    const paro_format_row *format = paro_format_get(options->format);
    paro_tensor_set *tensors = NULL;
    paro_block_store *calibrated = NULL;
    paro_status status = paro_format_check_plan(err, plan, options->format);
    if (status == PARO_STATUS_OK)
        status = paro_calibrate_plan(err, model, plan, options, options->work_dir, &calibrated);
    if (status == PARO_STATUS_OK)
        status = paro_tensor_set_new(err, model->tensors, &tensors);
    if (status != PARO_STATUS_OK)
        goto done;

    paro_quantize_result measured = {0};
    const paro_sink sink = {
        .context = tensors, .put = sink_put, .hide = sink_hide, .pass_exact = true};
    status =
        paro_convert(err, model, plan, calibrated, format, options->observer, &sink, &measured);
    if (status != PARO_STATUS_OK) {
        paro_tensor_set_free(tensors);
        goto done;
    }
    paro_config config = model->config;
    bool packed = format->quant_method != PARO_QUANT_METHOD_NONE;
    config.quant_method = format->quant_method;
    config.bits = packed ? format->bits : 0;
    config.group_size = packed ? paro_format_group_size(plan) : 0;
    config.krot = paro_format_krot(format, plan);
    const paro_model_options model_options = {.n_threads = paro_pool_n_threads(model->pool)};
    status = paro_model_new(err, model->dir, &config, tensors, &model_options, out);
    if (status == PARO_STATUS_OK) {
        paro_model_info info;
        paro_model_get_info(*out, &info);
        measured.n_bytes = info.n_weight_bytes;
        measured.seconds = paro_clock_seconds() - started;
        *result = measured;
    }

done:
    paro_block_store_free(calibrated);
    return status;
}

paro_status paro_quantize_in_memory(paro_error *err, const paro_model *model, const paro_plan *plan,
                                    const paro_quantize_options *options, paro_model **out)
{
    static const paro_quantize_options defaults = {0};
    paro_quantize_result result;
    return paro_convert_in_memory(err, model, plan, options != NULL ? options : &defaults, &result,
                                  out);
}
