-- SPDX-License-Identifier: MIT
--
-- Round to nearest: every group of weights by itself, no data needed.
--
-- Options (--set key=value):
--   bits        bits of a weight, 2 to 8 (default 4; the packed formats store 4)
--   group_size  input channels that share a scale and a zero point (default 128)
--   linears     pattern of the linears to quantise (default all of the blocks)
--   keep        pattern of linears that stay as they are (default none)
--
-- For example: paro quantize MODEL --recipe rtn --set group_size=64 --set 'keep=*.down_proj' -o OUT
return function(model, options)
  return {
    name = "rtn",
    description = "round to nearest",
    method = "rtn",
    bits = options.bits or 4,
    group_size = options.group_size or 128,
    linears = options.linears or "*",
    keep = options.keep,
  }
end
