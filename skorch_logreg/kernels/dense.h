/* Passes over dense rows and their Gram matrices, float64 or float32, with unit stride along rows or
   along columns. Their code is in dense.c alone: inlined into all that call it, it would take most of
   the time of compilation. */
#ifndef SKORCH_LOGREG_DENSE_H
#define SKORCH_LOGREG_DENSE_H

#include "logistic.h"

#define GRAM_ROWS 128 /* of two panels, which stay in a core's first cache */

typedef struct {
    const void *entries;
    int64_t n_rows, n_columns, row_stride, column_stride;
    int is_float;
    const double *center, *unit; /* Gram matrices are those of (X - center) * unit, if not NULL */
} matrix_t;

/* An entry of X, and the address of one. */
INNER double entry(const void *x, int64_t i, int is_float)
{
    return is_float ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

INNER const void *moved(const void *x, int64_t i, int is_float)
{
    return (const char *)x + i * (int64_t)(is_float ? sizeof(float) : sizeof(double));
}

/* Call a function with the constants of the type and the layout of X. */
#define DISPATCH(FUNCTION, ...) \
    (m->is_float ? (m->column_stride == 1 ? FUNCTION(m, 1, 0, __VA_ARGS__) \
                                          : FUNCTION(m, 1, 1, __VA_ARGS__)) \
                 : (m->column_stride == 1 ? FUNCTION(m, 0, 0, __VA_ARGS__) \
                                          : FUNCTION(m, 0, 1, __VA_ARGS__)))

/* One read of X: logits, and the sums of the terms of every row. Every vector of sums has one more
   entry, for the intercept. Where `largest` is not NULL, it is raised to distances from `about`. */
double dense_pass(const matrix_t *m, const rows_t *rows, const double *slope, double shift,
    const double *before, double *logits, double *gradient, double *second, const double *about,
    double *largest);

/* Add X v to out, or X' v, of some rows. */
void dense_multiply(const matrix_t *m, int64_t start, int64_t count, int transposed, const double *v,
    double *out);

/* Add the lower triangle of `sum_i root_i^2 [x_i 1]'[x_i 1]` over some columns, all if they are NULL,
   to out (side, side), with products in float32 if is_rough. `side` is a multiple of PANEL, and the
   buffer has gram_buffer(side) numbers. */
void add_gram(const matrix_t *m, int is_rough, const int64_t *columns, int64_t n_chosen,
    const double *root, int64_t side, double *buffer, double *out);
int64_t gram_side(int64_t side);
int64_t gram_buffer(int64_t side);

/* Copy the lower triangle of rows of `stride` numbers to the upper one. */
void mirror(double *a, int64_t side, int64_t stride);

#endif
