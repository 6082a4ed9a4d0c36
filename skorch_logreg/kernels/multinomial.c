/* The multinomial loss of many models at given logits. */
#include <float.h>

#include "logistic.h"

#define MAX_CLASSES 2048 /* logits whose exponentials are held at a time */

EXPORT int64_t multinomial_max_classes(void) { return MAX_CLASSES; }

/* Logits (n_rows, n_models, n_classes), and the class and weight of each row; strides may be 0. */
typedef struct {
    int64_t n_rows, n_models, n_classes;
    const int64_t *class_of;
    int64_t class_row, class_model;
    const double *weight;
    int64_t weight_row, weight_model;
} classes_t;

/* Class and weight of one row for one model. Its exponentials are relative to the largest: that of
   its own class, the sum of all others, and the distance of its logit from the largest. */
typedef struct {
    int64_t own_class, model;
    double weight, right, wrong, below;
} row_t;

/* An entry of an array of float32 or float64. */
INNER double entry(const void *array, int64_t i, int is_single)
{
    return is_single ? (double)((const float *)array)[i] : ((const double *)array)[i];
}

/* What float32 has no normal number for becomes 0: products with subnormal numbers take a hundred
   times as long. */
INNER void set(void *array, int64_t i, double value, int is_single)
{
    if (is_single)
        ((float *)array)[i] = value > -FLT_MIN && value < FLT_MIN ? 0.0f : (float)value;
    else
        ((double *)array)[i] = value;
}

/* Turn logits (count, n_classes) of consecutive rows and models into exponentials relative to the
   largest of each row, in place, with a zero for the row's own class. */
INNER void exponentials(const classes_t *c, int64_t first, int64_t count, double *e, row_t *rows)
{
    int64_t n = c->n_classes, i, k;
    for (i = 0; i < count; i++) {
        double *own = e + i * n, top = own[0];
        int64_t row = (first + i) / c->n_models, model = (first + i) % c->n_models;
        int64_t y = c->class_of[row * c->class_row + model * c->class_model];
        for (k = 1; k < n; k++)
            top = own[k] > top ? own[k] : top;
        rows[i].own_class = y;
        rows[i].model = model;
        rows[i].weight = c->weight[row * c->weight_row + model * c->weight_model];
        rows[i].below = top - own[y];
        for (k = 0; k < n; k++)
            own[k] = top - own[k];
    }
#pragma omp simd
    for (i = 0; i < count * n; i++)
        e[i] = exp_minus(e[i]);
    for (i = 0; i < count; i++) {
        double *own = e + i * n;
        rows[i].right = own[rows[i].own_class];
        own[rows[i].own_class] = 0.0;
        rows[i].wrong = sum_of(n, own);
    }
}

INNER double loss_of(const row_t *row)
{
    double right = row->right, wrong = row->wrong;
    return wrong < right ? log_one_plus(wrong / right) : log(right + wrong) + row->below;
}

INNER void models(const classes_t *c, int is_single, const void *logits, double *sums,
    void *residual)
{
    double e[MAX_CLASSES];
    row_t rows[MAX_CLASSES];
    int64_t n = c->n_classes, size = c->n_rows * c->n_models, step = MAX_CLASSES / n, first, i, k;
    for (first = 0; first < size; first += step) {
        int64_t count = smaller(step, size - first), start = first * n;
        for (k = 0; k < count * n; k++)
            e[k] = entry(logits, start + k, is_single);
        exponentials(c, first, count, e, rows);
        for (i = 0; i < count; i++) {
            row_t *row = rows + i;
            double scale = row->weight / (row->right + row->wrong);
            e[i * n + row->own_class] = -row->wrong;
            for (k = 0; k < n; k++)
                set(residual, start + i * n + k, scale * e[i * n + k], is_single);
            add_exactly(sums + row->model, sums + c->n_models + row->model,
                row->weight * loss_of(row));
        }
    }
}

