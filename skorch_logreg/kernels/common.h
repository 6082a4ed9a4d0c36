/* What all kernels share: plain C99 functions on pointers, sizes and strides, called through ctypes
   without the GIL. They run on one thread, allocate nothing and keep no state. Numbers that are not
   finite go through them and are found in their sums. */
#ifndef SKORCH_LOGREG_COMMON_H
#define SKORCH_LOGREG_COMMON_H

#include <stdint.h>

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT
#endif

/* One binary with a version of each exported function for each instruction set, which the dynamic
   linker chooses from. This needs indirect functions, which glibc has. The compilers inline static
   functions into each version only if they are told to: without, a call would be left to the code
   of the lowest instruction set. */
#if defined(__x86_64__) && defined(__linux__) && !defined(SKORCH_LOGREG_NO_CLONES)
#include <features.h>
#if defined(__GLIBC__) && \
    ((defined(__clang__) && __clang_major__ >= 18) || (!defined(__clang__) && __GNUC__ >= 12))
#define HAS_CLONES 1
#endif
#endif

#if defined(HAS_CLONES)
#define CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CLONES
#endif

#if defined(__GNUC__)
#define INNER static inline __attribute__((always_inline))
#define PREFETCH(address) __builtin_prefetch(address)
#define PREFETCH_OUTER(address) __builtin_prefetch(address, 0, 2) /* into the second cache */
#else
#define INNER static inline
#define PREFETCH(address) (void)(address)
#define PREFETCH_OUTER(address) (void)(address)
#endif

/* Whether the processor has 32 vector registers of 64 bytes. */
INNER int has_wide_registers(void)
{
#if defined(HAS_CLONES)
    return __builtin_cpu_supports("avx512f");
#elif defined(__AVX512F__) || defined(SKORCH_LOGREG_WIDE_BLOCKS)
    return 1;
#else
    return 0;
#endif
}

#define PANEL 16 /* columns of a panel of a Gram matrix */
#define MAX_TILE 256 /* rows whose logits and residuals are held at a time, at most */

INNER int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

#endif
