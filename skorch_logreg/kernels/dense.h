/* Passes over dense rows and their Gram matrices, float64 or float32, with unit stride along rows or
   along columns. */
#ifndef SKORCH_LOGREG_DENSE_H
#define SKORCH_LOGREG_DENSE_H

#include "logistic.h"

#define TILE_ENTRIES (1 << 15) /* of X, which stay in a core's second cache for the second product */
#define MIN_COLUMN_TILE 64     /* consecutive entries of a column, at least */

#define GRAM_ROWS 128 /* of two panels, which stay in a core's first cache */

typedef struct {
    const void *entries;
    int64_t n_rows, n_columns, row_stride, column_stride;
    const double *center, *unit; /* Gram matrices are those of (X - center) * unit, if not NULL */
} matrix_t;

INNER double entry(const void *x, int64_t i, int is_float)
{
    return is_float ? (double)((const float *)x)[i] : ((const double *)x)[i];
}

INNER const void *moved(const void *x, int64_t i, int is_float)
{
    return (const char *)x + i * (int64_t)(is_float ? sizeof(float) : sizeof(double));
}

#define SHORT_ROW 512 /* entries of rows, about a page, up to which the processor fetches too few ahead */

/* Add to out[i] the inner products of `count` vectors with v (size,), four at a time. */
INNER void add_dots(const void *x, int64_t count, int64_t size, int64_t stride, int is_float,
    const double *v, double *restrict out)
{
    int64_t i = 0, j;
    for (; i + 4 <= count; i += 4) {
        const void *x0 = moved(x, i * stride, is_float), *x1 = moved(x0, stride, is_float);
        const void *x2 = moved(x1, stride, is_float), *x3 = moved(x2, stride, is_float);
        double a = 0.0, b = 0.0, c = 0.0, d = 0.0;
        if (stride == size && size <= SHORT_ROW)
            for (j = 0; j < 4 * size; j += is_float ? 16 : 8)
                PREFETCH(moved(x0, 8 * size + j, is_float));
#pragma omp simd reduction(+ : a, b, c, d)
        for (j = 0; j < size; j++) {
            a += entry(x0, j, is_float) * v[j];
            b += entry(x1, j, is_float) * v[j];
            c += entry(x2, j, is_float) * v[j];
            d += entry(x3, j, is_float) * v[j];
        }
        out[i] += a, out[i + 1] += b, out[i + 2] += c, out[i + 3] += d;
    }
    for (; i < count; i++) {
        const void *x0 = moved(x, i * stride, is_float);
        double a = 0.0;
#pragma omp simd reduction(+ : a)
        for (j = 0; j < size; j++)
            a += entry(x0, j, is_float) * v[j];
        out[i] += a;
    }
}

/* Add to out (size,) the sum of `count` vectors times v[i], four at a time. */
INNER void add_multiples(const void *x, int64_t count, int64_t size, int64_t stride, int is_float,
    const double *v, double *restrict out)
{
    int64_t i = 0, j;
    for (; i + 4 <= count; i += 4) {
        const void *x0 = moved(x, i * stride, is_float), *x1 = moved(x0, stride, is_float);
        const void *x2 = moved(x1, stride, is_float), *x3 = moved(x2, stride, is_float);
        double a = v[i], b = v[i + 1], c = v[i + 2], d = v[i + 3];
#pragma omp simd
        for (j = 0; j < size; j++)
            out[j] += (a * entry(x0, j, is_float) + b * entry(x1, j, is_float))
                + (c * entry(x2, j, is_float) + d * entry(x3, j, is_float));
    }
    for (; i < count; i++) {
        const void *x0 = moved(x, i * stride, is_float);
        double a = v[i];
#pragma omp simd
        for (j = 0; j < size; j++)
            out[j] += a * entry(x0, j, is_float);
    }
}

/* Add X v to out, or X' v. */
INNER void multiply(const matrix_t *m, const void *x, int64_t count, int is_float, int by_column,
    int transposed, const double *v, double *out)
{
    int64_t p = m->n_columns;
    if (by_column && transposed)
        add_dots(x, p, count, m->column_stride, is_float, v, out);
    else if (by_column)
        add_multiples(x, p, count, m->column_stride, is_float, v, out);
    else if (transposed)
        add_multiples(x, count, p, m->row_stride, is_float, v, out);
    else
        add_dots(x, count, p, m->row_stride, is_float, v, out);
}

/* One read of X: logits, and the sums of the terms of every row. Every vector of sums has one more
   entry, for the intercept. */
INNER double pass(const matrix_t *m, int is_float, int by_column, const rows_t *rows,
    const double *slope, double shift, const double *before, double *logits, double *gradient,
    double *second)
{
    int64_t n = m->n_rows, p = m->n_columns, tile = TILE_ENTRIES / (p + 1) / 8 * 8, start, i;
    int64_t least = by_column ? MIN_COLUMN_TILE : 8;
    sum_t value = {{0.0}, {0.0}};
    double residual[MAX_TILE], curvature[MAX_TILE];
    tile = tile < least ? least : smaller(tile, MAX_TILE);
    for (start = 0; start < n; start += tile) {
        int64_t count = smaller(tile, n - start);
        const void *x = moved(m->entries, start * m->row_stride, is_float);
        double *z = rows->curvature ? residual : logits + start;
        for (i = 0; i < count; i++)
            z[i] = 0.0;
        multiply(m, x, count, is_float, by_column, 0, slope, z);
        for (i = 0; i < count; i++)
            z[i] += before ? before[start + i] + shift : shift;
        if (rows->curvature)
            curvature_terms(rows, start, count, residual);
        else
            loss_terms(rows, start, count, z, residual, second ? curvature : 0, &value);
        gradient[p] += sum_of(count, residual);
        multiply(m, x, count, is_float, by_column, 1, residual, gradient);
        if (second) {
            second[p] += sum_of(count, curvature);
            multiply(m, x, count, is_float, by_column, 1, curvature, second);
        }
    }
    return total_of(&value);
}

/* Call a function with the constants of the type and the layout of X. */
#define DISPATCH(FUNCTION, ...) \
    (is_float ? (column_stride == 1 ? FUNCTION(&m, 1, 0, __VA_ARGS__) : FUNCTION(&m, 1, 1, __VA_ARGS__)) \
              : (column_stride == 1 ? FUNCTION(&m, 0, 0, __VA_ARGS__) : FUNCTION(&m, 0, 1, __VA_ARGS__)))

/* An entry of a panel: that of a column times the root of the row's weight. The column after the last
   one is the intercept's. */
INNER double panel_entry(const matrix_t *m, const void *x, int64_t offset, int64_t column,
    int is_float, double root)
{
    double value = entry(x, offset, is_float);
    return root * (m->unit ? (value - m->center[column]) * m->unit[column] : value);
}

/* In panels.c: add the products of two panels, which begin at columns i and j, to the lower triangle of
   a Gram matrix of `size` columns. */
void add_panels_double(const double *left, int64_t i, const double *right, int64_t j, int64_t size,
    int64_t rows, double *out, int64_t side);
void add_panels_float(const float *left, int64_t i, const float *right, int64_t j, int64_t size,
    int64_t rows, double *out, int64_t side);

#define NUMBER double
#define OF_NUMBER(function) function##_double
#include "gram.h"
#undef NUMBER
#undef OF_NUMBER
#define NUMBER float
#define OF_NUMBER(function) function##_float
#include "gram.h"

#endif
