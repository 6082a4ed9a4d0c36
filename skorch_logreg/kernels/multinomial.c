/* The multinomial loss of many models at given logits. */
#include <float.h>

#include "logistic.h"

#define MAX_CLASSES 2048 /* logits whose exponentials are held at a time */
#define FEW_CLASSES 32   /* with fewer, loops over the classes of a row are too short for vectors */

EXPORT int64_t multinomial_max_classes(void) { return MAX_CLASSES; }

/* Logits (n_rows, n_models, n_classes), and the class and weight of each row; strides may be 0. */
typedef struct {
    int64_t n_rows, n_models, n_classes;
    const int64_t *class_of;
    int64_t class_row, class_model;
    const double *weight;
    int64_t weight_row, weight_model;
} classes_t;

/* Consecutive rows of all models, one after the other. Exponentials are relative to the largest of a
   row: that of its own class, the sum of all others, and the distance of its logit from the largest.
   Those of a row follow each other, or with few classes those of a class. */
typedef struct {
    int64_t first, count, row, model, own_class[MAX_TILE], model_of[MAX_TILE];
    double e[MAX_CLASSES], top[MAX_TILE], weight[MAX_TILE], loss[MAX_TILE];
    double right[MAX_TILE], wrong[MAX_TILE], below[MAX_TILE];
} tile_t;

/* Run a statement for every entry of a tile, number `at` of its array, for class k of row i. */
#define EACH_ENTRY(c, t, by_class, statement) \
    for (int64_t a = 0; a < ((by_class) ? (c)->n_classes : (t)->count); a++) { \
        int64_t inner = (by_class) ? (t)->count : (c)->n_classes; \
        for (int64_t b = 0; b < inner; b++) { \
            int64_t at = a * inner + b, i = (by_class) ? b : a, k = (by_class) ? a : b; \
            (void)k; \
            statement; \
        } \
    }

/* Call a function with the constants of the type of the logits and of the order of their entries. */
#define BY_LAYOUT(FUNCTION, c, is_single, ...) \
    ((c)->n_classes < FEW_CLASSES \
            ? (is_single ? FUNCTION(c, 1, 1, __VA_ARGS__) : FUNCTION(c, 0, 1, __VA_ARGS__)) \
            : (is_single ? FUNCTION(c, 1, 0, __VA_ARGS__) : FUNCTION(c, 0, 0, __VA_ARGS__)))

/* Number of that entry in an array like the logits. */
#define IN_ROWS(c, t) (((t)->first + i) * (c)->n_classes + k)

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

/* Begin before the first row; clearing the whole tile would take as long as few rows. */
INNER void start_tiles(tile_t *t) { t->first = t->count = t->row = t->model = 0; }

/* Take the next rows; returns whether there are some. */
INNER int next_tile(const classes_t *c, tile_t *t)
{
    int64_t size = c->n_rows * c->n_models, most = smaller(MAX_CLASSES / c->n_classes, MAX_TILE);
    t->first += t->count;
    t->count = smaller(most, size - t->first);
    for (int64_t i = 0; i < t->count; i++) {
        t->own_class[i] = c->class_of[t->row * c->class_row + t->model * c->class_model];
        t->model_of[i] = t->model;
        t->weight[i] = c->weight[t->row * c->weight_row + t->model * c->weight_model];
        if (++t->model == c->n_models) {
            t->model = 0;
            t->row++;
        }
    }
    return t->count > 0;
}

/* Number in the tile of the entry of a row's own class. */
INNER int64_t own_entry(const classes_t *c, const tile_t *t, int64_t i, int by_class)
{
    return by_class ? t->own_class[i] * t->count + i : i * c->n_classes + t->own_class[i];
}

/* The integer n with 1 <= x / 2^n < 2, of a normal number x > 0. */
INNER double exponent(double x)
{
    uint64_t bits;
    double n;
    memcpy(&bits, &x, sizeof bits);
    bits = (bits >> 52) | 0x4330000000000000u; /* those of 2^52 + n + 1023 */
    memcpy(&n, &bits, sizeof n);
    return n - 4503599627371519.0;
}

