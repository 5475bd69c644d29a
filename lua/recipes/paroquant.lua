-- SPDX-License-Identifier: MIT
--
-- ParoQuant (arXiv 2511.10645): scaled pairwise rotations, then the weights and the quantiser, trained
-- block by block; stages, learning rates and pairs as in the reference implementation.
--
-- Options (--set key=value):
--   bits, group_size  of the weights (default 4 and 128)
--   krot              rounds of rotations (default 8)
--   pairs             random, magnitude or butterfly (default random)
--   epochs            of each of the two stages (default 10)
--   batch             samples of one step (default 16)
--   samples           for training (default 256; the reference takes 2048)
--   validation        held out, for choosing the best epoch (default 32; the reference: 64)
--   tokens            of a sample (default 512; the reference: 2048)
--   seed              of the draw of samples, their order and the pairs (default 0)
--   linears, keep     patterns of the linears to quantise and to leave alone
--
-- The defaults of samples and tokens are what a machine without an accelerator gets through; with
-- models of some hundred million parameters more changes little. For a large model on a large machine:
-- --set samples=2048 --set validation=64 --set tokens=2048
return function(model, options)
  local seed = options.seed or 0
  local epochs, batch = options.epochs or 10, options.batch or 16
  local kind = options.pairs or "random"
  return {
    name = "paroquant",
    description = "ParoQuant: two stages, as the reference",
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
      block:pairs{kind = kind, seed = seed}
      block:optimise{angles = 0.05, channel_scales = 0.05, epochs = epochs, batch = batch, seed = seed}
      block:optimise{weight = 1e-5, quantizer = 1e-6, epochs = epochs, batch = batch, seed = seed,
        reference_zero = true}
    end,
  }
end
