/* The logistic loss of many models at given logits. It is compiled for two types REAL of numbers:
   vectors hold twice as many of float32. */

/* Logits (n_rows, n_models), and the sign and weight of each; strides may be 0. */
typedef struct {
    int64_t n_rows, n_models;
    const REAL *sign;
    int64_t sign_row, sign_model;
    const REAL *weight;
    int64_t weight_row, weight_model;
} batch_t;

/* Consecutive logits: of some rows and all models, or of one row and some models. */
typedef struct {
    int64_t rows, model, width, start;
    REAL sign[MAX_TILE], weight[MAX_TILE];
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
INNER void copy_tile(const REAL *from, int64_t row_stride, int64_t model_stride, const tile_t *t,
    REAL *restrict to)
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

/* Add the terms of a tile to sums (n_models,), which are followed by what rounding took from them:
   nothing that counts beside the rounding of terms in float32. */
INNER void add_tile(const batch_t *b, const tile_t *t, const REAL *terms, double *sums)
{
    if (b->n_models == 1) { /* a chain of sums would wait for each of them */
        double wide[MAX_TILE];
        sum_t sum = {{0.0}, {0.0}};
        for (int64_t i = 0; i < t->rows; i++)
            wide[i] = terms[i];
        add_all(&sum, t->rows, wide);
        add_exactly(sums, sums + 1, total_of(&sum));
        return;
    }
    double *restrict sum = sums + t->model, *restrict rest = sum + b->n_models;
    for (int64_t i = 0; i < t->rows; i++)
        for (int64_t k = 0; k < t->width; k++)
            if (sizeof(REAL) == sizeof(double))
                add_exactly(sum + k, rest + k, terms[i * t->width + k]);
            else
                sum[k] += terms[i * t->width + k];
}

/* Add the weighted losses, and what rounding took from these sums, to sums (2, n_models), which are
   zero before. Write weighted residuals (n_rows, n_models). */
EXPORT CLONES void logistic_models(const REAL *logits, int64_t n_rows, int64_t n_models,
    const REAL *sign, int64_t sign_row, int64_t sign_model, const REAL *weight,
    int64_t weight_row, int64_t weight_model, double *sums, REAL *residual)
{
    batch_t b = {n_rows, n_models, sign, sign_row, sign_model, weight, weight_row, weight_model};
    tile_t t;
    for (int64_t row = 0; row < n_rows; row += tile_rows(&b))
        for (int64_t model = 0; model < n_models; model += tile_width(&b)) {
            REAL loss[MAX_TILE], e[MAX_TILE];
            int64_t size = read_tile(&b, row, model, &t), i;
            const REAL *from = logits + t.start;
            REAL *to = residual + t.start;
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
EXPORT CLONES void logistic_along(const REAL *logits, int64_t n_rows, int64_t n_models,
    const REAL *sign, int64_t sign_row, int64_t sign_model, const REAL *weight,
    int64_t weight_row, int64_t weight_model, double *sums, const REAL *change,
    const REAL *steps)
{
    batch_t b = {n_rows, n_models, sign, sign_row, sign_model, weight, weight_row, weight_model};
    tile_t t;
    for (int64_t row = 0; row < n_rows; row += tile_rows(&b))
        for (int64_t model = 0; model < n_models; model += tile_width(&b)) {
            REAL loss[MAX_TILE], slope[MAX_TILE], curvature[MAX_TILE], at[MAX_TILE], e[MAX_TILE];
            int64_t size = read_tile(&b, row, model, &t), i;
            const REAL *from = logits + t.start, *by = change + t.start;
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

/* Add the weighted residuals, in absolute value and times the margin if that is more than 1, of the
   logits that differ by more than `limit` from those `before`, and what rounding took from it, to sums
   (2, n_models), which are zero before. They are more than zero if there are such logits. */
EXPORT CLONES void logistic_moved(const REAL *logits, int64_t n_rows, int64_t n_models,
    const REAL *sign, int64_t sign_row, int64_t sign_model, const REAL *weight,
    int64_t weight_row, int64_t weight_model, double *sums, const REAL *before, const REAL *limit)
{
    const REAL least = sizeof(REAL) == sizeof(double) ? (REAL)DBL_MIN : (REAL)FLT_MIN;
    batch_t b = {n_rows, n_models, sign, sign_row, sign_model, weight, weight_row, weight_model};
    tile_t t;
    for (int64_t row = 0; row < n_rows; row += tile_rows(&b))
        for (int64_t model = 0; model < n_models; model += tile_width(&b)) {
            REAL left[MAX_TILE], e[MAX_TILE];
            int64_t size = read_tile(&b, row, model, &t), n_far = 0, i;
            const REAL *from = logits + t.start, *old = before + t.start;
#pragma omp simd reduction(+ : n_far)
            for (i = 0; i < size; i++)
                n_far += from[i] - old[i] > *limit || old[i] - from[i] > *limit;
            if (n_far == 0)
                continue;
            exp_minus_all(size, from, e);
#pragma omp simd
            for (i = 0; i < size; i++) {
                REAL margin = from[i] * t.sign[i], change = from[i] - old[i];
                REAL term = t.weight[i] * logistic_terms(margin, e[i]).wrong;
                term = margin > 1 ? term * margin : term;
                term = term > least ? term : least;
                left[i] = (change > *limit || -change > *limit) && t.weight[i] > 0 ? term : 0;
            }
            add_tile(&b, &t, left, sums);
        }
    add_rest(1, n_models, sums);
}
