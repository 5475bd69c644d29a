-- SPDX-License-Identifier: MIT
--
-- What the parts of ParoQuant are worth: one model, quantised again and again with one thing changed,
-- in memory, and compared with the original.
--
--     paro lua --allow-io ablation MODEL TEXT [OPTION]...
--
--   TEXT              the text that is scored; it should not be among those for calibration
--   --calib=FILE      a text to calibrate with, plain or .jsonl; may be given again (default: the model
--                     writes its own samples)
--   --validation=FILE a text for validation samples (default: held out of the others)
--   --bits=N          of the weights (default 4)
--   --samples=N       for training, in the base variant (default 256)
--   --tokens=N        of a sample (default 512)
--   --epochs=N        of each of the two stages (default 10)
--   --batch=N         samples of one step (default 16)
--   --seed=N          (default 0)
--   --max-tokens=N    of the text that is scored (default 100000)
--   --only=WORDS      only variants with these words in their names
--   --grid            every combination of rounds, group size and pairs, instead of one change at a time
--   --quick           few samples, one epoch, a short text: a minute for a small model
--   --out=PREFIX      writes PREFIX.csv, and PREFIX.svg (default ablation); needs --allow-io
--
-- The base variant is the recipe paroquant: 8 rounds of rotations with random pairs, groups of 128,
-- angles and channel scales trained, then weights and quantiser. Results that PREFIX.csv has already
-- are not computed again, so a run that was stopped goes on where it was: a row counts where its
-- settings, the model's path and the texts' paths are the same.
--
-- kl is the mean KL divergence from the original in nats, gap the perplexity above the original's.

local numbers = { bits = 4, samples = 256, tokens = 512, epochs = 10, batch = 16, seed = 0, ["max-tokens"] = 100000 }
local quick = { samples = 16, tokens = 128, epochs = 1, batch = 8, ["max-tokens"] = 4096 }

-- ---- arguments ----

local function fail(message, ...)
  error("ablation: " .. string.format(message, ...), 0)
end

