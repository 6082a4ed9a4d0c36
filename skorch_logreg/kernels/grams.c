/* Gram matrices of dense rows for one or several weights of each row. For many weights, the product of
   two columns is formed once and multiplied with all of them. */
#include "dense.h"

#include <math.h>
#include <string.h>

#define TILE_ROWS 64      /* rows whose products are formed at a time */
#define MOST_PRODUCTS 256 /* of a row at a time, and at least those of one column */
/* With more columns than this times the number of weights, matrices one by one take less time (1,000 x
   20 with 50 weights: together in .3 of it; 2,000 x 200 with 10: 1.2), and with more sums than a core's
   share of the last cache holds (2,000 x 500 with 63 weights: 1.5). */
#define COLUMNS_PER_WEIGHT 8
#define MOST_NUMBERS (1 << 19)

INNER int64_t number_of_matrices(int64_t n_factors, int are_pairs)
{
    return are_pairs ? n_factors * (n_factors - 1) / 2 : n_factors;
}

#define NUMBER double
#define OF_NUMBER(function) function##_double
#include "grams_together.h"
#undef NUMBER
#undef OF_NUMBER
#define NUMBER float
#define OF_NUMBER(function) function##_float
#include "grams_together.h"

/* Methods for a number of columns and weights. */
enum { UNSUPPORTED, ONE_BY_ONE, TOGETHER };

INNER int method_of(int64_t side, int64_t n_factors, int are_pairs)
{
    arrays_double a;
    int64_t n_matrices = number_of_matrices(n_factors, are_pairs);
    if (n_matrices < 2 || side > COLUMNS_PER_WEIGHT * n_matrices)
        return ONE_BY_ONE;
    if (are_pairs) /* with 300 classes, BLAS takes a fifth of the time */
        return TILE_ROWS * n_matrices > MOST_NUMBERS ? UNSUPPORTED : TOGETHER;
    divide_double(side, n_matrices, 0, &a);
    return n_matrices * a.size > MOST_NUMBERS ? ONE_BY_ONE : TOGETHER;
}

/* The size of the buffer of `dense_grams` with float64 numbers, enough for float32 ones as well; 0 if that
   should not be called. */
EXPORT int64_t dense_grams_buffer(int64_t n_rows, int64_t side, int64_t n_factors, int are_pairs)
{
    arrays_double a;
    int64_t padded = gram_side(side);
    switch (method_of(side, n_factors, are_pairs)) {
    case ONE_BY_ONE:
        return n_rows + padded * padded + gram_buffer(padded);
    case TOGETHER:
        return divide_double(side, number_of_matrices(n_factors, are_pairs), 0, &a);
    default:
        return 0;
    }
}

/* Write the lower triangles of matrices (n_matrices, side, side), one after the other. */
INNER void one_by_one(const matrix_t *m, const int64_t *columns, int64_t n_chosen,
    const double *factor, int64_t n_factors, int are_pairs, int is_rough, double *out, double *buffer)
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
            add_gram(m, is_rough, columns, n_chosen, root, padded, panels, gram);
            for (i = 0; i < side; i++)
                memcpy(out + i * side, gram + i * padded, sizeof *out * (size_t)(i + 1));
        }
}

/* Write Gram matrices (n_matrices, side, side) of some columns, all if they are NULL, less the center
   and times the unit, if these are not NULL, and of ones. The weights of a row, which are not negative,
   are its factors (n_rows, n_factors), or the products of all pairs of them. The products are computed
   in float32 if is_rough. */
EXPORT CLONES void dense_grams(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const int64_t *columns,
    int64_t n_chosen, const double *center, const double *unit, const double *factor,
    int64_t n_factors, int are_pairs, int is_rough, double *out, double *buffer)
{
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, is_float, center, unit};
    int64_t side = n_chosen + 1, n_matrices = number_of_matrices(n_factors, are_pairs);
    if (method_of(side, n_factors, are_pairs) == ONE_BY_ONE)
        one_by_one(&m, columns, n_chosen, factor, n_factors, are_pairs, is_rough, out, buffer);
    else if (is_rough)
        together_float(&m, columns, n_chosen, factor, n_factors, are_pairs, out, (float *)buffer);
    else
        together_double(&m, columns, n_chosen, factor, n_factors, are_pairs, out, buffer);
    for (int64_t k = 0; k < n_matrices; k++)
        mirror(out + k * side * side, side, side);
}
