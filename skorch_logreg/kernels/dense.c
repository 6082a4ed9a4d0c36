/* Sums over dense rows, float64 or float32, with unit stride along rows or along columns. */
#include "logistic.h"

#define TILE_ENTRIES (1 << 15) /* of X, which stay in a core's second cache for the second product */
#define MIN_COLUMN_TILE 64     /* consecutive entries of a column, at least */

#define PANEL 16 /* columns of a panel of the Gram matrix, */
#define HALF 8   /* whose product is computed in two halves: HALF x PANEL sums fill the registers */

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

/* Add to out[i] the inner products of `count` vectors with v (size,), four at a time. */
INNER void add_dots(const void *x, int64_t count, int64_t size, int64_t stride, int is_float,
    const double *v, double *restrict out)
{
    int64_t i = 0, j;
    for (; i + 4 <= count; i += 4) {
        const void *x0 = moved(x, i * stride, is_float), *x1 = moved(x0, stride, is_float);
        const void *x2 = moved(x1, stride, is_float), *x3 = moved(x2, stride, is_float);
        double a = 0.0, b = 0.0, c = 0.0, d = 0.0;
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

/* An entry of a panel: that of a column times the root of the row's weight. The column after the last
   one is the intercept's. */
INNER double panel_entry(const matrix_t *m, const void *x, int64_t offset, int64_t column,
    int is_float, double root)
{
    double value = entry(x, offset, is_float);
    return root * (m->unit ? (value - m->center[column]) * m->unit[column] : value);
}

#define NUMBER double
#define OF_NUMBER(function) function##_double
#include "gram.h"
#undef NUMBER
#undef OF_NUMBER
#define NUMBER float
#define OF_NUMBER(function) function##_float
#include "gram.h"

/* The side of a Gram matrix in whole panels. */
EXPORT int64_t gram_side(int64_t side) { return (side + PANEL - 1) / PANEL * PANEL; }

/* The number of rows that are copied at a time for a Gram matrix of such a side. */
EXPORT int64_t gram_tile(int64_t side)
{
    return smaller(TILE_ENTRIES / side > PANEL ? TILE_ENTRIES / side : PANEL, MAX_TILE);
}

/* Add the lower triangle of `sum_i root_i^2 [x_i 1]'[x_i 1]` over some columns, all if they are NULL,
   to out (side, side). `side` is a multiple of PANEL, and the buffer has side * tile numbers. */
EXPORT CLONES void dense_gram(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const int64_t *columns,
    int64_t n_chosen, const double *root, int64_t side, int64_t tile, double *buffer, double *out)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, 0, 0};
    DISPATCH(gram_double, columns, n_chosen, root, side, tile, buffer, out);
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

/* Factor the lower triangle (size, size) of rows of `side` numbers in place; return 0 if it is not
   positive definite. */
INNER int cholesky(double *a, int64_t size, int64_t side)
{
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j <= i; j++) {
            double *left = a + i * side, *right = a + j * side, sum = 0.0;
#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < j; k++)
                sum += left[k] * right[k];
            sum = left[j] - sum;
            if (i == j && !(sum > 0.0))
                return 0;
            left[j] = i == j ? sqrt(sum) : sum / right[j];
        }
    return 1;
}

/* Solve with a factor; `x` is the right-hand side and the solution. */
INNER void cholesky_solve(const double *factor, int64_t size, int64_t side, double *x)
{
    int64_t i, k;
    for (i = 0; i < size; i++) {
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (k = 0; k < i; k++)
            sum += factor[i * side + k] * x[k];
        x[i] = (x[i] - sum) / factor[i * side + i];
    }
    for (i = size - 1; i >= 0; i--) {
        x[i] /= factor[i * side + i];
#pragma omp simd
        for (k = 0; k < i; k++)
            x[k] -= factor[i * side + k] * x[i];
    }
}

/* Divide sums (p + 1,) over the rows of X by the scale, after those of the center are subtracted. */
INNER void standardise(const matrix_t *m, double *sums)
{
    for (int64_t j = 0; m->unit && j < m->n_columns; j++)
        sums[j] = (sums[j] - m->center[j] * sums[m->n_columns]) * m->unit[j];
}

/* What a Newton step needs of a point with a ridge (p + 1,), all of rows (X - center) / scale, or of X
   itself if these are NULL: the logits; the gradient, the shifted diagonal of the Hessian, the product
   of its inverse with the gradient, and the loss's Hessian row of the intercept, in the rows of sums
   (4, p + 1), zero before; the factor (side, side) of the shifted Hessian, zero before; and the
   objective and the decrement. With is_rough the Hessian has float32 products. Without an intercept its slope is zero. Return 0 if the Hessian is not
   positive definite. `buffer` has n_rows + side * (tile + 2) numbers. */
EXPORT CLONES int dense_newton(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *sign,
    const double *weight, int64_t weight_stride, const double *center, const double *scale,
    const double *params, const double *ridge, double shift, int fit_intercept, int is_rough,
    int64_t side, int64_t tile, double *logits, double *sums, double *factor, double *ends, double *buffer)
{
    int64_t size = n_columns + 1, i;
    double *gradient = sums, *diagonal = sums + size, *solved = sums + 2 * size;
    double *root = buffer, *panels = root + n_rows, *slope = panels + side * tile;
    double *unit = slope + side, *last = factor + n_columns * side, constant = params[n_columns];
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, center, scale ? unit : 0};
    rows_t rows = {sign, weight, weight_stride, 0};
    for (i = 0; i < n_columns; i++) {
        unit[i] = scale ? 1.0 / scale[i] : 1.0;
        slope[i] = params[i] * unit[i];
        constant -= center ? slope[i] * center[i] : 0.0;
    }
    ends[0] = DISPATCH(pass, &rows, slope, constant, 0, logits, gradient, 0);
    standardise(&m, gradient);
    for (i = 0; i < n_rows; i++)
        root[i] = sqrt(weight[i * weight_stride] * logistic_terms(logits[i]).curvature);
    if (is_rough)
        DISPATCH(gram_float, 0, n_columns, root, side, tile, (float *)panels, factor);
    else
        DISPATCH(gram_double, 0, n_columns, root, side, tile, panels, factor);
    for (i = 0; i < size; i++)
        sums[3 * size + i] = last[i];
    if (!fit_intercept) {
        gradient[n_columns] = 0.0;
        for (i = 0; i < size; i++)
            last[i] = i == n_columns; /* any positive number: the gradient is zero there */
    }
    for (i = 0; i < size; i++) {
        ends[0] += 0.5 * ridge[i] * params[i] * params[i];
        gradient[i] += ridge[i] * params[i];
        diagonal[i] = factor[i * side + i] = (factor[i * side + i] + ridge[i]) * (1.0 + shift);
        solved[i] = gradient[i];
    }
    if (!cholesky(factor, size, side))
        return 0;
    cholesky_solve(factor, size, side, solved);
    for (i = 0; i < size; i++)
        ends[1] += 0.5 * gradient[i] * solved[i];
    return 1;
}
