/* Sums over dense rows. */
#include "dense.h"

/* Write the logits `before + X slope + shift`, add the gradient (p + 1,) of the weighted loss and,
   if it is not NULL, `second` (p + 1,), the sums of every column times the loss's second derivative,
   and return the loss. */
EXPORT CLONES double dense_loss(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *sign,
    const double *weight, int64_t weight_stride, const double *slope, double shift,
    const double *before, double *logits, double *gradient, double *second)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, 0, 0};
    rows_t rows = {sign, weight, weight_stride, 0};
    return DISPATCH(pass, &rows, slope, shift, before, logits, gradient, second);
}

/* Add `X' D (X slope + shift)` (p + 1,), where D are curvatures times weights. */
EXPORT CLONES void dense_hessian_product(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *curvature,
    const double *weight, int64_t weight_stride, const double *slope, double shift, double *product)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, 0, 0};
    rows_t rows = {0, weight, weight_stride, curvature};
    DISPATCH(pass, &rows, slope, shift, 0, 0, product, 0);
}

/* The side of a Gram matrix in whole panels. */
EXPORT int64_t gram_side(int64_t side) { return (side + PANEL - 1) / PANEL * PANEL; }

/* The numbers in the copies of rows that a Gram matrix of such a side is computed from. */
EXPORT int64_t gram_buffer(int64_t side) { return side * GRAM_ROWS; }

/* Add the lower triangle of `sum_i root_i^2 [x_i 1]'[x_i 1]` over some columns, all if they are NULL,
   to out (side, side). `side` is a multiple of PANEL, and the buffer has gram_buffer(side)
   numbers. */
EXPORT CLONES void dense_gram(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const int64_t *columns,
    int64_t n_chosen, const double *root, int64_t side, double *buffer, double *out)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, 0, 0};
    DISPATCH(gram_double, columns, n_chosen, root, side, buffer, out);
}

#define SQUARE 32 /* sides of the blocks that `mirror` copies */

/* Copy the lower triangle of rows of `stride` numbers to the upper one. */
EXPORT CLONES void mirror(double *a, int64_t side, int64_t stride)
{
    for (int64_t top = 0; top < side; top += SQUARE)
        for (int64_t left = 0; left <= top; left += SQUARE)
            for (int64_t i = top; i < smaller(top + SQUARE, side); i++)
                for (int64_t j = left; j < smaller(left + SQUARE, i); j++)
                    a[j * stride + i] = a[i * stride + j];
}