/* Sum an array like that of a tile over the classes of each row. */
INNER void row_sums(const classes_t *c, const tile_t *t, int by_class, const double *terms,
    double *sums)
{
    int64_t n = c->n_classes, count = t->count, i, k;
    for (i = 0; i < count; i++)
        sums[i] = by_class ? terms[i] : sum_of(n, terms + i * n);
    if (by_class)
        for (k = 1; k < n; k++)
#pragma omp simd
            for (i = 0; i < count; i++)
                sums[i] += terms[k * count + i];
}

/* Turn the logits of a tile into exponentials relative to the largest of each row, in place, with a
   zero for the row's own class. */
INNER void exponentials(const classes_t *c, tile_t *t, int by_class)
{
    int64_t n = c->n_classes, count = t->count, i, k;
    double *e = t->e;
    for (i = 0; i < count; i++) {
        double top = t->below[i] = e[own_entry(c, t, i, by_class)];
        if (!by_class) {
#pragma omp simd reduction(max : top)
            for (k = 0; k < n; k++)
                top = e[i * n + k] > top ? e[i * n + k] : top;
        }
        t->top[i] = top;
    }
    if (by_class)
        for (k = 0; k < n; k++)
#pragma omp simd
            for (i = 0; i < count; i++)
                t->top[i] = e[k * count + i] > t->top[i] ? e[k * count + i] : t->top[i];
    EACH_ENTRY(c, t, by_class, e[at] = t->top[i] - e[at])
#pragma omp simd
    for (k = 0; k < count * n; k++)
        e[k] = exp_minus(e[k]);
    for (i = 0; i < count; i++) {
        int64_t own = own_entry(c, t, i, by_class);
        t->below[i] = t->top[i] - t->below[i];
        t->right[i] = e[own];
        e[own] = 0.0;
    }
    row_sums(c, t, by_class, e, t->wrong);
#pragma omp simd
    for (i = 0; i < count; i++) { /* log(1 + wrong / right), or the sum of two logarithms */
        double total = t->right[i] + t->wrong[i], n = exponent(total);
        double far = t->below[i] + n * 0.69314718055994531, f = total * power_of_two(-n) - 1.0;
        int is_near = t->wrong[i] < t->right[i];
        t->loss[i] = (is_near ? 0.0 : far) + log_one_plus(is_near ? t->wrong[i] / t->right[i] : f);
    }
}

INNER void models(const classes_t *c, int is_single, int by_class, const void *logits,
    double *sums, void *residual)
{
    tile_t t;
    double scale[MAX_TILE];
    start_tiles(&t);
    while (next_tile(c, &t)) {
        EACH_ENTRY(c, &t, by_class, t.e[at] = entry(logits, IN_ROWS(c, &t), is_single))
        exponentials(c, &t, by_class);
        for (int64_t i = 0; i < t.count; i++) {
            double *sum = sums + t.model_of[i];
            t.e[own_entry(c, &t, i, by_class)] = -t.wrong[i];
            scale[i] = t.weight[i] / (t.right[i] + t.wrong[i]);
            add_exactly(sum, sum + c->n_models, t.weight[i] * t.loss[i]);
        }
        EACH_ENTRY(c, &t, by_class, set(residual, IN_ROWS(c, &t), scale[i] * t.e[at], is_single))
    }
}

INNER void along(const classes_t *c, int is_single, int by_class, const void *logits,
    const void *change, const double *steps, double *sums)
{
    tile_t t;
    double terms[MAX_CLASSES], own[MAX_TILE], shift[MAX_TILE], spread[MAX_TILE];
    int64_t n = c->n_classes, i, k;
    start_tiles(&t);
    while (next_tile(c, &t)) {
        EACH_ENTRY(c, &t, by_class, t.e[at] = entry(logits, IN_ROWS(c, &t), is_single)
            + steps[t.model_of[i]] * entry(change, IN_ROWS(c, &t), is_single))
        exponentials(c, &t, by_class);
        for (i = 0; i < t.count; i++)
            own[i] = entry(change, (t.first + i) * n + t.own_class[i], is_single);
        EACH_ENTRY(c, &t, by_class,
            terms[at] = t.e[at] * (entry(change, IN_ROWS(c, &t), is_single) - own[i]))
        row_sums(c, &t, by_class, terms, shift);
        for (i = 0; i < t.count; i++)
            shift[i] /= t.right[i] + t.wrong[i]; /* the mean change less that of the own class */
        EACH_ENTRY(c, &t, by_class,
            double left = entry(change, IN_ROWS(c, &t), is_single) - own[i] - shift[i];
            terms[at] = t.e[at] * left * left)
        row_sums(c, &t, by_class, terms, spread);
        for (i = 0; i < t.count; i++) {
            double curvature = t.right[i] * shift[i] * shift[i] + spread[i];
            double found[3] = {t.loss[i], shift[i], curvature / (t.right[i] + t.wrong[i])};
            for (k = 0; k < 3; k++) {
                double *sum = sums + 2 * k * c->n_models + t.model_of[i];
                add_exactly(sum, sum + c->n_models, t.weight[i] * found[k]);
            }
        }
    }
}

