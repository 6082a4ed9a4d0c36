/* Sums over CSR rows with indices of 32 or 64 bits. */
#include "logistic.h"

#define TILE 128 /* rows whose entries stay in a core's cache between two products */

typedef struct {
    const double *entries;
    const void *indices, *pointers;
    int64_t n_rows, n_columns;
} matrix_t;

INNER int64_t at(const void *integers, int64_t i, int is_long)
{
    return is_long ? ((const int64_t *)integers)[i] : (int64_t)((const int32_t *)integers)[i];
}

INNER double dot(const matrix_t *m, int64_t row, int is_long, const double *v)
{
    const double *x = m->entries;
    int64_t k = at(m->pointers, row, is_long), end = at(m->pointers, row + 1, is_long);
    double a = 0.0, b = 0.0, c = 0.0, d = 0.0;
    for (; k + 4 <= end; k += 4) {
        a += x[k] * v[at(m->indices, k, is_long)];
        b += x[k + 1] * v[at(m->indices, k + 1, is_long)];
        c += x[k + 2] * v[at(m->indices, k + 2, is_long)];
        d += x[k + 3] * v[at(m->indices, k + 3, is_long)];
    }
    for (; k < end; k++)
        a += x[k] * v[at(m->indices, k, is_long)];
    return (a + b) + (c + d);
}

INNER void add_multiple(const matrix_t *m, int64_t row, int is_long, double factor, double *out)
{
    int64_t end = at(m->pointers, row + 1, is_long);
    for (int64_t k = at(m->pointers, row, is_long); k < end; k++)
        out[at(m->indices, k, is_long)] += factor * m->entries[k];
}

/* As in dense.c. */
INNER double pass(const matrix_t *m, int is_long, const rows_t *rows, const double *slope,
    double shift, const double *before, double *logits, double *gradient, double *second)
{
    int64_t p = m->n_columns;
    sum_t value = {{0.0}, {0.0}};
    double residual[TILE], curvature[TILE];
    for (int64_t start = 0; start < m->n_rows; start += TILE) {
        int64_t count = smaller(TILE, m->n_rows - start), i;
        double *z = rows->curvature ? residual : logits + start;
        for (i = 0; i < count; i++)
            z[i] = (before ? before[start + i] + shift : shift)
                + dot(m, start + i, is_long, slope);
        if (rows->curvature)
            curvature_terms(rows, start, count, residual);
        else
            loss_terms(rows, start, count, z, residual, second ? curvature : 0, &value);
        gradient[p] += sum_of(count, residual);
        for (i = 0; i < count; i++)
            add_multiple(m, start + i, is_long, residual[i], gradient);
        if (second) {
            second[p] += sum_of(count, curvature);
            for (i = 0; i < count; i++)
                add_multiple(m, start + i, is_long, curvature[i], second);
        }
    }
    return total_of(&value);
}

#define DISPATCH(FUNCTION, ...) \
    (is_long ? FUNCTION(&m, 1, __VA_ARGS__) : FUNCTION(&m, 0, __VA_ARGS__))

/* As dense_loss. */
EXPORT CLONES double sparse_loss(const double *entries, const void *indices, const void *pointers,
    int64_t n_rows, int64_t n_columns, int is_long, const double *sign, const double *weight,
    int64_t weight_stride, const double *center, const double *scale, const double *params,
    double *slope, const double *before, double *logits, double *gradient, double *second)
{
    matrix_t m = {entries, indices, pointers, n_rows, n_columns};
    rows_t rows = {sign, weight, weight_stride, 0};
    double shift = stored_slope(n_columns, center, scale, params, slope);
    double value = DISPATCH(pass, &rows, slope, shift, before, logits, gradient, second);
    standardise(n_columns, center, scale, gradient);
    if (second)
        standardise(n_columns, center, scale, second);
    return value;
}

/* As dense_hessian_product. */
EXPORT CLONES void sparse_hessian_product(const double *entries, const void *indices,
    const void *pointers, int64_t n_rows, int64_t n_columns, int is_long, const double *curvature,
    const double *weight, int64_t weight_stride, const double *center, const double *scale,
    const double *params, double *slope, double *product)
{
    matrix_t m = {entries, indices, pointers, n_rows, n_columns};
    rows_t rows = {0, weight, weight_stride, curvature};
    double shift = stored_slope(n_columns, center, scale, params, slope);
    DISPATCH(pass, &rows, slope, shift, 0, 0, product, 0);
    standardise(n_columns, center, scale, product);
}

