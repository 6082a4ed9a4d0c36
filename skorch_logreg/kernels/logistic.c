/* The logistic loss of many models at given logits. */
#include "logistic.h"

/* Logits (n_rows, n_models), and the sign and weight of each; strides may be 0. */
typedef struct {
    int64_t n_rows, n_models;
    const double *sign;
    int64_t sign_row, sign_model;
    const double *weight;
    int64_t weight_row, weight_model;
} batch_t;

/* Consecutive logits: of some rows and all models, or of one row and some models. */
typedef struct {
    int64_t rows, model, width, start;
    double sign[MAX_TILE], weight[MAX_TILE];
} tile_t;

INNER int64_t tile_width(const batch_t *b)
{
    return smaller(b->n_models, MAX_TILE);
}

INNER int64_t tile_rows(const batch_t *b)
{
    return b->n_models > MAX_TILE ? 1 : MAX_TILE / b->n_models;
}

/* Copy numbers of the rows and models of a tile, with the longer loop inside. */
INNER void copy_tile(const double *from, int64_t row_stride, int64_t model_stride, const tile_t *t,
    double *restrict to)
{
    int64_t width = t->width, i, k;
    if (width < t->rows)
        for (k = 0; k < width; k++)
            for (i = 0; i < t->rows; i++)
                to[i * width + k] = from[i * row_stride + k * model_stride];
    else
        for (i = 0; i < t->rows; i++)
            for (k = 0; k < width; k++)
                to[i * width + k] = from[i * row_stride + k * model_stride];
}

/* Read a tile, and return the number of its logits. */
INNER int64_t read_tile(const batch_t *b, int64_t row, int64_t model, tile_t *t)
{
    t->model = model;
    t->rows = smaller(tile_rows(b), b->n_rows - row);
    t->width = smaller(tile_width(b), b->n_models - model);
    t->start = row * b->n_models + model;
    copy_tile(b->sign + row * b->sign_row + model * b->sign_model, b->sign_row, b->sign_model, t,
        t->sign);
    copy_tile(b->weight + row * b->weight_row + model * b->weight_model, b->weight_row,
        b->weight_model, t, t->weight);
    return t->rows * t->width;
}

/* Add the terms of a tile to sums (n_models,), which are followed by what rounding took from them. */
INNER void add_tile(const batch_t *b, const tile_t *t, const double *terms, double *sums)
{
    if (b->n_models == 1) { /* a chain of sums would wait for each of them */
        sum_t sum = {{0.0}, {0.0}};
        add_all(&sum, t->rows, terms);
        add_exactly(sums, sums + 1, total_of(&sum));
        return;
    }
    double *restrict sum = sums + t->model, *restrict rest = sum + b->n_models;
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t k = 0; k < t->width; k++)
            add_exactly(sum + k, rest + k, terms[i * t->width + k]);
}

/* Add the weighted losses, and what rounding took from these sums, to sums (2, n_models), which are
   zero before. Write weighted residuals (n_rows, n_models). */
EXPORT CLONES void logistic_models(const double *logits, int64_t n_rows, int64_t n_models,
    const double *sign, int64_t sign_row, int64_t sign_model, const double *weight,
    int64_t weight_row, int64_t weight_model, double *sums, double *residual)
{
    batch_t b = {n_rows, n_models, sign, sign_row, sign_model, weight, weight_row, weight_model};
    tile_t t;
    for (int64_t row = 0; row < n_rows; row += tile_rows(&b))
        for (int64_t model = 0; model < n_models; model += tile_width(&b)) {
            double loss[MAX_TILE], e[MAX_TILE];
            int64_t size = read_tile(&b, row, model, &t), i;
            const double *from = logits + t.start;
            double *to = residual + t.start;
            exp_minus_all(size, from, e);
#pragma omp simd
            for (i = 0; i < size; i++) {
                terms_t terms = logistic_terms(from[i] * t.sign[i], e[i]);
                loss[i] = t.weight[i] * terms.loss;
                to[i] = t.weight[i] * terms.wrong * t.sign[i];
            }
            add_tile(&b, &t, loss, sums);
        }
    add_rest(1, n_models, sums);
}

/* Add the weighted losses at `logits + steps * change`, and their first and second derivatives in
   the steps (n_models,), each followed by what rounding took from it, to sums (6, n_models), which
   are zero before. */
EXPORT CLONES void logistic_along(const double *logits, int64_t n_rows, int64_t n_models,
    const double *sign, int64_t sign_row, int64_t sign_model, const double *weight,
    int64_t weight_row, int64_t weight_model, double *sums, const double *change,
    const double *steps)
{
    batch_t b = {n_rows, n_models, sign, sign_row, sign_model, weight, weight_row, weight_model};
    tile_t t;
    for (int64_t row = 0; row < n_rows; row += tile_rows(&b))
        for (int64_t model = 0; model < n_models; model += tile_width(&b)) {
            double loss[MAX_TILE], slope[MAX_TILE], curvature[MAX_TILE], at[MAX_TILE], e[MAX_TILE];
            int64_t size = read_tile(&b, row, model, &t), i;
            const double *from = logits + t.start, *by = change + t.start;
            copy_tile(steps + model, 0, 1, &t, at);
#pragma omp simd
            for (i = 0; i < size; i++)
                at[i] = from[i] + at[i] * by[i];
            exp_minus_all(size, at, e);
#pragma omp simd
            for (i = 0; i < size; i++) {
                terms_t terms = logistic_terms(at[i] * t.sign[i], e[i]);
                loss[i] = t.weight[i] * terms.loss;
                slope[i] = t.weight[i] * terms.wrong * t.sign[i] * by[i];
                curvature[i] = t.weight[i] * terms.curvature * by[i] * by[i];
            }
            add_tile(&b, &t, loss, sums);
            add_tile(&b, &t, slope, sums + 2 * n_models);
            add_tile(&b, &t, curvature, sums + 4 * n_models);
        }
    add_rest(3, n_models, sums);
}

