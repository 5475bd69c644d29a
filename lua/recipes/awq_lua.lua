-- SPDX-License-Identifier: MIT
--
-- AWQ's search of channel scales (arXiv 2306.00978) written out in Lua: how a method of one's own
-- looks. It finds what block:awq{clip = false} finds.
--
-- Options (--set key=value):
--   bits, group_size  of the weights (default 4 and 128)
--   grid              exponents of the activations' magnitudes that are tried (default 20)
--   rows              rows of inputs that outputs are compared on (default 2048)
--   samples, tokens   of calibration data (default 128 samples of 512 tokens)
--   seed              of the draw of samples (default 0)
--   linears, keep     patterns of the linears to quantise and to leave alone

-- Linears that read the same input share their scales.
local inputs = {{"q_proj", "k_proj", "v_proj"}, {"o_proj"}, {"gate_proj", "up_proj"}, {"down_proj"}}

-- magnitudes ^ exponent, centred on 1, and its reciprocal, which a checkpoint stores as F16.
local function make_scales(magnitudes, exponent)
  local scales = (magnitudes ^ exponent):maximum(1e-4)
  scales = (scales / math.sqrt(scales:min() * scales:max())):clamp(1e-4, 1e4)
  local inverse = (1 / scales):to_f16()
  return 1 / inverse, inverse
end

-- The squared error of all outputs with these scales.
local function output_error(linears, weights, x, scales, inverse)
  local sum = 0
  for i, linear in ipairs(linears) do
    local w = weights[i]
    local rounded = (w * scales):quantise{bits = linear.bits, group_size = linear.group_size}
    sum = sum + x:matmul_t(rounded * inverse - w):norm() ^ 2
  end
  return sum
end

local function search(linears, x, magnitudes, grid)
  local weights, best = {}, {error = math.huge}
  for i, linear in ipairs(linears) do weights[i] = linear:weight() end
  for i = 0, grid - 1 do
    local scales, inverse = make_scales(magnitudes, i / grid)
    local found = output_error(linears, weights, x, scales, inverse)
    if found < best.error then best = {error = found, scales = scales, exponent = i} end
  end
  return best
end

return function(model, options)
  local grid, rows = options.grid or 20, options.rows or 2048
  return {
    name = "awq_lua",
    description = "AWQ's channel scales, in Lua",
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
      for _, kinds in ipairs(inputs) do
        local linears = {}
        for _, kind in ipairs(kinds) do
          local linear = block.linears[kind]
          if not linear.is_kept then linears[#linears + 1] = linear end
        end
        if #linears > 0 then
          local magnitudes = linears[1]:stats().input.mean_abs
          local best = search(linears, linears[1]:inputs{tokens = rows}, magnitudes, grid)
          for _, linear in ipairs(linears) do linear:set_channel_scales(best.scales) end
          print(("%s: exponent %d/%d"):format(linears[1].name, best.exponent, grid))
        end
      end
    end,
  }
end
