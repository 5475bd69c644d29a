local co = coroutine.wrap(function(n) for i = 1, n do coroutine.yield(i) end return 0 end)
local t = {co(3), co(), co(), co()}
table.move(t, 1, 3, 2) table.insert(t, 1, 9) table.remove(t, 2)
return {bits = t[1] == 9 and 4 or 5, linears = "*" .. utf8.char(46) .. "?_proj"}
