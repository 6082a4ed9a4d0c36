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
    int64_t row, rows, model, width, start;
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

/* Read a tile, and return the number of its logits. */
INNER int64_t read_tile(const batch_t *b, int64_t row, int64_t model, tile_t *t)
{
    t->row = row;
    t->model = model;
    t->rows = smaller(tile_rows(b), b->n_rows - row);
    t->width = smaller(tile_width(b), b->n_models - model);
    t->start = row * b->n_models + model;
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t k = 0; k < t->width; k++) {
            int64_t of_sign = (row + i) * b->sign_row + (model + k) * b->sign_model;
            int64_t of_weight = (row + i) * b->weight_row + (model + k) * b->weight_model;
            t->sign[i * t->width + k] = b->sign[of_sign];
            t->weight[i * t->width + k] = b->weight[of_weight];
        }
    return t->rows * t->width;
}

/* Add the terms of a tile to sums (n_models,), which are followed by what rounding took from them. */
INNER void add_tile(const batch_t *b, const tile_t *t, const double *terms, double *sums)
{
    double *rest = sums + b->n_models;
    if (b->n_models == 1) { /* a chain of sums would wait for each of them */
        sum_t sum = {{0.0}, {0.0}};
        add_all(&sum, t->rows, terms);
        add_exactly(sums, rest, total_of(&sum));
        return;
    }
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t k = 0; k < t->width; k++)
            add_exactly(sums + t->model + k, rest + t->model + k, terms[i * t->width + k]);
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
            double loss[MAX_TILE];
            int64_t size = read_tile(&b, row, model, &t), i;
            const double *from = logits + t.start;
            double *to = residual + t.start;
#pragma omp simd
            for (i = 0; i < size; i++) {
                terms_t terms = logistic_terms(from[i] * t.sign[i]);
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
            double loss[MAX_TILE], slope[MAX_TILE], curvature[MAX_TILE], step[MAX_TILE];
            int64_t size = read_tile(&b, row, model, &t), i;
            const double *from = logits + t.start, *by = change + t.start;
            for (i = 0; i < size; i++)
                step[i] = steps[t.model + i % t.width];
#pragma omp simd
            for (i = 0; i < size; i++) {
                terms_t terms = logistic_terms((from[i] + step[i] * by[i]) * t.sign[i]);
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

/* The cumulative logistic loss of ordered classes. `ends` (n_classes, 2, n_models) holds the upper and
   the lower end of the interval of each class, inf and -inf beyond the last thresholds. Add the
   weighted losses without the share of the intervals, and what rounding took from these sums, to
   sums (2, n_models), and weighted terms to by_class (n_classes, 5, n_models): probabilities of
   being beyond the upper and the lower end, their derivatives, and the weights. All are zero before.
   Write weighted residuals (n_rows, n_models), unless `residual` is NULL. */
EXPORT CLONES void cumulative_models(const double *logits, int64_t n_rows, int64_t n_models,
    const int64_t *class_of, int64_t class_row, int64_t class_model, const double *weight,
    int64_t weight_row, int64_t weight_model, const double *ends, double *sums, double *by_class,
    double *residual)
{
    batch_t b = {n_rows, n_models, weight, 0, 0, weight, weight_row, weight_model};
    tile_t t;
    for (int64_t row = 0; row < n_rows; row += tile_rows(&b))
        for (int64_t model = 0; model < n_models; model += tile_width(&b)) {
            double upper[MAX_TILE], lower[MAX_TILE], loss[MAX_TILE], terms[4][MAX_TILE];
            int64_t size = read_tile(&b, row, model, &t), place[MAX_TILE], i, k;
            const double *from = logits + t.start;
            for (i = 0; i < t.rows; i++)
                for (k = 0; k < t.width; k++) {
                    int64_t own = model + k, at = i * t.width + k;
                    int64_t y = class_of[(row + i) * class_row + own * class_model];
                    upper[at] = ends[2 * y * n_models + own];
                    lower[at] = ends[(2 * y + 1) * n_models + own];
                    place[at] = 5 * y * n_models + own;
                }
#pragma omp simd
            for (i = 0; i < size; i++) {
                double up = from[i] - upper[i], down = lower[i] - from[i];
                terms_t above = logistic_terms(up < FAR ? FAR : up);
                terms_t below = logistic_terms(down < FAR ? FAR : down);
                loss[i] = t.weight[i] * (above.loss + below.loss);
                terms[0][i] = t.weight[i] * above.wrong;
                terms[1][i] = t.weight[i] * below.wrong;
                terms[2][i] = t.weight[i] * above.curvature;
                terms[3][i] = t.weight[i] * below.curvature;
            }
            for (i = 0; i < size; i++) {
                for (k = 0; k < 4; k++)
                    by_class[place[i] + k * n_models] += terms[k][i];
                by_class[place[i] + 4 * n_models] += t.weight[i];
            }
            for (i = 0; residual && i < size; i++)
                residual[t.start + i] = terms[0][i] - terms[1][i];
            add_tile(&b, &t, loss, sums);
        }
    add_rest(1, n_models, sums);
}