/* Return whether a logit of a tile has changed so much that it may differ by more than `limit` from the
   mean change of its row. */
INNER int may_be_far(const classes_t *c, const tile_t *t, int is_single, const void *logits,
    const void *before, double limit)
{
    int64_t start = t->first * c->n_classes, n_far = 0;
#pragma omp simd reduction(+ : n_far)
    for (int64_t at = start; at < start + t->count * c->n_classes; at++) {
        double change = entry(logits, at, is_single) - entry(before, at, is_single);
        n_far += change > limit / 2 || -change > limit / 2;
    }
    return n_far > 0;
}

INNER void moved(const classes_t *c, int is_single, int by_class, const void *logits,
    const void *before, double limit, double *sums)
{
    tile_t t;
    double terms[MAX_CLASSES], mean[MAX_TILE], left[MAX_TILE];
    int64_t n = c->n_classes, i;
    start_tiles(&t);
    while (next_tile(c, &t)) {
        if (!may_be_far(c, &t, is_single, logits, before, limit))
            continue;
        EACH_ENTRY(c, &t, by_class, t.e[at] = entry(logits, IN_ROWS(c, &t), is_single))
        exponentials(c, &t, by_class);
#define CHANGE(entry_of) (entry(logits, entry_of, is_single) - entry(before, entry_of, is_single))
        EACH_ENTRY(c, &t, by_class, terms[at] = t.e[at] * CHANGE(IN_ROWS(c, &t)))
        row_sums(c, &t, by_class, terms, mean);
        for (i = 0; i < t.count; i++) {
            mean[i] += t.right[i] * CHANGE((t.first + i) * n + t.own_class[i]);
            mean[i] /= t.right[i] + t.wrong[i];
            t.e[own_entry(c, &t, i, by_class)] = t.wrong[i] * (t.below[i] > 1.0 ? t.below[i] : 1.0);
        }
        EACH_ENTRY(c, &t, by_class, double change = CHANGE(IN_ROWS(c, &t)) - mean[i];
                   terms[at] = change > limit || -change > limit ? t.e[at] + DBL_MIN : 0.0)
#undef CHANGE
        row_sums(c, &t, by_class, terms, left);
        for (i = 0; i < t.count; i++) {
            double *sum = sums + t.model_of[i], term = t.weight[i] * left[i] / (t.right[i] + t.wrong[i]);
            if (left[i] > 0.0 && t.weight[i] > 0.0)
                add_exactly(sum, sum + c->n_models, term > DBL_MIN ? term : DBL_MIN);
        }
    }
}

/* Add the weighted residuals, in absolute value, of the logits that differ by more than `limit` from those
   `before`, less the mean change of their row, and what rounding took from it, to sums (2, n_models),
   which are zero before. That of the own class counts as often as its logit is below the largest, if
   that is more than 1. The sums are more than zero if there are such logits. */
EXPORT CLONES void multinomial_moved(const void *logits, int is_single, int64_t n_rows,
    int64_t n_models, int64_t n_classes, const int64_t *class_of, int64_t class_row,
    int64_t class_model, const double *weight, int64_t weight_row, int64_t weight_model,
    double *sums, const void *before, const double *limit)
{
    classes_t c = {n_rows, n_models, n_classes, class_of, class_row, class_model, weight, weight_row,
        weight_model};
    BY_LAYOUT(moved, &c, is_single, logits, before, *limit, sums);
    add_rest(1, n_models, sums);
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
    BY_LAYOUT(models, &c, is_single, logits, sums, residual);
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
    BY_LAYOUT(along, &c, is_single, logits, change, steps, sums);
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
