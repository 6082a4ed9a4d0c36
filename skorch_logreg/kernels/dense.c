/* Sums over dense rows. */
#include "dense.h"

#define TILE_ENTRIES (1 << 15) /* of X, which stay in a core's second cache for the second product */
#define MIN_COLUMN_TILE 64     /* consecutive entries of a column, at least */
#define CACHED_COLUMNS 1024    /* whose sums a core's first cache holds */

#define SHORT_ROW 512 /* entries of rows, about a page, up to which the processor fetches too few ahead */
/* Entries of X, more than a cache holds, above which the next tile is fetched during a sum (500,000 x 100
   in float32: .8 of the time of a pass; 10,000 x 50: 1.1). */
#define LARGE_BLOCK (1 << 20)

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

/* Add to out (size,) the sum of `count` vectors times v[i], four at a time, while the entries that lie
   `ahead` of theirs, if it is not 0, are fetched from memory. */
INNER void add_multiples(const void *x, int64_t count, int64_t size, int64_t stride, int is_float,
    int64_t ahead, const double *v, double *restrict out)
{
    int64_t i = 0, j;
    for (; i + 4 <= count; i += 4) {
        const void *x0 = moved(x, i * stride, is_float), *x1 = moved(x0, stride, is_float);
        const void *x2 = moved(x1, stride, is_float), *x3 = moved(x2, stride, is_float);
        double a = v[i], b = v[i + 1], c = v[i + 2], d = v[i + 3];
        for (j = 0; ahead && j < 4 * size; j += is_float ? 16 : 8)
            PREFETCH_OUTER(moved(x0, ahead + j, is_float));
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
INNER void multiply(const matrix_t *m, int is_float, int by_column, const void *x, int64_t count,
    int transposed, const double *v, double *out)
{
    int64_t p = m->n_columns;
    int is_tile = count < m->n_rows && m->row_stride == p && p <= SHORT_ROW;
    int64_t ahead = is_tile && m->n_rows * p > LARGE_BLOCK ? count * p : 0;
    if (by_column && transposed)
        add_dots(x, p, count, m->column_stride, is_float, v, out);
    else if (by_column)
        add_multiples(x, p, count, m->column_stride, is_float, 0, v, out);
    else if (transposed)
        add_multiples(x, count, p, m->row_stride, is_float, ahead, v, out);
    else
        add_dots(x, count, p, m->row_stride, is_float, v, out);
}

EXPORT CLONES void dense_multiply(const matrix_t *m, int64_t start, int64_t count, int transposed,
    const double *v, double *out)
{
    DISPATCH(multiply, moved(m->entries, start * m->row_stride, m->is_float), count, transposed, v, out);
}

/* Raise the largest distances of some columns of n rows from `about`. */
INNER double distances(const matrix_t *m, int is_float, int by_column, const double *about,
    const void *entries, int64_t n, int64_t first, int64_t count, double *restrict largest)
{
    int64_t i, j;
    for (j = 0; by_column && j < count; j++) {
        const void *x = moved(entries, (first + j) * m->column_stride, is_float);
        double most = largest[first + j];
#pragma omp simd reduction(max : most)
        for (i = 0; i < n; i++) {
            double z = fabs(entry(x, i, is_float) - about[first + j]);
            most = z > most ? z : most;
        }
        largest[first + j] = most;
    }
    for (i = 0; !by_column && i < n; i++) {
        const void *x = moved(entries, i * m->row_stride + first, is_float);
#pragma omp simd
        for (j = 0; j < count; j++) {
            double z = fabs(entry(x, j, is_float) - about[first + j]);
            largest[first + j] = z > largest[first + j] ? z : largest[first + j];
        }
    }
    return 0.0;
}

/* Raise `largest` (p,) to the largest distances of the entries of every column from `about` (p,), in
   some rows. */
EXPORT CLONES void raise_largest(const matrix_t *m, int64_t start, int64_t count, const double *about,
    double *largest)
{
    int64_t p = m->n_columns;
    for (int64_t first = 0; first < p; first += CACHED_COLUMNS)
        DISPATCH(distances, about, moved(m->entries, start * m->row_stride, m->is_float), count, first,
            smaller(CACHED_COLUMNS, p - first), largest);
}

EXPORT CLONES double dense_pass(const matrix_t *m, const rows_t *rows, const double *slope,
    double shift, const double *before, double *logits, double *gradient, double *second,
    const double *about, double *largest)
{
    int64_t n = m->n_rows, p = m->n_columns, tile = TILE_ENTRIES / (p + 1) / 8 * 8, start, i;
    int64_t least = m->column_stride == 1 ? 8 : MIN_COLUMN_TILE;
    sum_t value = {{0.0}, {0.0}};
    double residual[MAX_TILE], curvature[MAX_TILE];
    tile = tile < least ? least : smaller(tile, MAX_TILE);
    for (start = 0; start < n; start += tile) {
        int64_t count = smaller(tile, n - start);
        double *z = rows->curvature ? residual : logits + start;
        for (i = 0; i < count; i++)
            z[i] = 0.0;
        dense_multiply(m, start, count, 0, slope, z);
        for (i = 0; i < count; i++)
            z[i] += before ? before[start + i] + shift : shift;
        if (rows->curvature)
            curvature_terms(rows, start, count, residual);
        else
            loss_terms(rows, start, count, z, residual, second ? curvature : 0, &value);
        gradient[p] += sum_of(count, residual);
        dense_multiply(m, start, count, 1, residual, gradient);
        if (second) {
            second[p] += sum_of(count, curvature);
            dense_multiply(m, start, count, 1, curvature, second);
        }
        if (largest)
            raise_largest(m, start, count, about, largest);
    }
    return total_of(&value);
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

EXPORT CLONES void add_gram(const matrix_t *m, int is_rough, const int64_t *columns,
    int64_t n_chosen, const double *root, int64_t side, double *buffer, double *out)
{
    if (is_rough)
        DISPATCH(gram_float, columns, n_chosen, root, side, (float *)buffer, out);
    else
        DISPATCH(gram_double, columns, n_chosen, root, side, buffer, out);
}

/* Write logits: `before`, if it is not NULL, plus those of params (p + 1,) over rows
   (X - center) / scale, or X itself if these are NULL. Add the gradient (p + 1,) of the weighted loss
   and, if it is not NULL, `second` (p + 1,), the sums of every column times the loss's second
   derivative, both zero before, and return the loss. Raise `largest` (p,), if it is not NULL, to the
   largest distances of the entries of every column from its center. `slope` (p,) is overwritten. */
EXPORT double dense_loss(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *sign,
    const double *weight, int64_t weight_stride, const double *center, const double *scale,
    const double *params, double *slope, const double *before, double *logits, double *gradient,
    double *second, double *largest)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, is_float, 0, 0};
    rows_t rows = {sign, weight, weight_stride, 0};
    double shift = stored_slope(n_columns, center, scale, params, slope);
    double value = dense_pass(&m, &rows, slope, shift, before, logits, gradient, second,
        center, largest);
    standardise(n_columns, center, scale, gradient);
    if (second)
        standardise(n_columns, center, scale, second);
    return value;
}

/* Write the product (p + 1,), zero before, of the Hessian and params (p + 1,) over rows
   (X - center) / scale, from curvatures times weights. `slope` (p,) is overwritten. */
EXPORT void dense_hessian_product(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *curvature,
    const double *weight, int64_t weight_stride, const double *center, const double *scale,
    const double *params, double *slope, double *product)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, is_float, 0, 0};
    rows_t rows = {0, weight, weight_stride, curvature};
    double shift = stored_slope(n_columns, center, scale, params, slope);
    dense_pass(&m, &rows, slope, shift, 0, 0, product, 0, 0, 0);
    standardise(n_columns, center, scale, product);
}

