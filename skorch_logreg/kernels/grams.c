/* Gram matrices of dense rows for one or several weights of each row. For many weights, the product of
   two columns is formed once and multiplied with all of them. */
#include "dense.h"
#include "tiles.h"

#include <math.h>
#include <string.h>

#define TILE_ROWS 64      /* rows whose products are formed at a time */
#define MOST_PRODUCTS 256 /* of a row at a time, and at least those of one column */
/* With more columns than this times the number of weights, matrices one by one take less time (1,000 x
   20 with 50 weights: together in .3 of it; 2,000 x 200 with 10: 1.2), and with more sums than a core's
   share of the last cache holds (2,000 x 500 with 63 weights: 1.5). */
#define COLUMNS_PER_WEIGHT 8
#define MOST_NUMBERS (1 << 19)

/* Return the column after those whose products with columns up to their own are formed with those of
   `first`, and their number. */
INNER int64_t last_column(int64_t first, int64_t side, int64_t *n_products)
{
    int64_t last = first + 1, found = first + 1;
    while (last < side && found + last + 1 <= MOST_PRODUCTS)
        found += ++last;
    *n_products = in_panels(found);
    return last;
}

/* Write some columns of rows and a column of ones (count, stride), padded with zeros. */
INNER void copy_rows(const matrix_t *m, int is_float, int by_column, const int64_t *columns,
    int64_t n_chosen, int64_t start, int64_t count, int64_t stride, double *restrict out)
{
    int64_t step = by_column ? m->column_stride : 1;
    for (int64_t t = 0; t < count; t++, out += stride) {
        const void *x = moved(m->entries, (start + t) * m->row_stride, is_float);
        for (int64_t j = 0; j < n_chosen; j++) {
            int64_t column = columns ? columns[j] : j;
            out[j] = entry(x, column * step, is_float);
            if (m->center)
                out[j] = (out[j] - m->center[column]) * m->unit[column];
        }
        out[n_chosen] = 1.0;
        for (int64_t j = n_chosen + 1; j < stride; j++)
            out[j] = 0.0;
    }
}

/* Write the products of some columns with those up to their own, (count, n_products). What a column's
   last vector has too much is written over by the next one's. */
INNER void form_products(const double *restrict z, int64_t count, int64_t stride, int64_t first,
    int64_t last, int64_t n_products, double *restrict out)
{
    for (int64_t t = 0; t < count; t++, z += stride, out += n_products) {
        double *restrict to = out;
        int w;
        for (int64_t a = first; a < last; to += ++a) {
            double own = z[a];
            for (int64_t b = 0; b <= a; b += WIDTH)
#pragma omp simd
                for (w = 0; w < WIDTH; w++)
                    to[b + w] = own * z[b + w];
        }
        for (; to < out + n_products; to++)
            *to = 0.0;
    }
}

/* Write the products of all pairs of factors, (count, n_pairs). */
INNER void pair_weights(const double *restrict factor, int64_t count, int64_t n_factors,
    double *restrict out)
{
    for (int64_t t = 0; t < count; t++, factor += n_factors)
        for (int64_t k = 1; k < n_factors; k++)
            for (int64_t l = 0; l < k; l++)
                *out++ = factor[k] * factor[l];
}

INNER int64_t number_of_matrices(int64_t n_factors, int are_pairs)
{
    return are_pairs ? n_factors * (n_factors - 1) / 2 : n_factors;
}

/* Arrays of matrices that are formed together. */
typedef struct {
    int64_t stride, size; /* numbers of a row with its padding, and products of columns */
    double *z, *weight, *products;
    double *sums; /* of all products times the weights, (n_matrices, size) */
} arrays_t;

/* Divide a buffer, and return how many numbers it has to hold. */
INNER int64_t divide(int64_t side, int64_t n_matrices, double *buffer, arrays_t *a)
{
    int64_t most = in_panels(side > MOST_PRODUCTS ? side : MOST_PRODUCTS), start = 0, n_products;
    a->stride = in_panels(side), a->size = 0;
    for (int64_t column = 0; column < side; a->size += n_products)
        column = last_column(column, side, &n_products);
#define TAKE(array, size) a->array = buffer ? buffer + start : 0, start += (size)
    TAKE(z, TILE_ROWS * a->stride);
    TAKE(weight, TILE_ROWS * n_matrices + MOST_FACTORS);
    TAKE(products, TILE_ROWS * most + WIDTH);
    TAKE(sums, (n_matrices + MOST_FACTORS) * a->size);
#undef TAKE
    return start;
}

/* Methods for a number of columns and weights. */
enum { UNSUPPORTED, ONE_BY_ONE, TOGETHER };

