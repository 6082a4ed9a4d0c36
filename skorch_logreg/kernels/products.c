/* Passes over dense rows with several logits, in one read of X. A tile of rows is copied in panels of
   WIDTH columns, which both of its products read: logits X V, and sums X' R of the residuals. */
#include "dense.h"

#define NUMBER double
#define OF_NUMBER(function) function##_double
#include "tiles.h"

#define TILE_ENTRIES (1 << 15) /* of copied rows, which stay in a core's second cache */
#define MOST_ROWS 96           /* of a tile */
#define AHEAD 8                /* rows that are fetched before they are copied */
#define FEW_COLUMNS 256        /* whose coefficients in one panel stay in a core's first cache */

/* What a pass computes from logits: nothing, residuals of a loss, or products with its Hessian. */
enum { PRODUCT, LOGISTIC, MULTINOMIAL, CURVATURE };

/* In logistic.c and multinomial.c. */
void logistic_models(const double *logits, int64_t n_rows, int64_t n_models, const double *sign,
    int64_t sign_row, int64_t sign_model, const double *weight, int64_t weight_row,
    int64_t weight_model, double *sums, double *residual);
void multinomial_models(const void *logits, int is_single, int64_t n_rows, int64_t n_models,
    int64_t n_classes, const int64_t *class_of, int64_t class_row, int64_t class_model,
    const double *weight, int64_t weight_row, int64_t weight_model, double *sums, void *residual);
void multinomial_product(const void *proba, int is_single, int64_t n_rows, int64_t n_models,
    int64_t n_classes, const double *weight, int64_t weight_row, int64_t weight_model, void *change);

/* Copy some rows, less the center, to panels (rows, WIDTH) with `room` rows each. What is left of the
   last panel is zero, and so are rows up to a multiple of eight. */
INNER void copy_rows(const matrix_t *m, int is_float, int by_column, int64_t start, int64_t count,
    int64_t room, double *restrict out)
{
    int64_t p = m->n_columns, step = by_column ? m->column_stride : 1;
    for (int64_t t = 0; t < (count + 7) / 8 * 8; t++) {
        int64_t at = (start + t) * m->row_stride;
        for (int64_t j = 0; j < p; j += WIDTH) {
            double *restrict to = out + j * room + t * WIDTH;
            int64_t full = t < count ? smaller(WIDTH, p - j) : 0, w;
            PREFETCH(moved(m->entries, at + AHEAD * m->row_stride + j * step, is_float));
            if (full == WIDTH)
#pragma omp simd
                for (w = 0; w < WIDTH; w++)
                    to[w] = entry(m->entries, at + (j + w) * step, is_float);
            else
                for (w = 0; w < WIDTH; w++)
                    to[w] = w < full ? entry(m->entries, at + (j + w) * step, is_float) : 0.0;
            if (m->center)
                for (w = 0; w < full; w++)
                    to[w] -= m->center[j + w];
        }
    }
}

/* Add the products of `height` rows in some panels with `width` logits' coefficients (side, WIDTH). */
INNER void add_logits(const double *restrict x, int64_t room, int64_t columns,
    const double *restrict v, int height, int width, double *restrict out, int64_t stride)
{
    double sum[8][WIDTH];
    int i, k;
    for (i = 0; i < height; i++)
        for (k = 0; k < width; k++)
            sum[i][k] = out[i * stride + k];
    for (int64_t j = 0; j < columns; j += WIDTH, x += room * WIDTH)
        for (int t = 0; t < WIDTH; t++, v += WIDTH) {
#if defined(__GNUC__)
#pragma GCC unroll 8
#endif
            for (i = 0; i < height; i++) {
                double own = x[i * WIDTH + t];
#pragma omp simd
                for (k = 0; k < width; k++)
                    sum[i][k] += own * v[k];
            }
        }
    for (i = 0; i < height; i++)
        for (k = 0; k < width; k++)
            out[i * stride + k] = sum[i][k];
}

/* Add the products of a tile with the coefficients to logits (rows, stride). */
INNER void add_products(const double *x, int64_t count, int64_t room, int64_t side, const double *v,
    int64_t n_logits, int has_wide, double *out, int64_t stride)
{
    for (int64_t j = 0; j < side; j += FEW_COLUMNS)
        for (int64_t k = 0; k < n_logits; k += WIDTH) {
            int64_t columns = smaller(FEW_COLUMNS, side - j), i;
            const double *rows = x + j * room, *own = v + k * side + j * WIDTH;
            double *to = out + k;
            if (n_logits - k <= WIDTH / 2)
                for (i = 0; i < count; i += 8)
                    add_logits(rows + i * WIDTH, room, columns, own, 8, WIDTH / 2, to + i * stride,
                        stride);
            else if (has_wide)
                for (i = 0; i < count; i += 8)
                    add_logits(rows + i * WIDTH, room, columns, own, 8, WIDTH, to + i * stride,
                        stride);
            else
                for (i = 0; i < count; i += 4)
                    add_logits(rows + i * WIDTH, room, columns, own, 4, WIDTH, to + i * stride,
                        stride);
        }
}

/* Arrays of a pass, of tiles of `room` rows. */
typedef struct {
    int64_t side, wide, room; /* columns and logits in whole panels, and rows */
    double *x, *coef;         /* panels of rows, and of coefficients */
    double *z;                /* logits (room, wide) */
    double *residual, *sums;  /* of a tile, and of all, (n_logits, side) */
    double *total, *losses;   /* sums of the residuals, and of the losses of a tile */
} arrays_t;

