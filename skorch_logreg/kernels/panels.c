/* Products of two panels of a Gram matrix, in a file of their own: inlined into all that call them, they
   would take half of the time of compilation. */
#include "common.h"

/* Heights and widths of the blocks of a Gram matrix whose sums fill half of the vector registers, so
   that the operands have room: 32 registers of 64 bytes, and 16 of 32 bytes for doubles and floats. */
#define WIDE_BLOCK 8, 16
#define DOUBLE_BLOCK 4, 8
#define FLOAT_BLOCK 4, 16

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

#define NUMBER double
#define BLOCK DOUBLE_BLOCK
#define OF_NUMBER(function) function##_double
#include "panels.h"
#undef NUMBER
#undef BLOCK
#undef OF_NUMBER
#define NUMBER float
#define BLOCK FLOAT_BLOCK
#define OF_NUMBER(function) function##_float
#include "panels.h"
