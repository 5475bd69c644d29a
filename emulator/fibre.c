/* SPDX-License-Identifier: MIT
 *
 * Fibres: the switch itself in assembly for x86-64 and AArch64, elsewhere by ucontext.
 */
#include "emulator/fibre.h"

#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#define WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WITH_ASAN 1
#endif
#endif
#ifndef WITH_ASAN
#define WITH_ASAN 0
#endif

#if WITH_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
enum { STACK_BYTES = 256 * 1024 };
#else
enum { STACK_BYTES = 64 * 1024 };
#endif

#if WITH_ASAN
static void begin(void *context)
{
    paro_fibre *fibre = context;
    __sanitizer_finish_switch_fiber(NULL, &fibre->from->stack, &fibre->from->n_bytes);
    fibre->fn(fibre->context);
}
#endif

/* ---- the switch --------------------------------------------------------------------------------
 *
 * paro_fibre_jump(&from, to) pushes what a call preserves, stores the stack pointer in *from, takes
 * `to` as stack pointer and pops what lies there. A new fibre's stack looks as if it had called it
 * from paro_fibre_enter, which calls fn(context) with both out of preserved registers.
 */
#if defined(__x86_64__)

void paro_fibre_jump(void **from, void *to);
void paro_fibre_enter(void);
__asm__(".text\n"
        ".globl paro_fibre_jump\n"
        ".hidden paro_fibre_jump\n"
        ".type paro_fibre_jump, @function\n"
        "paro_fibre_jump:\n"
        "    pushq %rbp\n    pushq %rbx\n    pushq %r12\n"
        "    pushq %r13\n    pushq %r14\n    pushq %r15\n"
        "    movq %rsp, (%rdi)\n"
        "    movq %rsi, %rsp\n"
        "    popq %r15\n    popq %r14\n    popq %r13\n"
        "    popq %r12\n    popq %rbx\n    popq %rbp\n"
        "    ret\n"
        ".size paro_fibre_jump, . - paro_fibre_jump\n"
        ".globl paro_fibre_enter\n"
        ".hidden paro_fibre_enter\n"
        ".type paro_fibre_enter, @function\n"
        "paro_fibre_enter:\n"
        "    movq %r12, %rdi\n"
        "    call *%r13\n"
        "    ud2\n"
        ".size paro_fibre_enter, . - paro_fibre_enter\n");

static void *new_stack(char *top, paro_fibre_fn *fn, void *context)
{
    uint64_t *sp = (uint64_t *)(void *)top;
    *--sp = 0;
    *--sp = 0; /* paro_fibre_enter begins with sp a multiple of 16 */
    *--sp = (uint64_t)(uintptr_t)paro_fibre_enter;
    *--sp = 0;                            /* rbp */
    *--sp = 0;                            /* rbx */
    *--sp = (uint64_t)(uintptr_t)context; /* r12 */
    *--sp = (uint64_t)(uintptr_t)fn;      /* r13 */
    *--sp = 0;
    *--sp = 0;
    return sp;
}

static void jump(paro_fibre *from, paro_fibre *to)
{
    paro_fibre_jump(&from->sp, to->sp);
}

#elif defined(__aarch64__)

void paro_fibre_jump(void **from, void *to);
void paro_fibre_enter(void);
__asm__(".text\n"
        ".globl paro_fibre_jump\n"
        ".hidden paro_fibre_jump\n"
        ".type paro_fibre_jump, %function\n"
        "paro_fibre_jump:\n"
        "    sub sp, sp, #160\n"
        "    stp x19, x20, [sp, #0]\n    stp x21, x22, [sp, #16]\n"
        "    stp x23, x24, [sp, #32]\n    stp x25, x26, [sp, #48]\n"
        "    stp x27, x28, [sp, #64]\n    stp x29, x30, [sp, #80]\n"
        "    stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n"
        "    stp d12, d13, [sp, #128]\n    stp d14, d15, [sp, #144]\n"
        "    mov x9, sp\n"
        "    str x9, [x0]\n"
        "    mov sp, x1\n"
        "    ldp x19, x20, [sp, #0]\n    ldp x21, x22, [sp, #16]\n"
        "    ldp x23, x24, [sp, #32]\n    ldp x25, x26, [sp, #48]\n"
        "    ldp x27, x28, [sp, #64]\n    ldp x29, x30, [sp, #80]\n"
        "    ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n"
        "    ldp d12, d13, [sp, #128]\n    ldp d14, d15, [sp, #144]\n"
        "    add sp, sp, #160\n"
        "    ret\n"
        ".size paro_fibre_jump, . - paro_fibre_jump\n"
        ".globl paro_fibre_enter\n"
        ".hidden paro_fibre_enter\n"
        ".type paro_fibre_enter, %function\n"
        "paro_fibre_enter:\n"
        "    mov x0, x19\n"
        "    blr x20\n"
        "    brk #1\n"
        ".size paro_fibre_enter, . - paro_fibre_enter\n");

