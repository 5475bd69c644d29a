-- SPDX-License-Identifier: MIT
--
-- GPTQ (arXiv 2210.17323): rounding that carries each column's error into those still to come.
--
-- Options (--set key=value):
--   bits, group_size  of the weights (default 4 and 128)
--   damping           of the Hessian's mean diagonal (default 0.01)
--   act_order         columns by falling diagonal of the Hessian (default false)
--   true_sequential   later linears of a block see the rounded ones before them (default false)
--   samples, tokens   of calibration data (default 128 samples of 512 tokens)
--   seed              of the draw of samples (default 0)
--   linears, keep     patterns of the linears to quantise and to leave alone
return function(model, options)
  local how = {
    damping = options.damping,
    act_order = options.act_order,
    true_sequential = options.true_sequential,
  }
  return {
    name = "gptq",
    description = "GPTQ: error-compensating rounding",
    bits = options.bits,
    group_size = options.group_size,
    linears = options.linears,
    keep = options.keep,
    data = {
      samples = options.samples or 128,
      validation = 0,
      tokens = math.min(options.tokens or 512, model.max_context),
      seed = options.seed,
    },
    block = function(block)
      block:gptq(how)
    end,
  }
end
