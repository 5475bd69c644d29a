/* SPDX-License-Identifier: MIT
 *
 * From a variant to a kernel: render (template and holes to source), check (libclang: diagnostics
 * and signature), compile (NVRTC), inspect (registers, spills, instructions). driver.c lists the
 * passes in their order. Same inputs, same bytes, on every machine.
 */
#ifndef PARO_CODEGEN_CODEGEN_H
#define PARO_CODEGEN_CODEGEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/hash.h"
#include "families/family.h"

/* Exactly one source. */
typedef struct paro_variant {
    const paro_problem *problem; /* the bucket's */
    const paro_kernel_config *config;
    const paro_arch *arch;
} paro_variant;

/* ---- render ------------------------------------------------------------------------------------
 */

/* The source: the template with its holes filled and its parts (lib/ *.cuh) put in place of their
 * #include lines, each once, with #line directives, so that every diagnostic names the template's
 * own line. It begins with a comment that says how it was made: template, its hash, every hole.
 * Variants whose holes are alike share one source. */
paro_status paro_render(paro_error *err, const paro_variant *variant, paro_buffer *source);

/* SHA-256 over the family's template and the parts it includes: what winners depend on. */
paro_status paro_template_hash(paro_error *err, const paro_family *family,
                               char out[PARO_SHA256_HEX_BYTES]);

/* ---- check -------------------------------------------------------------------------------------
 */

typedef enum paro_param_kind { PARO_PARAM_POINTER, PARO_PARAM_SCALAR } paro_param_kind;

typedef struct paro_signature_param {
    const char *name;
    const char *type; /* as the source spells it, canonical: "const unsigned short *" */
    paro_param_kind kind;
    bool is_const;          /* POINTER: to const */
    uint32_t element_bytes; /* of the pointee, or of the scalar */
} paro_signature_param;

typedef struct paro_signature_kernel {
    const char *name;
    paro_signature_param *params;
    size_t n_params;
} paro_signature_kernel;

/* Every __global__ function of a source; memory in the arena it was made with. */
typedef struct paro_signature {
    paro_signature_kernel *kernels;
    size_t n_kernels;
} paro_signature;

/* As text and back (JSON), stored beside cubins. */
paro_status paro_signature_print(paro_error *err, const paro_signature *signature,
                                 paro_buffer *out);
paro_status paro_signature_parse(paro_error *err, const char *where, const char *text,
                                 size_t n_bytes, paro_arena *arena, paro_signature *out);

/* The plan's launches against the signature: every kernel is there, with as many parameters as
 * arguments, each of the argument's name, kind, element size, and constness (an input's or weight's
 * pointer is to const, an output's not). PARO_STATUS_FORMAT names kernel, parameter, expected,
 * found. */
paro_status paro_signature_check(paro_error *err, const paro_signature *signature,
                                 const paro_problem *problem, const paro_kernel_config *config);

/* libclang, loaded with dlopen. UNSUPPORTED where there is none, naming what was looked for. */
typedef struct paro_checker paro_checker;
paro_status paro_checker_new(paro_error *err, paro_checker **out);
void paro_checker_free(paro_checker *checker);
const char *paro_checker_version(const paro_checker *checker);

/* Diagnostics of the source as host C++ through the emulator's header: errors are
 * PARO_STATUS_FORMAT with "rotate.cu:41:9: error: …" of the first; else the signature. One thread
 * at a time. */
paro_status paro_checker_check(paro_error *err, paro_checker *checker, const char *source,
                               size_t n_bytes, paro_arena *arena, paro_signature *out);

/* ---- compile -----------------------------------------------------------------------------------
 */

/* NVRTC, loaded with dlopen: `library`; or, where that is NULL, the first of: libnvrtc.so.13,
 * libnvrtc.so.12 (the loader's search), /usr/local/cuda/lib64/libnvrtc.so, and, from the folder D
 * of the running program, D/../lib/paro/libnvrtc.so.13 (an installation) and
 * D/../nvrtc/libnvrtc.so.13 (build/nvrtc, where scripts/fetch_nvrtc.sh puts it). The environment is
 * not read: the command line passes $PARO_NVRTC. UNSUPPORTED where there is none. Any number of
 * threads may compile with one paro_nvrtc. */
