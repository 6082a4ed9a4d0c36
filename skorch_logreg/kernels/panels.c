/* Products of two panels of a Gram matrix, in a file of their own: inlined into all that call them, they
   would take half of the time of compilation. */
#include "common.h"

/* Heights and widths of the blocks of a Gram matrix whose sums fill half of the vector registers, so
   that the operands have room: 32 registers of 64 bytes, and 16 of 32 bytes for doubles and floats. */
#define WIDE_BLOCK 8, 16
#define DOUBLE_BLOCK 4, 8
#define FLOAT_BLOCK 4, 16

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
