/* SPDX-License-Identifier: MIT
 *
 * libclang's C interface, as far as clang_check.c uses it: written after its documentation, alike
 * from version 13 to 21.
 */
#ifndef PARO_CODEGEN_CLANG_API_H
#define PARO_CODEGEN_CLANG_API_H

typedef struct clang_string {
    const void *data;
    unsigned flags;
} clang_string;

typedef struct clang_location {
    const void *data[2];
    unsigned offset;
} clang_location;

typedef struct clang_cursor {
    unsigned kind;
    int extra;
    const void *data[3];
} clang_cursor;

typedef struct clang_type {
    unsigned kind;
    void *data[2];
} clang_type;

typedef struct clang_unsaved_file {
    const char *name;
    const char *text;
    unsigned long n_bytes;
} clang_unsaved_file;

enum {
    CLANG_CURSOR_FUNCTION = 8,
    CLANG_CURSOR_ANNOTATION = 406,
    CLANG_TYPE_POINTER = 101,
    CLANG_VISIT_BREAK = 0,
    CLANG_VISIT_CONTINUE = 1,
    CLANG_VISIT_RECURSE = 2,
    CLANG_SEVERITY_ERROR = 3
};

typedef int clang_visitor(clang_cursor cursor, clang_cursor parent, void *context);

/* A row a function: member, name in the library, result, parameters. */
#define CLANG_FUNCTIONS(X)                                                                         \
    X(create_index, "clang_createIndex", void *, (int exclude_pch, int display))                   \
    X(dispose_index, "clang_disposeIndex", void, (void *index))                                    \
    X(parse, "clang_parseTranslationUnit2", int,                                                   \
      (void *index, const char *name, const char *const *args, int n_args,                         \
       clang_unsaved_file *files, unsigned n_files, unsigned options, void **unit))                \
    X(dispose_unit, "clang_disposeTranslationUnit", void, (void *unit))                            \
    X(n_diagnostics, "clang_getNumDiagnostics", unsigned, (void *unit))                            \
    X(diagnostic, "clang_getDiagnostic", void *, (void *unit, unsigned i))                         \
    X(dispose_diagnostic, "clang_disposeDiagnostic", void, (void *diagnostic))                     \
    X(severity, "clang_getDiagnosticSeverity", int, (void *diagnostic))                            \
    X(diagnostic_text, "clang_getDiagnosticSpelling", clang_string, (void *diagnostic))            \
    X(diagnostic_location, "clang_getDiagnosticLocation", clang_location, (void *diagnostic))      \
    X(presumed_location, "clang_getPresumedLocation", void,                                        \
      (clang_location location, clang_string * file, unsigned *line, unsigned *column))            \
    X(string_text, "clang_getCString", const char *, (clang_string string))                        \
    X(dispose_string, "clang_disposeString", void, (clang_string string))                          \
    X(unit_cursor, "clang_getTranslationUnitCursor", clang_cursor, (void *unit))                   \
    X(visit, "clang_visitChildren", unsigned,                                                      \
      (clang_cursor parent, clang_visitor * visitor, void *context))                               \
    X(cursor_name, "clang_getCursorSpelling", clang_string, (clang_cursor cursor))                 \
    X(cursor_type, "clang_getCursorType", clang_type, (clang_cursor cursor))                       \
    X(is_definition, "clang_isCursorDefinition", unsigned, (clang_cursor cursor))                  \
    X(n_arguments, "clang_Cursor_getNumArguments", int, (clang_cursor cursor))                     \
    X(argument, "clang_Cursor_getArgument", clang_cursor, (clang_cursor cursor, unsigned i))       \
    X(canonical, "clang_getCanonicalType", clang_type, (clang_type type))                          \
    X(pointee, "clang_getPointeeType", clang_type, (clang_type type))                              \
    X(is_const, "clang_isConstQualifiedType", unsigned, (clang_type type))                         \
    X(type_text, "clang_getTypeSpelling", clang_string, (clang_type type))                         \
    X(type_bytes, "clang_Type_getSizeOf", long long, (clang_type type))                            \
    X(version, "clang_getClangVersion", clang_string, (void))

typedef struct clang_api {
#define CLANG_MEMBER(member, name, result, params) result(*member) params;
    CLANG_FUNCTIONS(CLANG_MEMBER)
#undef CLANG_MEMBER
} clang_api;

#endif
