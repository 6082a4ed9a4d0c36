/* Sums over a tile of rows of the products of two small vectors of each row, in registers, with numbers
   in NUMBER; included once for each. */
#include "common.h"

#ifndef SKORCH_LOGREG_TILES_H
#define SKORCH_LOGREG_TILES_H
#define WIDTH OF_NUMBER(WIDTH) /* numbers of a vector that are multiplied at a time: 64 bytes */
#define WIDTH_double 8
#define WIDTH_float 16
#define MOST_FACTORS 8 /* that they are multiplied with at a time */
#endif

INNER int64_t OF_NUMBER(in_panels)(int64_t size) { return (size + WIDTH - 1) / WIDTH * WIDTH; }

/* Add the sums of `height` factors times WIDTH numbers of the rows to out (., size). */
INNER void OF_NUMBER(add_sums)(const NUMBER *restrict factor, int64_t n_factors, int64_t rows,
    const NUMBER *restrict x, int64_t stride, int height, NUMBER *restrict out, int64_t size)
{
    NUMBER sum[MOST_FACTORS][WIDTH] = {{0}};
    int i, k;
    for (int64_t t = 0; t < rows; t++) {
#if defined(__GNUC__)
#pragma GCC unroll 8
#endif
        for (i = 0; i < height; i++) {
            NUMBER own = factor[t * n_factors + i];
#pragma omp simd
            for (k = 0; k < WIDTH; k++)
                sum[i][k] += own * x[t * stride + k];
        }
    }
    for (i = 0; i < height; i++)
        for (k = 0; k < WIDTH; k++)
            out[i * size + k] += sum[i][k];
}

/* Add the sums of all factors (rows, n_factors) times WIDTH numbers of the rows, `stride` apart, to out
   (n_factors + MOST_FACTORS, size). As many factors more are read after the last row. */
INNER void OF_NUMBER(add_panel)(const NUMBER *x, int64_t stride, int64_t rows, const NUMBER *factor,
    int64_t n_factors, int has_wide, NUMBER *out, int64_t size)
{
    for (int64_t k = 0, step; k < n_factors; k += step) {
        int64_t left = n_factors - k;
        step = left <= 2 ? 2 : has_wide && left > 4 ? MOST_FACTORS : 4;
        if (step == 2)
            OF_NUMBER(add_sums)(factor + k, n_factors, rows, x, stride, 2, out + k * size, size);
        else if (step == 4)
            OF_NUMBER(add_sums)(factor + k, n_factors, rows, x, stride, 4, out + k * size, size);
        else
            OF_NUMBER(add_sums)(
                factor + k, n_factors, rows, x, stride, MOST_FACTORS, out + k * size, size);
    }
}
