/* Quadratic problems with a penalty of each coordinate. Their Hessian H is a matrix, or that of a
   loss over columns of CSC rows z = (x - mean) unit, which is never formed. */
#include "columns.h"
#include <math.h>

#define FREE_EPOCHS 3    /* over coordinates between corners, between two epochs over all */
#define MAX_PRODUCTS 100 /* with the Hessian of those, of conjugate gradients */
#define LEAST_SHARE 0.125 /* of the way to the minimiser over those */
#define SHARE_LEFT 0.01  /* of the decrease of an epoch over all, or of all conjugate gradients so
                            far, at which those end */

typedef struct {
    const double *hessian; /* NULL for columns */
    int64_t size, stride;
    const double *start, *lasso, *low, *high;
    double *x, *step, *slope; /* the slope is that of the current step, for columns that of none */
    const columns_t *columns;
    double *curved; /* columns: (rows,) weighted logits of the step, without the means */
    double shift;   /* columns: weighted mean of the logits of the step */
} problem_t;

INNER double diagonal(const problem_t *p, int64_t j)
{
    return p->hessian ? p->hessian[j * p->stride + j] : p->columns->diagonal[j];
}

/* The slope of the quadratic function at the current step. */
INNER double slope_at(const problem_t *p, int64_t j, int kind)
{
    const columns_t *c = p->columns;
    if (kind == GRAM)
        return p->slope[j];
    return p->slope[j] + c->ridge[j] * p->step[j]
        + c->unit[j] * (column_dot(c, j, kind, p->curved) - p->shift * c->total * c->mean[j]);
}

/* Change slopes by a step of one coordinate. */
INNER void follow(problem_t *p, int64_t j, int kind, double move)
{
    if (kind == GRAM) {
        const double *row = p->hessian + j * p->stride;
#pragma omp simd
        for (int64_t k = 0; k < p->size; k++)
            p->slope[k] += move * row[k];
        return;
    }
    add_column(p->columns, j, kind, move * p->columns->unit[j], p->columns->curvature, p->curved);
    p->shift += move * p->columns->unit[j] * p->columns->mean[j];
}

/* Write the product of H with `way`, which is zero but for `chosen` coordinates, in these. For columns
   also write the weighted logits, and return their mean. */
INNER double multiply(const problem_t *p, const int64_t *chosen, int64_t n_chosen, int kind,
    const double *way, double *image, double *logits)
{
    const columns_t *c = p->columns;
    double shift = 0.0;
    int64_t f, j, k;
    if (kind == GRAM) {
        for (f = 0; f < n_chosen; f++) {
            const double *row = p->hessian + chosen[f] * p->stride;
            double sum = 0.0;
#pragma omp simd reduction(+ : sum)
            for (k = 0; k < p->size; k++)
                sum += row[k] * way[k];
            image[chosen[f]] = sum;
        }
        return 0.0;
    }
    for (k = 0; k < c->n_rows; k++)
        logits[k] = 0.0;
    for (f = 0; f < n_chosen; f++) {
        j = chosen[f];
        add_column(c, j, kind, way[j] * c->unit[j], c->curvature, logits);
        shift += way[j] * c->unit[j] * c->mean[j];
    }
    for (f = 0; f < n_chosen; f++) {
        j = chosen[f];
        image[j] = c->ridge[j] * way[j]
            + c->unit[j] * (column_dot(c, j, kind, logits) - shift * c->total * c->mean[j]);
    }
    return shift;
}

/* Minimise over one coordinate; return twice the decrease, and whether it is between corners. */
INNER double minimise_coordinate(problem_t *p, int64_t j, int kind, int *is_free)
{
    double h = diagonal(p, j), g = slope_at(p, j, kind), lasso = p->lasso[j], x = p->x[j];
    double target = h * x - g, move, step, ahead;
    double sign = target > lasso ? 1.0 : target < -lasso ? -1.0 : 0.0;
    *is_free = lasso == 0.0 || sign != 0.0;
    if (!(h > 0.0) && *is_free)
        return 0.0; /* without a minimiser, unless a bound is one */
    move = *is_free ? -(g + sign * lasso) / h : -x;
    step = p->step[j] + move;
    ahead = p->start[j] + step;
    if (!*is_free)
        ahead = 0.0;
    if (p->low && (ahead <= p->low[j] || ahead >= p->high[j])) {
        ahead = ahead <= p->low[j] ? p->low[j] : p->high[j];
        *is_free = 0;
    }
    if (!*is_free)
        move = ahead - x, step = ahead - p->start[j];
    if (move == 0.0)
        return 0.0;
    p->x[j] = ahead;
    p->step[j] = step;
    follow(p, j, kind, move);
    return h * move * move;
}