INNER void along(const classes_t *c, int is_single, const void *logits, const void *change,
    const double *steps, double *sums)
{
    double e[MAX_CLASSES];
    row_t rows[MAX_CLASSES];
    int64_t n = c->n_classes, size = c->n_rows * c->n_models, step = MAX_CLASSES / n, first, i, k;
    for (first = 0; first < size; first += step) {
        int64_t count = smaller(step, size - first), start = first * n;
        for (i = 0; i < count; i++) {
            double t = steps[(first + i) % c->n_models];
            for (k = i * n; k < (i + 1) * n; k++)
                e[k] = entry(logits, start + k, is_single) + t * entry(change, start + k, is_single);
        }
        exponentials(c, first, count, e, rows);
        for (i = 0; i < count; i++) {
            row_t *row = rows + i;
            double *own = e + i * n, total = row->right + row->wrong, shift = 0.0, spread;
            double at = entry(change, start + i * n + row->own_class, is_single);
#pragma omp simd reduction(+ : shift)
            for (k = 0; k < n; k++)
                shift += own[k] * (entry(change, start + i * n + k, is_single) - at);
            shift /= total; /* the mean change relative to that of the own class */
            spread = row->right * shift * shift;
#pragma omp simd reduction(+ : spread)
            for (k = 0; k < n; k++) {
                double left = entry(change, start + i * n + k, is_single) - at - shift;
                spread += own[k] * left * left;
            }
            double terms[3] = {loss_of(row), shift, spread / total};
            for (k = 0; k < 3; k++) {
                double *sum = sums + 2 * k * c->n_models + row->model;
                add_exactly(sum, sum + c->n_models, row->weight * terms[k]);
            }
        }
    }
}

/* Add the weighted losses, and what rounding took from these sums, to sums (2, n_models), which are
   zero before. Write weighted residuals (n_rows, n_models, n_classes). */
EXPORT CLONES void multinomial_models(const void *logits, int is_single, int64_t n_rows,
    int64_t n_models, int64_t n_classes, const int64_t *class_of, int64_t class_row,
    int64_t class_model, const double *weight, int64_t weight_row, int64_t weight_model,
    double *sums, void *residual)
{
    classes_t c = {n_rows, n_models, n_classes, class_of, class_row, class_model, weight, weight_row,
        weight_model};
    if (is_single)
        models(&c, 1, logits, sums, residual);
    else
        models(&c, 0, logits, sums, residual);
    add_rest(1, n_models, sums);
}

/* Add the weighted losses at `logits + steps * change`, and their first and second derivatives in
   the steps (n_models,), each followed by what rounding took from it, to sums (6, n_models), which
   are zero before. */
EXPORT CLONES void multinomial_along(const void *logits, int is_single, int64_t n_rows,
    int64_t n_models, int64_t n_classes, const int64_t *class_of, int64_t class_row,
    int64_t class_model, const double *weight, int64_t weight_row, int64_t weight_model,
    double *sums, const void *change, const double *steps)
{
    classes_t c = {n_rows, n_models, n_classes, class_of, class_row, class_model, weight, weight_row,
        weight_model};
    if (is_single)
        along(&c, 1, logits, change, steps, sums);
    else
        along(&c, 0, logits, change, steps, sums);
    add_rest(3, n_models, sums);
}

INNER void product(const classes_t *c, int is_single, const void *proba, void *change)
{
    int64_t n = c->n_classes, size = c->n_rows * c->n_models, i, k;
    for (i = 0; i < size; i++) {
        int64_t row = i / c->n_models, model = i % c->n_models, start = i * n;
        double weight = c->weight[row * c->weight_row + model * c->weight_model];
        double mean = 0.0, rest = 0.0;
#pragma omp simd reduction(+ : mean)
        for (k = start; k < start + n; k++)
            mean += entry(proba, k, is_single) * entry(change, k, is_single);
#pragma omp simd reduction(+ : rest)
        for (k = start; k < start + n; k++)
            rest += entry(proba, k, is_single) * (entry(change, k, is_single) - mean);
        for (k = start; k < start + n; k++) {
            double left = entry(change, k, is_single) - mean - rest;
            set(change, k, weight * entry(proba, k, is_single) * left, is_single);
        }
    }
}

/* Multiply changes (n_rows, n_models, n_classes) of logits with the weighted Hessians
   ``diag(p) - p p'`` of the loss, in place. The mean is subtracted twice: where a probability is
   close to one, the rounding error of the first mean is larger than what is left. */
EXPORT CLONES void multinomial_product(const void *proba, int is_single, int64_t n_rows,
    int64_t n_models, int64_t n_classes, const double *weight, int64_t weight_row,
    int64_t weight_model, void *change)
{
    classes_t c = {n_rows, n_models, n_classes, 0, 0, 0, weight, weight_row, weight_model};
    if (is_single)
        product(&c, 1, proba, change);
    else
        product(&c, 0, proba, change);
}
