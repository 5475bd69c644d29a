-- SPDX-License-Identifier: MIT
--
-- AWQ (arXiv 2306.00978): channel scales and clipped ranges by the error of outputs.
--
-- Options (--set key=value):
--   bits, group_size  of the weights (default 4 and 128)
--   grid              exponents of the activations' magnitudes that are tried (default 20)
--   clip              whether ranges are clipped (default true)
--   samples, tokens   of calibration data (default 128 samples of 512 tokens)
--   seed              of the draw of samples (default 0)
--   linears, keep     patterns of the linears to quantise and to leave alone
return function(model, options)
  local grid, clip = options.grid, options.clip
  return {
    name = "awq",
    description = "AWQ: activation-aware channel scales and clipping",
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
      block:awq{grid = grid, clip = clip}
    end,
  }
end