/* Add the weighted sums of the deviations of some columns from `about`, and of their squares. */
INNER double moments(const matrix_t *m, int is_float, int by_column, const double *about,
    const double *weight, int64_t stride, int64_t first, int64_t count, double *restrict sum,
    double *restrict square)
{
    int64_t n = m->n_rows, i, j;
    for (j = 0; by_column && j < count; j++) {
        const void *x = moved(m->entries, (first + j) * m->column_stride, is_float);
        double a = 0.0, b = 0.0;
#pragma omp simd reduction(+ : a, b)
        for (i = 0; i < n; i++) {
            double z = entry(x, i, is_float) - about[first + j], own = weight[i * stride] * z;
            a += own, b += own * z;
        }
        sum[first + j] += a, square[first + j] += b;
    }
    for (i = 0; !by_column && i < n; i++) {
        const void *x = moved(m->entries, i * m->row_stride + first, is_float);
#pragma omp simd
        for (j = 0; j < count; j++) {
            double z = entry(x, j, is_float) - about[first + j], own = weight[i * stride] * z;
            sum[first + j] += own, square[first + j] += own * z;
        }
    }
    return 0.0;
}

/* Add the weighted sums of the deviations of every column from `about` (p,), and of their squares, to
   sums (2, p). */
EXPORT CLONES void dense_moments(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *about, const double *weight,
    int64_t weight_stride, double *sums)
{
    matrix_t own = {entries, n_rows, n_columns, row_stride, column_stride, is_float, 0, 0};
    const matrix_t *m = &own;
    for (int64_t first = 0; first < n_columns; first += CACHED_COLUMNS)
        DISPATCH(moments, about, weight, weight_stride, first, smaller(CACHED_COLUMNS, n_columns - first),
            sums, sums + n_columns);
}