INNER int method_of(int64_t side, int64_t n_factors, int are_pairs)
{
    arrays_t a;
    int64_t n_matrices = number_of_matrices(n_factors, are_pairs);
    if (n_matrices < 2 || side > COLUMNS_PER_WEIGHT * n_matrices)
        return ONE_BY_ONE;
    if (are_pairs) /* with 300 classes, BLAS takes a fifth of the time */
        return TILE_ROWS * n_matrices > MOST_NUMBERS ? UNSUPPORTED : TOGETHER;
    divide(side, n_matrices, 0, &a);
    return n_matrices * a.size > MOST_NUMBERS ? ONE_BY_ONE : TOGETHER;
}

/* The size of the buffer of `dense_grams`; 0 if that should not be called. */
EXPORT int64_t dense_grams_buffer(int64_t n_rows, int64_t side, int64_t n_factors, int are_pairs)
{
    arrays_t a;
    int64_t padded = gram_side(side);
    switch (method_of(side, n_factors, are_pairs)) {
    case ONE_BY_ONE:
        return n_rows + padded * padded + gram_buffer(padded);
    case TOGETHER:
        return divide(side, number_of_matrices(n_factors, are_pairs), 0, &a);
    default:
        return 0;
    }
}

/* Write the lower triangles of matrices (n_matrices, side, side), one after the other. */
INNER void one_by_one(const matrix_t *m, const int64_t *columns, int64_t n_chosen,
    const double *factor, int64_t n_factors, int are_pairs, double *out, double *buffer)
{
    int64_t side = n_chosen + 1, padded = gram_side(side), size = padded * padded, i, k, l;
    double *gram = buffer, *panels = gram + size, *root = panels + gram_buffer(padded);
    for (k = are_pairs; k < n_factors; k++)
        for (l = are_pairs ? 0 : k; are_pairs ? l < k : l == k; l++, out += side * side) {
            for (i = 0; i < m->n_rows; i++) {
                const double *own = factor + i * n_factors;
                root[i] = sqrt(are_pairs ? own[k] * own[l] : own[k]);
            }
            for (i = 0; i < size; i++)
                gram[i] = 0.0;
            add_gram(m, 0, columns, n_chosen, root, padded, panels, gram);
            for (i = 0; i < side; i++)
                memcpy(out + i * side, gram + i * padded, sizeof *out * (size_t)(i + 1));
        }
}

/* Write the same, with products of columns that all weights share. */
INNER void together(const matrix_t *m, const int64_t *columns, int64_t n_chosen,
    const double *factor, int64_t n_factors, int are_pairs, double *out, double *buffer)
{
    int64_t n_matrices = number_of_matrices(n_factors, are_pairs), side = n_chosen + 1;
    int64_t first, last, n_products, i, k;
    int has_wide = has_wide_registers();
    arrays_t a;
    divide(side, n_matrices, buffer, &a);
    for (i = 0; i < (n_matrices + MOST_FACTORS) * a.size; i++)
        a.sums[i] = 0.0;
    for (int64_t start = 0; start < m->n_rows; start += TILE_ROWS) {
        int64_t count = smaller(TILE_ROWS, m->n_rows - start);
        const double *own = factor + start * n_factors;
        double *to = a.sums;
        DISPATCH(copy_rows, columns, n_chosen, start, count, a.stride, a.z);
        if (are_pairs)
            pair_weights(own, count, n_factors, a.weight);
        else
            memcpy(a.weight, own, sizeof *own * (size_t)(count * n_factors));
        for (first = 0; first < side; first = last, to += n_products) {
            last = last_column(first, side, &n_products);
            form_products(a.z, count, a.stride, first, last, n_products, a.products);
            for (k = 0; k < n_products; k += WIDTH)
                add_panel(a.products + k, n_products, count, a.weight, n_matrices, has_wide, to + k,
                    a.size);
        }
    }
    for (k = 0; k < n_matrices; k++, out += side * side)
        for (first = 0; first < side; first = last, a.sums += n_products) {
            const double *row = a.sums;
            last = last_column(first, side, &n_products);
            for (i = first; i < last; row += ++i)
                memcpy(out + i * side, row, sizeof *out * (size_t)(i + 1));
        }
}

/* Write Gram matrices (n_matrices, side, side) of some columns, all if they are NULL, less the center
   and times the unit, if these are not NULL, and of ones. The weights of a row, which are not negative,
   are its factors (n_rows, n_factors), or the products of all pairs of them. */
EXPORT CLONES void dense_grams(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const int64_t *columns,
    int64_t n_chosen, const double *center, const double *unit, const double *factor,
    int64_t n_factors, int are_pairs, double *out, double *buffer)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, is_float, center, unit};
    int64_t side = n_chosen + 1, n_matrices = number_of_matrices(n_factors, are_pairs);
    if (method_of(side, n_factors, are_pairs) == ONE_BY_ONE)
        one_by_one(&m, columns, n_chosen, factor, n_factors, are_pairs, out, buffer);
    else
        together(&m, columns, n_chosen, factor, n_factors, are_pairs, out, buffer);
    for (int64_t k = 0; k < n_matrices; k++)
        mirror(out + k * side * side, side, side);
}
