/* Chosen columns of a CSC array with indices of 32 or 64 bits; included by quadratic.c. */
#ifndef SKORCH_LOGREG_COLUMNS_H
#define SKORCH_LOGREG_COLUMNS_H

#include "common.h"

enum { GRAM, COLUMNS, LONG_COLUMNS }; /* kinds of a Hessian */

typedef struct {
    const double *entries;
    const void *indices, *pointers;
    int64_t n_rows;
    const int64_t *chosen;
    const double *unit, *mean, *ridge, *diagonal;
    const double *curvature; /* of the rows */
    double total;            /* sum of it with an intercept, else 0 */
} columns_t;

INNER int64_t integer(const void *integers, int64_t i, int kind)
{
    return kind == LONG_COLUMNS ? ((const int64_t *)integers)[i]
                                : (int64_t)((const int32_t *)integers)[i];
}

INNER double column_dot(const columns_t *c, int64_t j, int kind, const double *v)
{
    const double *x = c->entries;
    int64_t k = integer(c->pointers, c->chosen[j], kind);
    int64_t end = integer(c->pointers, c->chosen[j] + 1, kind);
    double a = 0.0, b = 0.0;
    for (; k + 2 <= end; k += 2) {
        a += x[k] * v[integer(c->indices, k, kind)];
        b += x[k + 1] * v[integer(c->indices, k + 1, kind)];
    }
    for (; k < end; k++)
        a += x[k] * v[integer(c->indices, k, kind)];
    return a + b;
}

/* Add a multiple of a column times a weight of each row. */
INNER void add_column(const columns_t *c, int64_t j, int kind, double factor, const double *weight,
    double *out)
{
    int64_t end = integer(c->pointers, c->chosen[j] + 1, kind);
    for (int64_t k = integer(c->pointers, c->chosen[j], kind); k < end; k++) {
        int64_t i = integer(c->indices, k, kind);
        out[i] += factor * c->entries[k] * weight[i];
    }
}

/* Sum a column and its squares with the curvatures of the rows. */
INNER void column_moments(const columns_t *c, int64_t j, int kind, double *sum, double *square)
{
    int64_t end = integer(c->pointers, c->chosen[j] + 1, kind);
    for (int64_t k = integer(c->pointers, c->chosen[j], kind); k < end; k++) {
        double term = c->curvature[integer(c->indices, k, kind)] * c->entries[k];
        *sum += term;
        *square += term * c->entries[k];
    }
}

#endif