/* Shorten the move of a coordinate to the corner, or the bound, on its way. */
INNER double allowed(const problem_t *p, int64_t j, double move)
{
    double x = p->x[j], ahead = x + move;
    if (p->lasso[j] > 0.0 && !(x * ahead > 0.0))
        move = -x, ahead = 0.0;
    return !p->low ? move : ahead < p->low[j] ? p->low[j] - x : ahead > p->high[j] ? p->high[j] - x
                                                                                    : move;
}

/* Minimise over the coordinates between corners by conjugate gradients with a scaled diagonal, and go
   as far as the corners allow, or a share of the way if that is no decrease. Return the number of products
   with H. Where columns are correlated, coordinates in turn take many times as many epochs. `work` has
   room for four numbers per coordinate, and for columns one per row. */
INNER int64_t minimise_free(problem_t *p, const int64_t *free, int64_t n_free, int kind,
    double *work)
{
    double *move = work, *way = move + p->size, *rest = way + p->size, *image = rest + p->size;
    double *logits = image + p->size, size = 0.0, total = 0.0, fall = 0.0, bend, share, next;
    double shift = 0.0;
    int64_t f, j, turn;
    for (j = 0; j < p->size; j++)
        move[j] = way[j] = 0.0;
    for (f = 0; f < n_free; f++) {
        j = free[f];
        if (!(diagonal(p, j) > 0.0))
            return 0;
        rest[j] = -slope_at(p, j, kind)
            - (p->lasso[j] > 0.0 ? copysign(p->lasso[j], p->x[j]) : 0.0);
        way[j] = rest[j] / diagonal(p, j);
        size += rest[j] * way[j];
    }
    for (turn = 0; turn < MAX_PRODUCTS && size > 0.0; turn++) {
        multiply(p, free, n_free, kind, way, image, logits);
        for (bend = 0.0, f = 0; f < n_free; f++)
            bend += way[free[f]] * image[free[f]];
        if (!(bend > 0.0))
            return turn;
        share = size / bend;
        for (next = 0.0, f = 0; f < n_free; f++) {
            j = free[f];
            move[j] += share * way[j];
            rest[j] -= share * image[j];
            next += rest[j] * rest[j] / diagonal(p, j);
        }
        total += share * size;
        if (!(share * size > SHARE_LEFT * total))
            break;
        for (f = 0; f < n_free; f++)
            way[free[f]] = rest[free[f]] / diagonal(p, free[f]) + next / size * way[free[f]];
        size = next;
    }
    for (f = 0; f < n_free; f++)
        rest[free[f]] = slope_at(p, free[f], kind);
    for (share = 1.0; share >= LEAST_SHARE; share /= 2) {
        for (f = 0; f < n_free; f++)
            way[free[f]] = allowed(p, free[f], share * move[free[f]]);
        shift = multiply(p, free, n_free, kind, way, image, logits);
        turn++;
        for (fall = 0.0, f = 0; f < n_free; f++) {
            j = free[f];
            fall -= way[j] * (rest[j] + image[j] / 2)
                + p->lasso[j] * (fabs(p->x[j] + way[j]) - fabs(p->x[j]));
        }
        if (fall > 0.0)
            break;
    }
    if (!(fall > 0.0))
        return turn;
    for (f = 0; f < n_free; f++) {
        j = free[f];
        if (kind == GRAM && way[j] != 0.0)
            follow(p, j, kind, way[j]);
        p->step[j] = way[j] == -p->x[j] ? -p->start[j] : p->step[j] + way[j];
        p->x[j] = way[j] == -p->x[j] ? 0.0 : p->start[j] + p->step[j];
    }
    if (kind != GRAM) {
        p->shift += shift;
        for (j = 0; j < p->columns->n_rows; j++)
            p->curved[j] += logits[j];
    }
    return turn;
}

/* Take turns over the coordinates, and over all between corners at once. Return the decrease of the
   last epoch over all of them relative to that of the first; it is at most `share` unless
   `max_epochs` are over. */