local function parse(words)
  local a = { calib = {}, out = "ablation" }
  local given = {}
  local n = 0
  for _, word in ipairs(words) do
    local key, value = word:match("^%-%-([%a-]+)=(.*)$")
    if word == "--quick" or word == "--grid" then
      a[word:sub(3)] = true
    elseif numbers[key] then
      given[key] = math.tointeger(tonumber(value))
      if not given[key] or given[key] < 0 then fail("--%s: expected a whole number, found '%s'", key, value) end
    elseif key == "calib" then
      a.calib[#a.calib + 1] = value
    elseif key == "validation" or key == "out" or key == "only" then
      a[key] = value
    elseif word:sub(1, 1) == "-" then
      fail("unknown option '%s'", word)
    else
      n = n + 1
      a[n] = word
    end
  end
  if n ~= 2 then fail("expected MODEL and TEXT, found %d arguments", n) end
  for key, default in pairs(numbers) do
    a[key] = given[key] or a.quick and quick[key] or default
  end
  a.model, a.text = a[1], a[2]
  return a
end

-- ---- variants ----

local function with(base, changes)
  local v = {}
  for key, value in pairs(base) do v[key] = value end
  for key, value in pairs(changes) do v[key] = value end
  return v
end

local function variants(a)
  local base = {
    group = "base", name = "base", method = "paroquant", krot = 8, group_size = 128, pairs = "random",
    angles = true, scales = true, samples = a.samples,
  }
  local list = {}
  local function add(group, name, changes)
    list[#list + 1] = with(with(base, { group = group, name = name }), changes)
  end
  local function add_rtn(size)
    add("rounding", "RTN, groups of " .. size, {
      method = "rtn", krot = 0, group_size = size, pairs = "-", angles = false, scales = false, samples = 0,
    })
  end
  add_rtn(128)
  add_rtn(64)
  if a.grid then
    for _, size in ipairs{ 128, 64 } do
      add("grid", string.format("0 rounds, groups of %d", size), { krot = 0, pairs = "-", angles = false, group_size = size })
      for _, krot in ipairs{ 2, 4, 8 } do
        for _, kind in ipairs{ "random", "magnitude", "butterfly" } do
          add("grid", string.format("%d rounds, groups of %d, %s", krot, size, kind),
            { krot = krot, group_size = size, pairs = kind })
        end
      end
    end
    return list
  end
  add("base", "base: 8 rounds, groups of 128, random", {})
  add("parts", "neither rotations nor scales", { krot = 0, pairs = "-", angles = false, scales = false })
  add("parts", "scales only (0 rounds)", { krot = 0, pairs = "-", angles = false })
  add("parts", "rotations only", { scales = false })
  add("rounds", "2 rounds", { krot = 2 })
  add("rounds", "4 rounds", { krot = 4 })
  add("groups", "groups of 64", { group_size = 64 })
  add("pairs", "magnitude pairs", { pairs = "magnitude" })
  add("pairs", "butterfly pairs", { pairs = "butterfly" })
  for _, share in ipairs{ 8, 4, 2 } do
    local n = math.max(1, a.samples // share)
    add("samples", n .. " samples", { samples = n })
  end
  return list
end

-- As lua/recipes/paroquant.lua, with the parts that can be left out.
local function recipe(a, v)
  if v.method == "rtn" then
    return { name = v.name, bits = a.bits, group_size = v.group_size }
  end
  local rate = 0.05
  return {
    name = v.name,
    bits = a.bits,
    group_size = v.group_size,
    krot = v.krot,
    data = {
      samples = v.samples,
      validation = math.max(1, a.samples // 8),
      tokens = a.tokens,
      seed = a.seed,
    },
    block = function(block)
      if v.krot > 0 then block:pairs{ kind = v.pairs, seed = a.seed } end
      if v.angles or v.scales then
        block:optimise{
          angles = v.angles and rate or nil, channel_scales = v.scales and rate or nil,
          epochs = a.epochs, batch = a.batch, seed = a.seed,
        }
      end
      block:optimise{ weight = 1e-5, quantizer = 1e-6, epochs = a.epochs, batch = a.batch, seed = a.seed }
    end,
  }
end

-- ---- the table of results, as CSV ----

local settings = {
  "group", "name", "method", "bits", "krot", "group_size", "pairs", "angles", "scales", "samples",
  "tokens", "epochs", "batch", "seed", "max_tokens", "model", "text", "calib",
}
local results = {
  "perplexity", "reference_perplexity", "kl", "kl_p99", "same_top", "bits_per_weight", "relative_error", "seconds",
}
local columns = table.move(results, 1, #results, #settings + 1, table.move(settings, 1, #settings, 1, {}))

local function quoted(value)
  local text = tostring(value)
  if text:find('[,"\r\n]') then text = '"' .. text:gsub('"', '""') .. '"' end
  return text
end

local function to_csv(rows)
  local lines = { table.concat(columns, ",") }
  for _, row in ipairs(rows) do
    local cells = {}
    for i, column in ipairs(columns) do cells[i] = quoted(row[column]) end
    lines[#lines + 1] = table.concat(cells, ",")
  end
  return table.concat(lines, "\n") .. "\n"
end

-- One record of cells from position `at`, and the position after it.
local function read_record(text, at)
  local cells = {}
  while true do
    local cell
    if text:sub(at, at) == '"' then
      local parts = {}
      repeat
        local stop = text:find('"', at + 1, true) or fail("a cell has no closing quote")
        parts[#parts + 1] = text:sub(at + 1, stop - 1)
        at = stop + 1
      until text:sub(at, at) ~= '"'
      cell = table.concat(parts, '"')
    else
      local stop = text:find("[,\n]", at) or #text + 1
      cell = text:sub(at, stop - 1)
      at = stop
    end
    cells[#cells + 1] = cell
    local separator = text:sub(at, at)
    at = at + 1
    if separator ~= "," then return cells, at end
  end
end

local function read_csv(path)
  local file = io.open(path, "r")
  if not file then return {} end
  local text = file:read("a")
  file:close()
  local rows = {}
  local header, at = read_record(text, 1)
  if table.concat(header, ",") ~= table.concat(columns, ",") then
    fail("%s: is not a table of this script (its columns are others); move it away, or choose another --out", path)
  end
  while at <= #text do
    local cells
    cells, at = read_record(text, at)
    local row = {}
    for i, column in ipairs(columns) do row[column] = cells[i] end
    for _, column in ipairs(results) do
      row[column] = tonumber(row[column]) or fail("%s: %s: expected a number, found '%s'", path, column, row[column])
    end
    rows[#rows + 1] = row
  end
  return rows
end

local function key_of(row)
  local parts = {}
  for i, column in ipairs(settings) do
    parts[i] = (column == "name" or column == "group") and "" or tostring(row[column])
  end
  return table.concat(parts, "\0")
end

-- ---- the plot ----

local function escaped(text)
  return (text:gsub("[&<>]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }))
end

-- A step of 1, 2 or 5 times a power of ten, so that there are about five.
local function nice_step(most)
  local power = 10 ^ math.floor(math.log(most / 5, 10))
  for _, factor in ipairs{ 1, 2, 5 } do
    if most / (power * factor) <= 6 then return power * factor end
  end
  return power * 10
end

local colours = {
  rounding = "#9a9a9a", base = "#1b5e9e", parts = "#c2571a", rounds = "#3a8f5c", groups = "#7a52a8",
  pairs = "#b0892b", samples = "#3d8fa8", grid = "#3a8f5c",
}

local function panel(out, rows, x, width, top, bar, title, value, format)
  local most = 0
  for _, row in ipairs(rows) do most = math.max(most, value(row)) end
  if most <= 0 then most = 1 end
  local step = nice_step(most)
  local bottom = top + bar * #rows
  local scale = width / (step * math.ceil(most / step))
  local function add(...) out[#out + 1] = string.format(...) end
  add('<text x="%g" y="%g" class="title">%s</text>', x, top - 14, title)
  for i = 0, math.ceil(most / step) do
    local at = x + i * step * scale
    add('<line x1="%.1f" y1="%g" x2="%.1f" y2="%g" class="grid"/>', at, top, at, bottom)
    add('<text x="%.1f" y="%g" class="tick" text-anchor="middle">%s</text>', at, bottom + 16, string.format("%.10g", i * step))
  end
  for i, row in ipairs(rows) do
    local y, v = top + (i - 1) * bar, math.max(value(row), 0)
    add('<rect x="%g" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>', x, y + 4, v * scale, bar - 8, colours[row.group])
    local inside = v * scale > width - 56
    add('<text x="%.1f" y="%.1f" class="value%s" text-anchor="%s">%s</text>', x + v * scale + (inside and -5 or 5),
      y + bar / 2 + 4, inside and " inside" or "", inside and "end" or "start", string.format(format, value(row)))
  end
  add('<line x1="%g" y1="%g" x2="%g" y2="%g" class="axis"/>', x, top, x, bottom)
  add('<line x1="%g" y1="%g" x2="%g" y2="%g" class="axis"/>', x, bottom, x + width, bottom)
end

local function to_svg(rows, a)
  local bar, top, left, width, between = 24, 90, 264, 330, 40
  local total_width, height = left + 2 * width + between + 30, top + bar * #rows + 36
  local out = {
    string.format('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d">', total_width,
      height, total_width, height),
    "<style>text { font-family: Helvetica, Arial, sans-serif; font-size: 12px; fill: #222 } "
      .. ".head { font-size: 15px; font-weight: bold } .title { font-size: 13px; font-weight: bold } "
      .. ".tick { font-size: 11px; fill: #555 } .value { font-size: 11px } .inside { fill: #fff } "
      .. ".grid { stroke: #ddd } .axis { stroke: #444 }</style>",
    string.format('<rect width="%d" height="%d" fill="#fff"/>', total_width, height),
    string.format('<text x="14" y="26" class="head">%s</text>',
      escaped(string.format("%s, %d bits: what the parts of ParoQuant are worth", a.model, a.bits))),
    string.format('<text x="14" y="45">%s</text>',
      escaped(string.format("scored on %s; original perplexity %.4f", a.text, rows[1].reference_perplexity))),
  }
  for i, row in ipairs(rows) do
    out[#out + 1] = string.format('<text x="%d" y="%.1f" text-anchor="end">%s</text>', left - 10,
      top + (i - 0.5) * bar + 4, escaped(row.name))
  end
  panel(out, rows, left, width, top, bar, "mean KL divergence from the original, nats",
    function(row) return row.kl end, "%.4f")
  panel(out, rows, left + width + between, width, top, bar, "perplexity above the original, %",
    function(row) return 100 * (row.perplexity / row.reference_perplexity - 1) end, "%.2f %%")
  out[#out + 1] = "</svg>"
  return table.concat(out, "\n") .. "\n"
end

-- ---- the run ----

local function compute(a, v, original)
  local texts
  if v.method ~= "rtn" and #a.calib > 0 then
    texts = table.move(a.calib, 1, #a.calib, 1, {})
    if a.validation then texts[#texts + 1] = { path = a.validation, validation = true } end
  end
  local model <close>, report = paro.quantize(original, recipe(a, v), {
    texts = texts,
    format = a.bits == 4 and "paroquant" or "pseudo",
  })
  local score = paro.eval(model, { text = a.text, against = original, max_tokens = a["max-tokens"] })
  return {
    perplexity = score.perplexity,
    reference_perplexity = score.reference_perplexity,
    kl = score.kl_mean,
    kl_p99 = score.kl_p99,
    same_top = score.same_top,
    bits_per_weight = report.bits_per_weight,
    relative_error = report.mean_relative_error,
    seconds = report.seconds,
  }
end

local function print_row(row)
  print(string.format("%-38s %10.4f %8.3f %% %9.5f %9.5f %8.2f %% %7.3f %8.1f", row.name, row.perplexity,
    100 * (row.perplexity / row.reference_perplexity - 1), row.kl, row.kl_p99, 100 * row.same_top,
    row.bits_per_weight, row.seconds))
end

local a = parse{ ... }
local original <close> = paro.open(a.model)
local csv = a.out .. ".csv"
local rows, known = {}, {}
if io then
  for _, row in ipairs(read_csv(csv)) do
    rows[#rows + 1] = row
    known[key_of(row)] = row
  end
else
  print("(nothing is written, and nothing kept: paro lua --allow-io ablation …)")
end
print(string.format("%-38s %10s %10s %9s %9s %10s %7s %8s", "variant", "perplexity", "gap", "kl", "kl p99", "same top",
  "bits", "seconds"))
local shown = {}
local chosen = {}
for _, v in ipairs(variants(a)) do
  if not a.only or v.name:find(a.only, 1, true) then chosen[#chosen + 1] = v end
end
if #chosen == 0 then fail("--only: no variant has '%s' in its name", a.only) end
for _, v in ipairs(chosen) do
  local row = with(v, {
    bits = a.bits, tokens = a.tokens, epochs = a.epochs, batch = a.batch, seed = a.seed,
    max_tokens = a["max-tokens"], model = a.model, text = a.text,
    calib = table.concat(a.calib, " ") .. (a.validation and " | " .. a.validation or ""),
  })
  local found = known[key_of(row)]
  if found then
    for _, column in ipairs(results) do row[column] = found[column] end
  else
    row = with(row, compute(a, v, original))
    rows[#rows + 1] = row
    known[key_of(row)] = row
    if io then paro.write(csv, to_csv(rows)) end
  end
  shown[#shown + 1] = row
  print_row(row)
end
if io then
  paro.write(a.out .. ".svg", to_svg(shown, a))
  print(string.format("%s, %s.svg", csv, a.out))
end