static void *new_stack(char *top, paro_fibre_fn *fn, void *context)
{
    uint64_t *sp = (uint64_t *)(void *)(top - 160);
    for (int i = 0; i < 20; i++)
        sp[i] = 0;
    sp[0] = (uint64_t)(uintptr_t)context;           /* x19 */
    sp[1] = (uint64_t)(uintptr_t)fn;                /* x20 */
    sp[11] = (uint64_t)(uintptr_t)paro_fibre_enter; /* x30 */
    return sp;
}

static void jump(paro_fibre *from, paro_fibre *to)
{
    paro_fibre_jump(&from->sp, to->sp);
}

#else
#include <ucontext.h>

/* Contexts live at the top of their stack; the thread's own on the stack that jumps. */
static void enter(unsigned high, unsigned low)
{
    paro_fibre *fibre = (paro_fibre *)(uintptr_t)((uint64_t)high << 32 | low);
#if WITH_ASAN
    begin(fibre);
#else
    fibre->fn(fibre->context);
#endif
}

static void *new_stack(char *top, paro_fibre_fn *fn, void *context)
{
    (void)fn;
    (void)context;
    return top - 4096;
}

static void jump(paro_fibre *from, paro_fibre *to)
{
    ucontext_t here;
    from->sp = &here;
    if (to->is_new) {
        to->is_new = false;
        char *low = (char *)(uintptr_t)to->stack;
        ucontext_t *context = to->sp;
        (void)getcontext(context);
        context->uc_stack.ss_sp = low;
        context->uc_stack.ss_size = (size_t)((char *)to->sp - low);
        context->uc_link = NULL;
        uint64_t address = (uint64_t)(uintptr_t)to;
        makecontext(context, (void (*)(void))enter, 2, (unsigned)(address >> 32),
                    (unsigned)address);
    }
    (void)swapcontext(&here, to->sp);
}
#endif

/* ---- stacks ------------------------------------------------------------------------------------
 */

void paro_stacks_free(paro_stacks *stacks)
{
    if (stacks == NULL || stacks->data == NULL)
        return;
    paro_stacks_forget(stacks);
    (void)munmap(stacks->data, stacks->n * STACK_BYTES);
    *stacks = (paro_stacks){0};
}

bool paro_stacks_reserve(paro_stacks *stacks, size_t n)
{
    if (n <= stacks->n)
        return true;
    paro_stacks_free(stacks);
    void *data = mmap(NULL, n * STACK_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (data == MAP_FAILED)
        return false;
    *stacks = (paro_stacks){.data = data, .n = n};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    /* A limit of the system on the number of mappings ends this early: later stacks do without. */
    for (size_t i = 0; i < n; i++)
        if (mprotect(stacks->data + i * STACK_BYTES, page, PROT_NONE) != 0)
            break;
    return true;
}

void paro_stacks_forget(const paro_stacks *stacks)
{
#if WITH_ASAN
    __asan_unpoison_memory_region(stacks->data, stacks->n * STACK_BYTES);
#else
    (void)stacks;
#endif
}

void paro_fibre_prepare(paro_fibre *fibre, const paro_stacks *stacks, size_t i, paro_fibre_fn *fn,
                        void *context)
{
    char *low = stacks->data + i * STACK_BYTES;
    /* Equal places of all stacks would fall into the same few sets of the processor's caches. */
    char *top = low + STACK_BYTES - (i % 32) * 256;
    *fibre = (paro_fibre){
        .stack = low, .n_bytes = STACK_BYTES, .fn = fn, .context = context, .is_new = true};
#if WITH_ASAN
    __asan_unpoison_memory_region(top - 8192, 8192); /* what the last fibre here never left */
    fibre->sp = new_stack(top, begin, fibre);
#else
    fibre->sp = new_stack(top, fn, context);
#endif
}

void paro_fibre_switch(paro_fibre *from, paro_fibre *to, bool ends)
{
#if WITH_ASAN
    to->from = from;
    __sanitizer_start_switch_fiber(ends ? NULL : &from->fake_stack, to->stack, to->n_bytes);
    jump(from, to);
    __sanitizer_finish_switch_fiber(from->fake_stack, &from->from->stack, &from->from->n_bytes);
#else
    (void)ends;
    jump(from, to);
#endif
}
