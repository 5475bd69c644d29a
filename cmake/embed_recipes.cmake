# SPDX-License-Identifier: MIT
# Writes OUT, a C file with the contents of RECIPES (paths separated by '|'). Run by the build:
#     cmake -DOUT=… -DRECIPES=… -P embed_recipes.cmake
string(REPLACE "|" ";" RECIPES "${RECIPES}")
list(SORT RECIPES)
set(texts "")
set(rows "")
set(n 0)
foreach(path ${RECIPES})
  get_filename_component(name ${path} NAME_WE)
  file(READ ${path} hex HEX)
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${hex}")
  string(REGEX REPLACE "((0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,)(0x..,))" "\\1\n" bytes
         "${bytes}")
  string(APPEND texts "static const char text_${n}[] = {\n${bytes}0};\n")
  string(APPEND rows "    {\"${name}\", text_${n}, sizeof text_${n} - 1},\n")
  math(EXPR n "${n} + 1")
endforeach()
file(WRITE ${OUT} "/* SPDX-License-Identifier: MIT\n *\n * Generated from lua/recipes by "
                  "cmake/embed_recipes.cmake.\n */\n#include \"lua/shipped.h\"\n\n${texts}\n"
                  "const paro_shipped_recipe paro_shipped_recipes[] = {\n${rows}};\n"
                  "const size_t paro_n_shipped_recipes = ${n};\n")
