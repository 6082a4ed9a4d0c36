/* Quadratic problems of a few coordinates with a penalty of each. */
#include "common.h"
#include <math.h>

#define FREE_EPOCHS 3    /* over coordinates between corners, between two epochs over all */
#define MAX_PRODUCTS 100 /* with the Hessian of those, of conjugate gradients */
#define SHARE_LEFT 0.01  /* of the decrease of an epoch over all, or of the first conjugate gradient,
                            at which those end */

typedef struct {
    const double *hessian;
    int64_t size, stride;
    const double *start, *lasso, *low, *high;
    double *x, *step, *slope;
} problem_t;

/* Minimise over one coordinate; return twice the decrease, and whether it is between corners. */
INNER double minimise_coordinate(const problem_t *p, int64_t j, int *is_free)
{
    const double *row = p->hessian + j * p->stride;
    double h = row[j], g = p->slope[j], lasso = p->lasso[j], x = p->x[j], target = h * x - g;
    double sign = target > lasso ? 1.0 : target < -lasso ? -1.0 : 0.0, move, step, ahead;
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
#pragma omp simd
    for (int64_t k = 0; k < p->size; k++)
        p->slope[k] += move * row[k];
    return h * move * move;
}

INNER double row_product(const problem_t *p, int64_t j, const double *v)
{
    const double *row = p->hessian + j * p->stride;
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < p->size; k++)
        sum += row[k] * v[k];
    return sum;
}

/* Move a coordinate between corners by `move`, or to the corner that is on the way. */
INNER double allowed(const problem_t *p, int64_t j, double move)
{
    double x = p->x[j], ahead = x + move;
    if (p->lasso[j] > 0.0 && !(x * ahead > 0.0))
        return -x;
    return !p->low ? move : ahead < p->low[j] ? p->low[j] - x : ahead > p->high[j] ? p->high[j] - x
                                                                                    : move;
}

/* Minimise over the coordinates that are between corners, by conjugate gradients with a scaled
   diagonal, and go as far as the corners allow. Coordinates in turn would take many times as many
   epochs where columns are correlated. `work` has room for four numbers per coordinate. */
INNER void minimise_free(const problem_t *p, const int64_t *free, int64_t n_free, double *work)
{
    double *move = work, *way = move + p->size, *rest = way + p->size, *image = rest + p->size;
    double size = 0.0, ahead, bend, first = 0.0, fall = 0.0;
    int64_t f, j, turn;
    for (j = 0; j < p->size; j++)
        move[j] = way[j] = 0.0;
    for (f = 0; f < n_free; f++) {
        j = free[f];
        if (!(p->hessian[j * p->stride + j] > 0.0))
            return;
        rest[j] = -p->slope[j] - (p->lasso[j] > 0.0 ? copysign(p->lasso[j], p->x[j]) : 0.0);
        way[j] = rest[j] / p->hessian[j * p->stride + j];
        size += rest[j] * way[j];
    }
    for (turn = 0; turn < MAX_PRODUCTS && size > 0.0; turn++) {
        for (bend = 0.0, f = 0; f < n_free; f++) {
            image[free[f]] = row_product(p, free[f], way);
            bend += way[free[f]] * image[free[f]];
        }
        if (!(bend > 0.0))
            return;
        double share = size / bend, next = 0.0;
        for (f = 0; f < n_free; f++) {
            j = free[f];
            move[j] += share * way[j];
            rest[j] -= share * image[j];
            next += rest[j] * rest[j] / p->hessian[j * p->stride + j];
        }
        first = turn == 0 ? share * size : first;
        if (!(share * size > SHARE_LEFT * first))
            break;
        for (f = 0; f < n_free; f++) {
            j = free[f];
            way[j] = rest[j] / p->hessian[j * p->stride + j] + next / size * way[j];
        }
        size = next;
    }
    for (f = 0; f < n_free; f++)
        move[free[f]] = allowed(p, free[f], move[free[f]]);
    for (j = 0; j < p->size; j++)
        image[j] = row_product(p, j, move);
    for (f = 0; f < n_free; f++) {
        j = free[f];
        ahead = p->x[j] + move[j];
        fall -= move[j] * (p->slope[j] + image[j] / 2) + p->lasso[j] * (fabs(ahead) - fabs(p->x[j]));
    }
    for (j = 0; j < p->size && fall > 0.0; j++) {
        p->slope[j] += image[j];
        if (move[j] == 0.0)
            continue;
        p->step[j] = move[j] == -p->x[j] ? -p->start[j] : p->step[j] + move[j];
        p->x[j] = move[j] == -p->x[j] ? 0.0 : p->start[j] + p->step[j];
    }
}

/* Minimise `1/2 d'Hd + slope'd + sum_j lasso_j |start_j + d_j|` within bounds, unless they are NULL,
   by turns over the coordinates, and over all between corners at once. At the start x is start, and step zero; slope becomes that at the
   end. `free` has room for the indices of all coordinates, `work` for four numbers of each. Return the decrease of the last epoch over
   all of them, relative to that of the first; it is at most `share` unless `max_epochs` are over,
   and nan if a number that was met is not finite. */
EXPORT CLONES double coordinate_descent(const double *hessian, int64_t size, int64_t stride,
    const double *start, const double *lasso, const double *low, const double *high, double *x,
    double *step, double *slope, int64_t *free, double *work, int64_t max_epochs, double share)
{
    problem_t p = {hessian, size, stride, start, lasso, low, high, x, step, slope};
    double first = 0.0, left = 1.0, finite = 0.0;
    int is_free;
    for (int64_t j = 0; j < size; j++)
        finite += 0.0 * hessian[j * stride + j] + 0.0 * slope[j]; /* else it becomes nan */
    for (int64_t epoch = 0; epoch < max_epochs; epoch++) {
        int64_t n_free = 0, j, turn;
        double all = 0.0, some;
        for (j = 0; j < size; j++) {
            all += minimise_coordinate(&p, j, &is_free);
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
                some += minimise_coordinate(&p, free[j], &is_free);
            if (!(some > SHARE_LEFT * all))
                break;
        }
        if (turn == FREE_EPOCHS && n_free > 1)
            minimise_free(&p, free, n_free, work);
    }
    for (int64_t j = 0; j < size; j++)
        finite += 0.0 * slope[j]; /* whose sums have met the rest of H */
    return left + finite;
}
