-- SPDX-License-Identifier: MIT
--
-- The best this library makes of a model in the published format: ParoQuant's transform, with weights that
-- move. Same storage, samples, epochs and seeds as `paroquant`; what is different, and what each part gains,
-- is in docs/calibration.md:
--   * small steps: four samples a step, so four times as many of them;
--   * the weight is trained along with angles and channel scales, and at a rate that matters: a share of the
--     weights' own size, not a constant;
--   * zero points have their gradient, and what is clamped has none;
--   * angles and channel scales are rounded to what the checkpoint stores before the second stage, so that
--     the weights are trained for exactly that.
--
-- Options (--set key=value):
--   bits, group_size, krot, pairs, epochs, samples, validation, tokens, seed, linears, keep
--                     as for paroquant
--   batch             samples of one step (default 4)
--   weight            rate of the weights in both stages, in parts of their root mean square (default 0.003)
return function(model, options)
  local seed = options.seed or 0
  local epochs, batch = options.epochs or 10, options.batch or 4
  local kind = options.pairs or "random"
  local rate = options.weight or 0.003
  return {
    name = "paroquant_best",
    description = "ParoQuant, trained further",
    bits = options.bits,
    group_size = options.group_size,
    linears = options.linears,
    keep = options.keep,
    krot = options.krot or 8,
    data = {
      samples = options.samples or 256,
      validation = options.validation or 32,
      tokens = math.min(options.tokens or 512, model.max_context),
      seed = seed,
    },
    block = function(block)
      local squares, n = 0, 0
      for _, linear in ipairs(block.linears) do
        squares = squares + linear:weight():norm() ^ 2
        n = n + linear.n_in * linear.n_out
      end
      local rms = math.sqrt(squares / n)
      block:pairs{kind = kind, seed = seed}
      block:optimise{angles = 0.05, channel_scales = 0.05, weight = 1.5 * rate * rms, epochs = epochs,
        batch = batch, seed = seed}
      block:round_transform()
      block:optimise{weight = rate * rms, quantizer = 1e-3 * rms, epochs = epochs, batch = batch,
        seed = seed + 1}
    end,
  }
end
