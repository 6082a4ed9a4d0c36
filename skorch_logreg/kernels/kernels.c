/* The shared library as a whole. */
#include "common.h"

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
EXPORT void *PyInit__compiled(void)
{
    return 0;
}