/* Raise `largest` (p,) to the largest distances of the entries of every column from `about` (p,). */
EXPORT void dense_distances(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *about, double *largest)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, is_float, 0, 0};
    raise_largest(&m, 0, n_rows, about, largest);
}

/* The nearest number of 16 bits, which are the upper ones of a float32. */
INNER uint16_t bfloat16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return x != x ? 0x7fc0 : (uint16_t)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

enum { DOUBLE, SINGLE, BFLOAT16 };

/* Write (X - center) * unit in a type. */
INNER void write_rows(const matrix_t *m, int is_float, int type, void *out, int64_t out_stride)
{
    const double *center = m->center, *unit = m->unit;
    for (int64_t i = 0; i < m->n_rows; i++) {
        const void *x = moved(m->entries, i * m->row_stride, is_float);
        double *wide = (double *)out + i * out_stride;
        float *narrow = (float *)out + i * out_stride;
        uint16_t *half = (uint16_t *)out + i * out_stride;
#pragma omp simd
        for (int64_t j = 0; j < m->n_columns; j++) {
            double z = (entry(x, j, is_float) - center[j]) * unit[j];
            if (type == DOUBLE)
                wide[j] = z;
            else if (type == SINGLE)
                narrow[j] = (float)z;
            else
                half[j] = bfloat16((float)z);
        }
    }
}

/* Write rows (X - center) * unit, `out_stride` numbers apart, in float64, float32 or bfloat16. The
   entries of a row of X follow each other: `column_stride` is 1. */
EXPORT CLONES void dense_rows(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *center, const double *unit,
    int type, void *out, int64_t out_stride)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, is_float, center, unit};
#define WRITE(type) \
    (is_float ? write_rows(&m, 1, type, out, out_stride) : write_rows(&m, 0, type, out, out_stride))
    if (type == DOUBLE)
        WRITE(DOUBLE);
    else if (type == SINGLE)
        WRITE(SINGLE);
    else
        WRITE(BFLOAT16);
#undef WRITE
}

/* The side of a Gram matrix in whole panels. */
EXPORT int64_t gram_side(int64_t side) { return (side + PANEL - 1) / PANEL * PANEL; }

/* The numbers in the copies of rows that a Gram matrix of such a side is computed from. */
EXPORT int64_t gram_buffer(int64_t side) { return side * GRAM_ROWS; }

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