INNER double descend(problem_t *p, int kind, int64_t *free, double *work, int64_t max_epochs,
    double share)
{
    double first = 0.0, left = 1.0;
    int is_free;
    for (int64_t epoch = 0; epoch < max_epochs; epoch++) {
        int64_t n_free = 0, j, turn;
        double all = 0.0, some;
        for (j = 0; j < p->size; j++) {
            all += minimise_coordinate(p, j, kind, &is_free);
            if (is_free)
                free[n_free++] = j;
        }
        if (epoch == 0)
            first = all;
        left = first > 0.0 ? all / first : first;
        if (!(left > share))
            break;
        for (turn = 0; turn < FREE_EPOCHS && epoch < max_epochs - 1; turn++, epoch++) {
            for (some = 0.0, j = 0; j < n_free; j++)
                some += minimise_coordinate(p, free[j], kind, &is_free);
            if (!(some > SHARE_LEFT * all))
                break;
        }
        if (turn == FREE_EPOCHS && n_free > 1)
            epoch += minimise_free(p, free, n_free, kind, work);
    }
    return left;
}

/* Minimise `1/2 d'Hd + slope'd + sum_j lasso_j |start_j + d_j|` within bounds, unless they are NULL,
   by turns over the coordinates, and over all between corners at once. At the start x is start, and
   step zero; slope becomes that at the end. `free` has room for the indices of all coordinates, `work`
   for four numbers of each. Return what `descend` does, nan if a number that was met is not finite. */
EXPORT CLONES double coordinate_descent(const double *hessian, int64_t size, int64_t stride,
    const double *start, const double *lasso, const double *low, const double *high, double *x,
    double *step, double *slope, int64_t *free, double *work, int64_t max_epochs, double share)
{
    problem_t p = {hessian, size, stride, start, lasso, low, high, x, step, slope, 0, 0, 0.0};
    double left, finite = 0.0;
    for (int64_t j = 0; j < size; j++)
        finite += 0.0 * hessian[j * stride + j] + 0.0 * slope[j]; /* else it becomes nan */
    left = descend(&p, GRAM, free, work, max_epochs, share);
    for (int64_t j = 0; j < size; j++)
        finite += 0.0 * slope[j]; /* whose sums have met the rest of H */
    return left + finite;
}

/* The same without bounds, for H = Z'DZ + diag(ridge) over chosen columns of a CSC array, with D the
   curvature of the rows. With an intercept, whose curvature is `total`, the sum of D, and whose slope
   is `constant`, it is eliminated: columns are centred at their weighted means, which are written to
   `mean`, and `slope` is that of columns at their centers. Without one, total and center are zero.
   `work` has room for five numbers per column and two per row. */
EXPORT CLONES double column_descent(const double *entries, const void *indices, const void *pointers,
    int64_t n_rows, int is_long, const int64_t *chosen, int64_t size, const double *center,
    const double *unit, const double *curvature, double total, double constant, const double *start, const double *lasso,
    const double *ridge, double *x, double *step, double *slope, double *mean, int64_t *free,
    double *work, int64_t max_epochs, double share)
{
    double *diagonal = work, *curved = diagonal + size, finite = 0.0, left;
    columns_t c = {entries, indices, pointers, n_rows, chosen, unit, mean, ridge, diagonal, curvature,
        total};
    problem_t p = {0, size, 0, start, lasso, 0, 0, x, step, slope, &c, curved, 0.0};
    int kind = is_long ? LONG_COLUMNS : COLUMNS;
    for (int64_t i = 0; i < n_rows; i++)
        curved[i] = 0.0;
    for (int64_t j = 0; j < size; j++) {
        double sum = 0.0, square = 0.0;
        if (is_long)
            column_moments(&c, j, LONG_COLUMNS, &sum, &square);
        else
            column_moments(&c, j, COLUMNS, &sum, &square);
        mean[j] = total > 0.0 ? sum / total : 0.0;
        diagonal[j] = unit[j] * unit[j] * (square - mean[j] * sum) + ridge[j];
        slope[j] -= (mean[j] - center[j]) * unit[j] * constant;
        finite += 0.0 * slope[j] + 0.0 * square;
    }
    work = curved + n_rows;
    left = kind == COLUMNS ? descend(&p, COLUMNS, free, work, max_epochs, share)
                           : descend(&p, LONG_COLUMNS, free, work, max_epochs, share);
    return left + finite;
}
