/* Gram matrices for many weights of each row, for which the product of two columns is formed once and
   multiplied with all of them, with numbers in NUMBER; included by grams.c once for each. */
#include "tiles.h"

/* Return the column after those whose products with columns up to their own are formed with those of
   `first`, and their number. */
INNER int64_t OF_NUMBER(last_column)(int64_t first, int64_t side, int64_t *n_products)
{
    int64_t last = first + 1, found = first + 1;
    while (last < side && found + last + 1 <= MOST_PRODUCTS)
        found += ++last;
    *n_products = OF_NUMBER(in_panels)(found);
    return last;
}

/* Write some columns of rows and a column of ones (count, stride), padded with zeros. */
INNER void OF_NUMBER(copy_rows)(const matrix_t *m, int is_float, int by_column, const int64_t *columns,
    int64_t n_chosen, int64_t start, int64_t count, int64_t stride, NUMBER *restrict out)
{
    int64_t step = by_column ? m->column_stride : 1;
    for (int64_t t = 0; t < count; t++, out += stride) {
        const void *x = moved(m->entries, (start + t) * m->row_stride, is_float);
        for (int64_t j = 0; j < n_chosen; j++) {
            int64_t column = columns ? columns[j] : j;
            double value = entry(x, column * step, is_float);
            if (m->center)
                value = (value - m->center[column]) * m->unit[column];
            out[j] = (NUMBER)value;
        }
        out[n_chosen] = 1;
        for (int64_t j = n_chosen + 1; j < stride; j++)
            out[j] = 0;
    }
}

/* Write the products of some columns with those up to their own, (count, n_products). What a column's
   last vector has too much is written over by the next one's. */
INNER void OF_NUMBER(form_products)(const NUMBER *restrict z, int64_t count, int64_t stride,
    int64_t first, int64_t last, int64_t n_products, NUMBER *restrict out)
{
    for (int64_t t = 0; t < count; t++, z += stride, out += n_products) {
        NUMBER *restrict to = out;
        int w;
        for (int64_t a = first; a < last; to += ++a) {
            NUMBER own = z[a];
            for (int64_t b = 0; b <= a; b += WIDTH)
#pragma omp simd
                for (w = 0; w < WIDTH; w++)
                    to[b + w] = own * z[b + w];
        }
        for (; to < out + n_products; to++)
            *to = 0;
    }
}

/* Return a weight, or 0 for one whose products in float32 would be subnormal numbers. */
INNER NUMBER OF_NUMBER(rounded)(double weight)
{
    return sizeof(NUMBER) == sizeof(float) && weight < 1e-28 ? 0 : (NUMBER)weight;
}

/* Write the factors (count, n_factors) themselves, or the products of all pairs of them. */
INNER void OF_NUMBER(matrix_weights)(const double *restrict factor, int64_t count, int64_t n_factors,
    int are_pairs, NUMBER *restrict out)
{
    int64_t i, k, l;
    for (i = 0; !are_pairs && i < count * n_factors; i++)
        out[i] = OF_NUMBER(rounded)(factor[i]);
    for (i = 0; are_pairs && i < count; i++, factor += n_factors)
        for (k = 1; k < n_factors; k++)
            for (l = 0; l < k; l++)
                *out++ = OF_NUMBER(rounded)(factor[k] * factor[l]);
}

/* Arrays of matrices that are formed together. */
typedef struct {
    int64_t stride, size; /* numbers of a row with its padding, and products of columns */
    NUMBER *z, *weight, *products;
    NUMBER *sums; /* of all products times the weights, (n_matrices, size) */
} OF_NUMBER(arrays);

/* Divide a buffer, and return how many numbers it has to hold. */
INNER int64_t OF_NUMBER(divide)(int64_t side, int64_t n_matrices, NUMBER *buffer, OF_NUMBER(arrays) *a)
{
    int64_t most = OF_NUMBER(in_panels)(side > MOST_PRODUCTS ? side : MOST_PRODUCTS);
    int64_t start = 0, n_products;
    a->stride = OF_NUMBER(in_panels)(side), a->size = 0;
    for (int64_t column = 0; column < side; a->size += n_products)
        column = OF_NUMBER(last_column)(column, side, &n_products);
#define TAKE(array, size) a->array = buffer ? buffer + start : 0, start += (size)
    TAKE(z, TILE_ROWS * a->stride);
    TAKE(weight, TILE_ROWS * n_matrices + MOST_FACTORS);
    TAKE(products, TILE_ROWS * most + WIDTH);
    TAKE(sums, (n_matrices + MOST_FACTORS) * a->size);
#undef TAKE
    return start;
}

/* Write the lower triangles of matrices (n_matrices, side, side), one after the other. */
INNER void OF_NUMBER(together)(const matrix_t *m, const int64_t *columns, int64_t n_chosen,
    const double *factor, int64_t n_factors, int are_pairs, double *out, NUMBER *buffer)
{
    int64_t n_matrices = number_of_matrices(n_factors, are_pairs), side = n_chosen + 1;
    int64_t first, last, n_products, i, k;
    int has_wide = has_wide_registers();
    OF_NUMBER(arrays) a;
    OF_NUMBER(divide)(side, n_matrices, buffer, &a);
    for (i = 0; i < (n_matrices + MOST_FACTORS) * a.size; i++)
        a.sums[i] = 0;
    for (int64_t start = 0; start < m->n_rows; start += TILE_ROWS) {
        int64_t count = smaller(TILE_ROWS, m->n_rows - start);
        NUMBER *to = a.sums;
        DISPATCH(OF_NUMBER(copy_rows), columns, n_chosen, start, count, a.stride, a.z);
        OF_NUMBER(matrix_weights)(factor + start * n_factors, count, n_factors, are_pairs, a.weight);
        for (first = 0; first < side; first = last, to += n_products) {
            last = OF_NUMBER(last_column)(first, side, &n_products);
            OF_NUMBER(form_products)(a.z, count, a.stride, first, last, n_products, a.products);
            for (k = 0; k < n_products; k += WIDTH)
                OF_NUMBER(add_panel)(a.products + k, n_products, count, a.weight, n_matrices, has_wide,
                    to + k, a.size);
        }
    }
    for (k = 0; k < n_matrices; k++, out += side * side)
        for (first = 0; first < side; first = last, a.sums += n_products) {
            const NUMBER *row = a.sums;
            last = OF_NUMBER(last_column)(first, side, &n_products);
            for (i = first; i < last; row += ++i)
                for (int64_t j = 0; j <= i; j++)
                    out[i * side + j] = row[j];
        }
}