/* Multiply a row with some columns of v (n_columns, width), at most 8, whose number is a constant after
   inlining: sums in memory would wait for each other. */
INNER void row_product(const matrix_t *m, int64_t row, int is_long, const double *v, int64_t width,
    int64_t some, double *out)
{
    double sum[8] = {0.0};
    int64_t end = at(m->pointers, row + 1, is_long), k, c;
    for (k = at(m->pointers, row, is_long); k < end; k++) {
        const double *from = v + at(m->indices, k, is_long) * width;
#pragma omp simd
        for (c = 0; c < some; c++)
            sum[c] += m->entries[k] * from[c];
    }
    for (c = 0; c < some; c++)
        out[c] = sum[c];
}

INNER double product(const matrix_t *m, int is_long, const double *v, int64_t width, double *out)
{
    for (int64_t row = 0; row < m->n_rows; row++, out += width) {
        int64_t c = 0;
        if (width == 1)
            *out = dot(m, row, is_long, v);
        else if (width < 4)
            row_product(m, row, is_long, v, width, width, out);
        for (; width - c >= 8; c += 8)
            row_product(m, row, is_long, v + c, width, 8, out + c);
        for (; width >= 4 && c < width; c += 4) {
            c = smaller(c, width - 4); /* the last columns again, if they are fewer */
            row_product(m, row, is_long, v + c, width, 4, out + c);
        }
    }
    return 0.0;
}

/* Write X v (rows, width) of v (n_columns, width). */
EXPORT CLONES void sparse_product(const double *entries, const void *indices, const void *pointers,
    int64_t n_rows, int64_t n_columns, int is_long, const double *v, int64_t width, double *out)
{
    matrix_t m = {entries, indices, pointers, n_rows, n_columns};
    DISPATCH(product, v, width, out);
}

/* Add a row, with entries to a power, times some numbers to some columns of sums (n_columns, width). */
INNER void add_row(const matrix_t *m, int64_t row, int is_long, const double *v, int64_t width,
    int64_t some, int power, double *sums)
{
    int64_t end = at(m->pointers, row + 1, is_long), k, c;
    for (k = at(m->pointers, row, is_long); k < end; k++) {
        double x = m->entries[k], *to = sums + at(m->indices, k, is_long) * width;
        x = power == 1 ? x : power == 2 ? x * x : 1.0;
#pragma omp simd
        for (c = 0; c < some; c++)
            to[c] += x * v[c];
    }
}

INNER double transposed(const matrix_t *m, int is_long, const double *v, int64_t width, int power,
    double *out)
{
    for (int64_t row = 0; row < m->n_rows; row++, v += width) {
        int64_t c = 0, i;
        if (width == 1)
            add_row(m, row, is_long, v, width, 1, power, out);
        else if (width < 4)
            add_row(m, row, is_long, v, width, width, power, out);
        for (; width - c >= 16; c += 16)
            add_row(m, row, is_long, v + c, width, 16, power, out + c);
        for (; width - c >= 8; c += 8)
            add_row(m, row, is_long, v + c, width, 8, power, out + c);
        for (; width >= 4 && c < width; c += 4) {
            double last[4];
            int64_t first = smaller(c, width - 4); /* with nothing for columns that are done */
            for (i = 0; i < 4; i++)
                last[i] = first + i < c ? 0.0 : v[first + i];
            add_row(m, row, is_long, last, width, 4, power, out + first);
        }
    }
    return 0.0;
}

/* Add X' v (n_columns, width) of v (rows, width), with entries to the power of 0, 1 or 2. */
EXPORT CLONES void sparse_transposed_product(const double *entries, const void *indices,
    const void *pointers, int64_t n_rows, int64_t n_columns, int is_long, const double *v,
    int64_t width, int power, double *out)
{
    matrix_t m = {entries, indices, pointers, n_rows, n_columns};
    DISPATCH(transposed, v, width, power, out);
}

