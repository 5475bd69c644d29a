local s = ("model.layers.10.mlp"):gsub("(%d+)", function(d) return d + 1 end)
local a, b = s:find("^(%a+)%.[%w_]+.-$")
for w in s:gmatch("%f[%w]%w+") do print(w, a, b, #w, ("%5.2f"):format(1.5)) end
local ok, m = pcall(string.rep, "x", 100) assert(ok)
return load("return {bits = 2 + 2, group_size = 32}", "n", "t", {})()
