/* The logistic loss of many models at given logits. */
#include "logistic.h"

typedef struct {
    const double *logits, *sign, *weight;
    double *residual, *rest; /* of the sums of losses */
    int64_t n_models, sign_row, sign_model, weight_row, weight_model;
} batch_t;

/* The terms of `rows * width` consecutive logits, at most MAX_TILE: of some rows and all models, or
   of one row and some models. */
INNER void some_terms(const batch_t *b, int64_t row, int64_t rows, int64_t model,
    int64_t width, double *value)
{
    double sign[MAX_TILE], weight[MAX_TILE], loss[MAX_TILE];
    int64_t start = row * b->n_models + model, size = rows * width, i, k;
    for (i = 0; i < rows; i++)
        for (k = 0; k < width; k++) {
            int64_t of_sign = (row + i) * b->sign_row + (model + k) * b->sign_model;
            int64_t of_weight = (row + i) * b->weight_row + (model + k) * b->weight_model;
            sign[i * width + k] = b->sign[of_sign];
            weight[i * width + k] = b->weight[of_weight];
        }
#pragma omp simd
    for (i = 0; i < size; i++) {
        terms_t t = logistic_terms(b->logits[start + i] * sign[i]);
        loss[i] = weight[i] * t.loss;
        b->residual[start + i] = weight[i] * t.wrong * sign[i];
    }
    if (b->n_models == 1) { /* a chain of sums would wait for each of them */
        sum_t sum = {{0.0}, {0.0}};
        add_all(&sum, size, loss);
        add_exactly(value, b->rest, total_of(&sum));
        return;
    }
    for (i = 0; i < rows; i++)
        for (k = 0; k < width; k++)
            add_exactly(value + model + k, b->rest + model + k, loss[i * width + k]);
}

/* Add weighted losses to value (n_models,), which is zero before, as is rest (n_models,), and write
   weighted residuals (n_rows, n_models). Strides of signs and weights may be 0. */
EXPORT CLONES void logistic_models(const double *logits, int64_t n_rows, int64_t n_models,
    const double *sign, int64_t sign_row, int64_t sign_model, const double *weight,
    int64_t weight_row, int64_t weight_model, double *value, double *rest, double *residual)
{
    batch_t b = {logits, sign, weight, residual, rest, n_models, sign_row, sign_model, weight_row,
        weight_model};
    int64_t width = smaller(n_models, MAX_TILE), row, model;
    int64_t rows = n_models > MAX_TILE ? 1 : MAX_TILE / width;
    for (row = 0; row < n_rows; row += rows)
        for (model = 0; model < n_models; model += width)
            some_terms(&b, row, smaller(rows, n_rows - row), model,
                smaller(width, n_models - model), value);
    for (model = 0; model < n_models; model++)
        if (isfinite(value[model]))
            value[model] += rest[model];
}