/* Distance beyond which exp is taken to be constant, at 1e-130: its squares would be subnormal, which
   takes a hundred times as long, and the ends of the first and the last class are infinite. */
#define FAR -300.0

/* Logits of ordered classes, and the ends of the interval of each class, inf and -inf beyond the last
   thresholds, in (n_classes, 2, n_models). */
typedef struct {
    batch_t b;
    const int64_t *class_of;
    int64_t class_row, class_model;
    const double *ends;
} ordered_t;

/* Read a tile and the distances of its logits beyond the ends of their class; `place` becomes the
   first of `stride` numbers for each class. Return the number of logits. */
INNER int64_t read_ordered(const ordered_t *o, int64_t row, int64_t model, tile_t *t,
    const double *logits, int64_t stride, double *above, double *below, int64_t *place)
{
    int64_t m = o->b.n_models, size = read_tile(&o->b, row, model, t);
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t k = 0; k < t->width; k++) {
            int64_t own = model + k, at = i * t->width + k;
            int64_t y = o->class_of[(row + i) * o->class_row + own * o->class_model];
            double up = logits[t->start + at] - o->ends[2 * y * m + own];
            double down = o->ends[(2 * y + 1) * m + own] - logits[t->start + at];
            above[at] = up < FAR ? FAR : up;
            below[at] = down < FAR ? FAR : down;
            place[at] = stride * y * m + own;
        }
    return size;
}

/* Add weighted terms of the cumulative logistic loss to by_class (n_classes, 5, n_models), which is
   zero before: probabilities of being beyond the upper and the lower end, their derivatives, and the
   weights. */
EXPORT CLONES void cumulative_sums(const double *logits, int64_t n_rows, int64_t n_models,
    const int64_t *class_of, int64_t class_row, int64_t class_model, const double *weight,
    int64_t weight_row, int64_t weight_model, const double *ends, double *by_class)
{
    batch_t b = {n_rows, n_models, weight, 0, 0, weight, weight_row, weight_model};
    ordered_t o = {b, class_of, class_row, class_model, ends};
    tile_t t;
    for (int64_t row = 0; row < n_rows; row += tile_rows(&b))
        for (int64_t model = 0; model < n_models; model += tile_width(&b)) {
            double above[MAX_TILE], below[MAX_TILE], up[MAX_TILE], down[MAX_TILE];
            double e_above[MAX_TILE], e_below[MAX_TILE];
            int64_t place[MAX_TILE], i;
            int64_t size = read_ordered(&o, row, model, &t, logits, 5, above, below, place);
            exp_minus_all(size, above, e_above);
            exp_minus_all(size, below, e_below);
#pragma omp simd
            for (i = 0; i < size; i++) {
                terms_t of_up = logistic_terms(above[i], e_above[i]);
                terms_t of_down = logistic_terms(below[i], e_below[i]);
                above[i] = t.weight[i] * of_up.wrong;
                below[i] = t.weight[i] * of_down.wrong;
                up[i] = t.weight[i] * of_up.curvature;
                down[i] = t.weight[i] * of_down.curvature;
            }
            for (i = 0; i < size; i++) {
                double *to = by_class + place[i];
                to[0] += above[i];
                to[n_models] += below[i];
                to[2 * n_models] += up[i];
                to[3 * n_models] += down[i];
                to[4 * n_models] += t.weight[i];
            }
        }
}

/* Add the weighted cumulative logistic losses, with the share of the interval of each class
   (n_classes, n_models), and what rounding took from these sums, to sums (2, n_models), which are
   zero before. Write weighted residuals (n_rows, n_models). */
EXPORT CLONES void cumulative_models(const double *logits, int64_t n_rows, int64_t n_models,
    const int64_t *class_of, int64_t class_row, int64_t class_model, const double *weight,
    int64_t weight_row, int64_t weight_model, const double *ends, const double *shares,
    double *sums, double *residual)
{
    batch_t b = {n_rows, n_models, weight, 0, 0, weight, weight_row, weight_model};
    ordered_t o = {b, class_of, class_row, class_model, ends};
    tile_t t;
    for (int64_t row = 0; row < n_rows; row += tile_rows(&b))
        for (int64_t model = 0; model < n_models; model += tile_width(&b)) {
            double above[MAX_TILE], below[MAX_TILE], loss[MAX_TILE];
            double e_above[MAX_TILE], e_below[MAX_TILE];
            int64_t place[MAX_TILE], i;
            int64_t size = read_ordered(&o, row, model, &t, logits, 1, above, below, place);
            double *to = residual + t.start;
            for (i = 0; i < size; i++)
                loss[i] = shares[place[i]];
            exp_minus_all(size, above, e_above);
            exp_minus_all(size, below, e_below);
#pragma omp simd
            for (i = 0; i < size; i++) {
                terms_t of_up = logistic_terms(above[i], e_above[i]);
                terms_t of_down = logistic_terms(below[i], e_below[i]);
                loss[i] = t.weight[i] * (loss[i] + of_up.loss + of_down.loss);
                to[i] = t.weight[i] * (of_up.wrong - of_down.wrong);
            }
            add_tile(&b, &t, loss, sums);
        }
    add_rest(1, n_models, sums);
}
