-- SPDX-License-Identifier: MIT
--
-- ParoQuant (arXiv 2511.10645) in a fraction of the time: one stage that trains rotations, scales and
-- weights at once, few epochs, little data. For trying things out, and for models that are quantised
-- often. (Steps and zeros follow from each group's range: learned ones would belong to the rotations
-- of the beginning.)
--
-- Options (--set key=value):
--   bits, group_size  of the weights (default 4 and 128)
--   krot              rounds of rotations (default 8)
--   pairs             random, magnitude or butterfly (default random)
--   epochs            (default 3)
--   batch             samples of one step (default 8)
--   samples           for training (default 64)
--   validation        held out, for choosing the best epoch (default 8)
--   tokens            of a sample (default 256)
--   seed              of the draw of samples, their order and the pairs (default 0)
--   linears, keep     patterns of the linears to quantise and to leave alone
return function(model, options)
  local seed = options.seed or 0
  local epochs, batch = options.epochs or 3, options.batch or 8
  local kind = options.pairs or "random"
  return {
    name = "paroquant_fast",
    description = "ParoQuant: one short stage",
    bits = options.bits,
    group_size = options.group_size,
    linears = options.linears,
    keep = options.keep,
    krot = options.krot or 8,
    data = {
      samples = options.samples or 64,
      validation = options.validation or 8,
      tokens = math.min(options.tokens or 256, model.max_context),
      seed = seed,
    },
    block = function(block)
      block:pairs{kind = kind, seed = seed}
      block:optimise{
        angles = 0.05, channel_scales = 0.05, weight = 1e-5,
        epochs = epochs, batch = batch, seed = seed,
      }
    end,
  }
end