typedef struct paro_nvrtc paro_nvrtc;
paro_status paro_nvrtc_new(paro_error *err, const char *library, paro_nvrtc **out);
void paro_nvrtc_free(paro_nvrtc *nvrtc);
const char *paro_nvrtc_version(const paro_nvrtc *nvrtc); /* "13.0" */
bool paro_nvrtc_supports(const paro_nvrtc *nvrtc, const paro_arch *arch);

/* The options that are given to NVRTC, one a line; part of a kernel's key. */
const char *paro_nvrtc_options(void);

/* malloc'd: free with paro_binary_release. */
typedef struct paro_binary {
    void *data; /* cubin, or PTX with its zero */
    size_t n_bytes;
    bool is_ptx;
    char *log; /* NVRTC's and ptxas's, less what tells times; never NULL */
} paro_binary;
void paro_binary_release(paro_binary *binary);

/* Compiles for `target`: a name, own_name (cubin) or virtual_name (PTX) of an arch. What the
 * compiler says about a bad source is PARO_STATUS_FORMAT with its first error line. */
paro_status paro_nvrtc_compile(paro_error *err, const paro_nvrtc *nvrtc, const char *source,
                               const char *target, paro_binary *out);

/* The target for a source on an arch: own_name where the source asks for it (a line
 * "// needs: own" that templates with wgmma carry), else name. */
const char *paro_target_of(const char *source, const paro_arch *arch);

/* ---- inspect -----------------------------------------------------------------------------------
 */

typedef struct paro_kernel_resources {
    const char *name;
    uint32_t n_registers;
    uint32_t stack_bytes;
    uint32_t spill_store_bytes;
    uint32_t spill_load_bytes;
    uint32_t static_shared_bytes;
    uint32_t n_barriers;
    uint32_t n_instructions;  /* of the kernel's code, padding not counted */
    uint32_t n_tensor;        /* HMMA, HGMMA, … */
    uint32_t n_global_loads;  /* LDG */
    uint32_t n_global_stores; /* STG */
    uint32_t n_shared_loads;  /* LDS, LDSM */
    uint32_t n_shared_stores; /* STS */
    uint32_t n_local;         /* LDL, STL */
    uint32_t n_barrier_waits; /* BAR */
} paro_kernel_resources;

typedef struct paro_resources {
    paro_kernel_resources *kernels;
    size_t n_kernels;
} paro_resources;

/* From ptxas's log and the cubin (an ELF file, not trusted); names in the arena. A PTX binary has
 * the counts of the log only where it has one. */
paro_status paro_inspect(paro_error *err, const paro_binary *binary, paro_arena *arena,
                         paro_resources *out);
paro_status paro_resources_print(paro_error *err, const paro_resources *resources,
                                 paro_buffer *out);
paro_status paro_resources_parse(paro_error *err, const char *where, const char *text,
                                 size_t n_bytes, paro_arena *arena, paro_resources *out);

/* The cubin's code as text: address, mnemonic, and the 128-bit word; through nvdisasm where it is
 * on the PATH, else by opcode only. */
paro_status paro_disassemble(paro_error *err, const paro_binary *binary, paro_buffer *out);

/* ---- all passes --------------------------------------------------------------------------------
 */

/* SHA-256 of source, target, options and NVRTC version: the name of a kernel. */
void paro_kernel_key(const char *source, const char *target, const char *nvrtc_version,
                     char out[PARO_SHA256_HEX_BYTES]);

/* What a pass leaves behind; `text` is what --stage prints ("source", "signature", "resources", …).
 * Called after every pass. */
typedef void paro_dump_fn(void *context, const char *pass, const char *text, size_t n_bytes);

typedef struct paro_build {
    paro_arena arena; /* owns the rest */
    char *source;     /* zero-terminated */
    size_t n_source_bytes;
    const char *target; /* "sm_90" */
    bool has_signature; /* there was a libclang */
    paro_signature signature;
    paro_binary binary;
    paro_resources resources;
    char key[PARO_SHA256_HEX_BYTES];
} paro_build;
void paro_build_release(paro_build *build);

/* render → check → compile → inspect. `checker` may be NULL: no signature. `nvrtc` may be NULL:
 * stops after the check. Constraints of the family hold for the variant, or
 * PARO_STATUS_INVALID_ARGUMENT. */
paro_status paro_build_variant(paro_error *err, const paro_variant *variant, paro_checker *checker,
                               const paro_nvrtc *nvrtc, paro_dump_fn *dump, void *context,
                               paro_build *out);

#endif
