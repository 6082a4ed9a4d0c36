/* The logistic loss of many models at given logits. */
#include <float.h>

#include "logistic.h"
#include "logistic_single.h"

#define REAL double
#include "logistic_batch.h"
#undef REAL

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

/* The same names with an ending: what is in float64 above is in float32 here. */
#define REAL float
#define batch_t batch_single_t
#define tile_t tile_single_t
#define tile_width tile_width_single
#define tile_rows tile_rows_single
#define copy_tile copy_tile_single
#define read_tile read_tile_single
#define add_tile add_tile_single
#define terms_t terms_single_t
#define exp_minus_all exp_minus_all_single
#define logistic_terms logistic_terms_single
#define logistic_models logistic_models_single
#define logistic_along logistic_along_single
#define logistic_moved logistic_moved_single
#include "logistic_batch.h"