/* Divide a buffer, and return how many numbers it has to hold. */
INNER int64_t divide(int64_t n_columns, int64_t n_models, int64_t n_logits, double *buffer,
    arrays_t *a)
{
    int64_t side = in_panels_double(n_columns), wide = in_panels_double(n_logits);
    int64_t rows = TILE_ENTRIES / (side + 1);
    int64_t room = rows < 8 ? 8 : smaller(rows / 8 * 8, MOST_ROWS), start = 0;
    a->side = side, a->wide = wide, a->room = room;
#define TAKE(array, size) a->array = buffer ? buffer + start : 0, start += (size)
    TAKE(x, room * side);
    TAKE(coef, wide * side);
    TAKE(z, room * wide);
    TAKE(residual, room * n_logits + MOST_FACTORS);
    TAKE(sums, (n_logits + MOST_FACTORS) * side);
    TAKE(total, n_logits);
    TAKE(losses, 2 * n_models);
#undef TAKE
    return start;
}

/* The size of the buffer of `dense_models`. */
EXPORT int64_t dense_models_buffer(int64_t n_columns, int64_t n_models, int64_t n_logits)
{
    arrays_t a;
    return divide(n_columns, n_models, n_logits, 0, &a);
}

/* Compute logits `before + (X - center) coef' + constant` (n_rows, n_logits), or only `before` if coef
   is NULL, and what `kind` asks for: weighted losses, which are added to sums (2, n_models), zero
   before, with weighted residuals; or the products of `X coef' + constant` with the weighted Hessians
   of a softmax, whose probabilities are `before`. Write the sums of the rows times each of these, and
   of each, to gradient (n_logits, p + 1); of the logits themselves, if nothing else is asked for.
   Logits and gradient are written if they are not NULL, and both only with a loss. */
EXPORT CLONES void dense_models(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *center, int kind,
    int64_t n_models, int64_t n_classes, const void *target, int64_t target_row,
    int64_t target_model, const double *weight, int64_t weight_row, int64_t weight_model,
    const double *coef, const double *constant, const double *before, double *logits, double *sums,
    double *gradient, double *buffer)
{
    matrix_t matrix = {entries, n_rows, n_columns, row_stride, column_stride, is_float, center, 0};
    const matrix_t *m = &matrix;
    int64_t p = n_columns, n_logits = n_models * n_classes, i, j, k;
    int has_wide = has_wide_registers();
    arrays_t a;
    divide(p, n_models, n_logits, buffer, &a);
    for (k = 0; coef && k < a.wide; k++)
        for (j = 0; j < a.side; j++)
            a.coef[k / WIDTH * WIDTH * a.side + j * WIDTH + k % WIDTH] =
                k < n_logits && j < p ? coef[k * p + j] : 0.0;
    for (i = 0; i < (n_logits + MOST_FACTORS) * a.side; i++)
        a.sums[i] = 0.0;
    for (k = 0; k < n_logits; k++)
        a.total[k] = 0.0;
    for (int64_t start = 0; start < n_rows; start += a.room) {
        int64_t count = smaller(a.room, n_rows - start), size = count * n_logits;
        const double *old = before ? before + start * n_logits : 0, *given = old;
        const double *w = weight ? weight + start * weight_row : 0;
        DISPATCH(copy_rows, start, count, a.room, a.x);
        if (coef) {
            double *own = logits ? logits + start * n_logits : a.residual;
            int adds = old && kind != CURVATURE;
            for (i = 0; i < (count + 7) / 8 * 8; i++)
                for (k = 0; k < a.wide; k++)
                    a.z[i * a.wide + k] = k < n_logits ? constant[k] : 0.0;
            add_products(a.x, count, a.room, a.side, a.coef, n_logits, has_wide, a.z, a.wide);
            for (i = 0; i < count; i++)
                for (k = 0; k < n_logits; k++)
                    own[i * n_logits + k] =
                        a.z[i * a.wide + k] + (adds ? old[i * n_logits + k] : 0.0);
            given = own;
        } else if (kind == PRODUCT)
            memcpy(a.residual, old, size * sizeof *old);
        for (i = 0; i < 2 * n_models; i++)
            a.losses[i] = 0.0;
        if (kind == LOGISTIC)
            logistic_models(given, count, n_models, (const double *)target + start * target_row,
                target_row, target_model, w, weight_row, weight_model, a.losses, a.residual);
        else if (kind == MULTINOMIAL)
            multinomial_models(given, 0, count, n_models, n_classes,
                (const int64_t *)target + start * target_row, target_row, target_model, w, weight_row,
                weight_model, a.losses, a.residual);
        else if (kind == CURVATURE)
            multinomial_product(old, 0, count, n_models, n_classes, w, weight_row, weight_model,
                a.residual);
        for (i = 0; sums && i < n_models; i++)
            add_exactly(sums + i, sums + n_models + i, a.losses[i]);
        if (gradient) {
            for (i = 0; i < count; i++)
                for (k = 0; k < n_logits; k++)
                    a.total[k] += a.residual[i * n_logits + k];
            for (j = 0; j < a.side; j += WIDTH)
                add_panel_double(a.x + j * a.room, WIDTH, count, a.residual, n_logits, has_wide,
                    a.sums + j, a.side);
        }
    }
    if (sums)
        add_rest(1, n_models, sums);
    for (k = 0; gradient && k < n_logits; k++) {
        memcpy(gradient + k * (p + 1), a.sums + k * a.side, p * sizeof *gradient);
        gradient[k * (p + 1) + p] = a.total[k];
    }
}
