/* Plain C99 functions on pointers, sizes and strides, called through ctypes without the GIL.
   They run on one thread, allocate nothing and keep no state; Python checks what they report. */

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
#else
#define INNER static inline
#endif

/* Name the instruction set whose versions are in use. */
EXPORT const char *skorch_logreg_instruction_set(void)
{
#if defined(HAS_CLONES)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("x86-64-v4"))
        return "x86-64-v4";
    if (__builtin_cpu_supports("x86-64-v3"))
        return "x86-64-v3";
#endif
    return "baseline";
}

/* Windows' linker asks for the entry point of a Python module; ctypes does not call it. */
EXPORT void *PyInit__compiled(void) { return 0; }
