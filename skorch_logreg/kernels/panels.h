/* Products of two panels of a Gram matrix with numbers in NUMBER; included by panels.c once for each. */

/* Add the products of `height` columns of one panel with `width` of another, both (rows, PANEL). */
INNER void OF_NUMBER(add_block)(const NUMBER *restrict left, const NUMBER *restrict right,
    int64_t rows, int height, int width, double *restrict out, int64_t side)
{
    NUMBER sum[PANEL][PANEL] = {{0}};
    for (int64_t t = 0; t < rows; t++) {
#if defined(__GNUC__)
#pragma GCC unroll 8
#endif
        for (int i = 0; i < height; i++) {
            NUMBER own = left[t * PANEL + i];
#pragma omp simd
            for (int j = 0; j < width; j++)
                sum[i][j] += own * right[t * PANEL + j];
        }
    }
    for (int i = 0; i < height; i++)
        for (int j = 0; j < width; j++)
            out[i * side + j] += sum[i][j];
}

/* Add the products of two panels, which begin at columns i and j, in blocks whose sums stay in
   registers: those with an entry in the lower triangle of the first `size` columns. */
INNER void OF_NUMBER(add_blocks)(const NUMBER *left, int64_t i, const NUMBER *right, int64_t j,
    int64_t size, int64_t rows, int height, int width, double *out, int64_t side)
{
    for (int b = 0; b < PANEL; b += width)
        for (int a = 0; a < PANEL && i + a < size; a += height)
            if (i + a + height > j + b)
                OF_NUMBER(add_block)(left + a, right + b, rows, height, width,
                    out + (i + a) * side + j + b, side);
}

EXPORT CLONES void OF_NUMBER(add_panels)(const NUMBER *left, int64_t i, const NUMBER *right, int64_t j,
    int64_t size, int64_t rows, double *out, int64_t side)
{
    if (has_wide_registers())
        OF_NUMBER(add_blocks)(left, i, right, j, size, rows, WIDE_BLOCK, out, side);
    else
        OF_NUMBER(add_blocks)(left, i, right, j, size, rows, BLOCK, out, side);
}