/* Collect the entries of a row in chosen columns, and their places; return how many there are. There
   is no branch for a column that is not chosen, which would be mispredicted often. */
INNER int64_t chosen(const matrix_t *m, int64_t row, int is_long, const int32_t *place,
    int32_t *columns, double *entries, int *is_sorted)
{
    int64_t end = at(m->pointers, row + 1, is_long), count = 0;
    int32_t last = -1;
    *is_sorted = 1;
    for (int64_t k = at(m->pointers, row, is_long); k < end; k++) {
        int32_t column = place[at(m->indices, k, is_long)];
        int is_chosen = column >= 0;
        columns[count] = column;
        entries[count] = m->entries[k];
        count += is_chosen;
        *is_sorted &= !is_chosen | (column > last);
        last = is_chosen ? column : last;
    }
    return count;
}

/* Sort entries by their columns, and add duplicates; return how many are left. */
INNER int64_t sorted(int32_t *columns, double *entries, int64_t count)
{
    int64_t kept = 0, a, b;
    for (int64_t k = 0; k < count; k++) {
        int32_t column = columns[k];
        double entry = entries[k];
        for (a = kept; a > 0 && columns[a - 1] > column; a--)
            ;
        if (a > 0 && columns[a - 1] == column) {
            entries[a - 1] += entry;
            continue;
        }
        for (b = kept++; b > a; b--) {
            columns[b] = columns[b - 1];
            entries[b] = entries[b - 1];
        }
        columns[a] = column;
        entries[a] = entry;
    }
    return kept;
}

INNER double gram(const matrix_t *m, int is_long, const int32_t *place, const double *weight,
    int64_t side, int32_t *columns, double *entries, double *out)
{
    for (int64_t row = 0; row < m->n_rows; row++) {
        int is_sorted;
        int64_t count = chosen(m, row, is_long, place, columns, entries, &is_sorted), a, b;
        if (!is_sorted)
            count = sorted(columns, entries, count);
        for (a = 0; a < count; a++) {
            double own = weight[row] * entries[a], *sums = out + columns[a] * side;
            for (b = 0; b <= a; b++)
                sums[columns[b]] += own * entries[b];
            out[(side - 1) * side + columns[a]] += own;
        }
        out[side * side - 1] += weight[row];
    }
    return 0.0;
}

/* Add the lower triangle of `sum_i weight_i [x_i 1]'[x_i 1]` over some columns to out (side, side),
   the last of which is the intercept's. `place` has the index of every column among them, or -1;
   `columns` and `values` have room for one more than the longest row. */
EXPORT CLONES void sparse_gram(const double *entries, const void *indices, const void *pointers,
    int64_t n_rows, int64_t n_columns, int is_long, const int32_t *place, const double *weight,
    int64_t side, int32_t *columns, double *values, double *out)
{
    matrix_t m = {entries, indices, pointers, n_rows, n_columns};
    DISPATCH(gram, place, weight, side, columns, values, out);
}

INNER double last_rows(const matrix_t *m, int is_long, const int32_t *place, const double *weight,
    int64_t side, int64_t first, int32_t *columns, double *entries, double *out)
{
    double *border = out + (side - 1 - first) * side;
    for (int64_t row = 0; row < m->n_rows; row++) {
        int is_sorted;
        int64_t count = chosen(m, row, is_long, place, columns, entries, &is_sorted), a, b;
        for (a = 0; a < count; a++) {
            double own = weight[row] * entries[a], *sums = out + (columns[a] - first) * side;
            border[columns[a]] += own;
            if (columns[a] < first)
                continue;
            for (b = 0; b < count; b++)
                sums[columns[b]] += own * entries[b];
            sums[side - 1] += own;
        }
        border[side - 1] += weight[row];
    }
    return 0.0;
}

/* Add the rows of the same matrix from the `first` on, complete, to out (side - first, side). */
EXPORT CLONES void sparse_gram_rows(const double *entries, const void *indices,
    const void *pointers, int64_t n_rows, int64_t n_columns, int is_long, const int32_t *place,
    const double *weight, int64_t side, int64_t first, int32_t *columns, double *values, double *out)
{
    matrix_t m = {entries, indices, pointers, n_rows, n_columns};
    DISPATCH(last_rows, place, weight, side, first, columns, values, out);
}
