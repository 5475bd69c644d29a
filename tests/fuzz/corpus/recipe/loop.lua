while true do local ok = pcall(function() error({}) end) goto next ::next:: end
