return function(model, options)
  local names = {}
  for _, l in ipairs(model.linears) do
    if l.kind == "down_proj" and l.layer % 2 == 0 then names[#names + 1] = l.name end
  end
  table.sort(names, function(a, b) return a < b end)
  return {linears = names, bits = options.bits or math.min(4, model.n_layers)}
end
