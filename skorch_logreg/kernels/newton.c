/* Newton steps on few dense rows, with the factor of the Hessian. */
#include "dense.h"

/* Factor the lower triangle (size, size) of rows of `side` numbers in place; return 0 if it is not
   positive definite. */
INNER int cholesky(double *a, int64_t size, int64_t side)
{
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j <= i; j++) {
            double *left = a + i * side, *right = a + j * side, sum = 0.0;
#pragma omp simd reduction(+ : sum)
            for (int64_t k = 0; k < j; k++)
                sum += left[k] * right[k];
            sum = left[j] - sum;
            if (i == j && !(sum > 0.0))
                return 0;
            left[j] = i == j ? sqrt(sum) : sum / right[j];
        }
    return 1;
}

/* Solve with a factor; `x` is the right-hand side and the solution. */
INNER void cholesky_solve(const double *factor, int64_t size, int64_t side, double *x)
{
    int64_t i, k;
    for (i = 0; i < size; i++) {
        double sum = 0.0;
#pragma omp simd reduction(+ : sum)
        for (k = 0; k < i; k++)
            sum += factor[i * side + k] * x[k];
        x[i] = (x[i] - sum) / factor[i * side + i];
    }
    for (i = size - 1; i >= 0; i--) {
        x[i] /= factor[i * side + i];
#pragma omp simd
        for (k = 0; k < i; k++)
            x[k] -= factor[i * side + k] * x[i];
    }
}

/* The units of the columns of rows (X - center) / scale, slopes (n_outputs, p) over X of parameters
   (n_outputs, p + 1) over these rows, and the constants (n_outputs,). */
INNER void stored_units(int64_t n_outputs, int64_t p, const double *center, const double *scale,
    const double *params, double *unit, double *slope, double *constant)
{
    for (int64_t j = 0; j < p; j++)
        unit[j] = scale ? 1.0 / scale[j] : 1.0;
    for (int64_t k = 0; k < n_outputs; k++, params += p + 1, slope += p)
        constant[k] = stored_slope(p, center, scale, params, slope);
}

/* Subtract the mean over several outputs from sums (n_outputs, size): a constant added to all of them
   changes no loss, and its slope is rounding error. */
INNER void subtract_mean(int64_t n_outputs, int64_t size, double *sums)
{
    for (int64_t j = 0; n_outputs > 1 && j < size; j++) {
        double total = 0.0;
        for (int64_t k = 0; k < n_outputs; k++)
            total += sums[k * size + j];
        for (int64_t k = 0; k < n_outputs; k++)
            sums[k * size + j] -= total / (double)n_outputs;
    }
}

/* From the loss in the first of ends, its gradient in the first rows of sums, and its Hessian in the
   lower triangle of the rows of `factor` (side numbers each), compute what a Newton step with a ridge
   needs. */
INNER int step_from(int64_t n_outputs, int64_t size, const double *params, const double *ridge,
    double shift, int fit_intercept, int64_t side, double *sums, double *factor, double *ends)
{
    int64_t q = n_outputs * size, i, k;
    double *gradient = sums, *diagonal = sums + q, *solved = sums + 2 * q;
    for (i = 0; n_outputs == 1 && i < size; i++)
        sums[3 * size + i] = factor[(size - 1) * side + i];
    subtract_mean(n_outputs, size, gradient);
    for (i = size - 1; !fit_intercept && i < q; i += size) {
        gradient[i] = 0.0;
        for (k = 0; k < q; k++) /* any positive number: the gradient is zero there */
            factor[i * side + k] = factor[k * side + i] = i == k;
    }
    for (i = 0; i < q; i++) {
        ends[0] += 0.5 * ridge[i] * params[i] * params[i];
        gradient[i] += ridge[i] * params[i];
        diagonal[i] = factor[i * side + i] = (factor[i * side + i] + ridge[i]) * (1.0 + shift);
        solved[i] = gradient[i];
    }
    if (!cholesky(factor, q, side))
        return 0;
    cholesky_solve(factor, q, side, solved);
    subtract_mean(n_outputs, size, solved);
    for (i = 0; i < q; i++)
        ends[1] += 0.5 * gradient[i] * solved[i];
    return 1;
}

/* What a Newton step needs of a point with a ridge (n_outputs, p + 1), from what `dense_newton` or
   `dense_multinomial_newton` sum over all rows: the gradient, the shifted diagonal of the Hessian, the
   product of its inverse with the gradient, and for one output the loss's Hessian row of the intercept,
   in the rows of sums (4 or 3, n_outputs, p + 1); the factor of the shifted Hessian in its place; and the
   objective and the decrement. Without an intercept its slope is zero. Return 0 if the Hessian is not
   positive definite. */
EXPORT CLONES int newton_step(int64_t n_outputs, int64_t size, const double *params, const double *ridge,
    double shift, int fit_intercept, int64_t side, double *sums, double *factor, double *ends)
{
    return step_from(n_outputs, size, params, ridge, shift, fit_intercept, side, sums, factor, ends);
}

/* `dense_newton`, with the rows as `pass` takes them. */
INNER void newton_sums(const void *entries, int64_t n_rows, int64_t n_columns, int64_t row_stride,
    int64_t column_stride, int is_float, const rows_t *rows, const double *center, const double *scale,
    const double *params, int is_rough, int64_t side, double *logits, double *sums, double *factor,
    double *ends, double *buffer)
{
    double *root = buffer, *panels = root + n_rows, *slope = panels + side * GRAM_ROWS;
    double *unit = slope + side, constant;
    matrix_t m = {entries, n_rows, n_columns, row_stride, column_stride, is_float, center,
        scale ? unit : 0};
    stored_units(1, n_columns, center, scale, params, unit, slope, &constant);
    ends[0] = dense_pass(&m, rows, slope, constant, 0, logits, sums, 0, 0, 0);
    standardise(n_columns, center, scale, sums);
    exp_minus_all(n_rows, logits, root);
    for (int64_t i = 0; i < n_rows; i++)
        root[i] = sqrt(rows->weight[i * rows->weight_stride] * root[i]) / (1.0 + root[i]);
    add_gram(&m, is_rough, 0, n_columns, root, side, panels, factor);
}

/* Sums over rows (X - center) / scale, or of X itself if these are NULL, that a Newton step needs: the
   loss in the first of ends, its gradient in the first row of sums (4, p + 1), and its Hessian in the
   lower triangle of `factor` (side, side), all zero before; and the logits. With is_rough the Hessian
   has float32 products. `buffer` has n_rows + gram_buffer(side) + 2 side numbers. */
EXPORT CLONES void dense_newton(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *sign,
    const double *weight, int64_t weight_stride, const double *center, const double *scale,
    const double *params, int is_rough, int64_t side, double *logits, double *sums, double *factor,
    double *ends, double *buffer)
{
    rows_t rows = {sign, weight, weight_stride, 0};
    newton_sums(entries, n_rows, n_columns, row_stride, column_stride, is_float, &rows, center, scale,
        params, is_rough, side, logits, sums, factor, ends, buffer);
}

/* Newton steps of n_models models with parameters and ridge (n_models, p + 1), from the parameters on,
   which are replaced; targets and weights are those of a row and a model, their strides in numbers.
   With the targets and weights of the model before, another begins with the last parameters of that one.
   A model stops after a step from a decrement of at most `goal` times the objective, before a step from
   an objective that is higher than the one before, or where the Hessian is not positive definite. Store
   the number of its steps, at most max_steps. `buffer` has 4 n_rows + gram_buffer(side) + 2 side
   + side^2 + 5 (p + 1) numbers. */
EXPORT CLONES void dense_newton_steps(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const double *signs, int64_t sign_stride,
    int64_t sign_step, const double *weights, int64_t weight_stride, int64_t weight_step,
    const double *center, const double *scale, const double *ridge, double shift, int fit_intercept,
    double goal, int64_t max_steps, int64_t n_models, int64_t side, double *params, int64_t *n_steps,
    double *buffer)
{
    int64_t size = n_columns + 1, model, step, i;
    double *sign = buffer, *weight = sign + n_rows, *logits = weight + n_rows, *factor = logits + n_rows;
    double *sums = factor + side * side, *before = sums + 4 * size, *rest = before + size;
    rows_t rows = {sign, weight, 1, 0};
    for (model = 0; model < n_models; model++, params += size, ridge += size) {
        double last = INFINITY, ends[2] = {0.0, INFINITY};
        int is_new = model == 0;
        for (i = 0; i < n_rows; i++) {
            double s = signs[i * sign_stride + model * sign_step];
            double w = weights[i * weight_stride + model * weight_step];
            is_new |= s != sign[i] || w != weight[i];
            sign[i] = s, weight[i] = w;
        }
        if (!is_new)
            memcpy(params, params - size, sizeof(double) * (size_t)size);
        for (step = 0; step < max_steps && ends[1] > goal * ends[0]; step++) {
            memset(factor, 0, sizeof(double) * (size_t)(side * side + 4 * size));
            ends[0] = ends[1] = 0.0;
            newton_sums(entries, n_rows, n_columns, row_stride, column_stride, is_float, &rows, center,
                scale, params, 0, side, logits, sums, factor, ends, rest);
            if (!step_from(1, size, params, ridge, shift, fit_intercept, side, sums, factor, ends)
                || !(ends[0] <= last)) {
                if (step > 0)
                    memcpy(params, before, sizeof(double) * (size_t)size);
                break;
            }
            last = ends[0];
            memcpy(before, params, sizeof(double) * (size_t)size);
            for (i = 0; i < size; i++)
                params[i] -= sums[2 * size + i];
        }
        n_steps[model] = step;
    }
}

/* Add the blocks of a pair of classes, whose Gram matrix (side, side) is weighted with the product of
   their probabilities, to the lower triangle of the Hessian of all classes. */
INNER void add_pair(int64_t first, int64_t second, int64_t size, int64_t n_outputs, const double *gram,
    int64_t side, double *hessian)
{
    int64_t q = n_outputs * size;
    double *a = hessian + first * size * (q + 1), *b = hessian + second * size * (q + 1);
    double *across = hessian + first * size * q + second * size;
    for (int64_t i = 0; i < size; i++)
        for (int64_t j = 0; j <= i; j++) {
            double value = gram[i * side + j];
            a[i * q + j] += value;
            b[i * q + j] += value;
            across[i * q + j] = across[j * q + i] = -value;
        }
}

/* Give a constant for all classes, which has no curvature, that of the mean class. */
INNER void add_mean_class(int64_t size, int64_t n_outputs, double *hessian)
{
    int64_t q = n_outputs * size, a, b, i, j;
    for (i = 0; i < size; i++)
        for (j = 0; j <= i; j++) {
            double mean = 0.0;
            for (a = 0; a < n_outputs; a++)
                mean += hessian[(a * size + i) * q + a * size + j];
            mean /= (double)(n_outputs * n_outputs);
            for (a = 0; a < n_outputs; a++)
                for (b = 0; b <= a; b++) {
                    double *block = hessian + a * size * q + b * size;
                    block[i * q + j] += mean;
                    if (a != b && i != j)
                        block[j * q + i] += mean;
                }
        }
}

/* As dense_newton, for the multinomial loss with parameters (n_outputs, p + 1), logits
   (n_rows, n_outputs), and sums (3, n_outputs, p + 1). The factor has n_outputs * (p + 1) rows. The
   Hessian is the sum of the products of all pairs of classes, so that nothing cancels where a
   probability is close to one. `buffer` has (n_outputs + 4) * n_rows + gram_buffer(side)
   + side * (side + 1) + n_outputs * (p + 1) numbers. */
EXPORT CLONES void dense_multinomial_newton(const void *entries, int64_t n_rows, int64_t n_columns,
    int64_t row_stride, int64_t column_stride, int is_float, const int64_t *class_of,
    const double *weight, int64_t weight_stride, const double *center, const double *scale,
    const double *params, int64_t n_outputs, int64_t side, double *logits, double *sums, double *factor,
    double *ends, double *buffer)
{
    int64_t size = n_columns + 1, n = n_rows, i, k, l;
    double *e = buffer, *top = e + n_outputs * n, *wrong = top + n, *total = wrong + n, *root = total + n;
    double *panels = root + n, *gram = panels + side * GRAM_ROWS, *unit = gram + side * side;
    double *slope = unit + side, *constant = slope + n_outputs * n_columns;
    sum_t value = {{0.0}, {0.0}};
    matrix_t m = {entries, n, n_columns, row_stride, column_stride, is_float, center,
        scale ? unit : 0};
    stored_units(n_outputs, n_columns, center, scale, params, unit, slope, constant);
    for (k = 0; k < n_outputs; k++) {
        double *z = e + k * n;
        for (i = 0; i < n; i++)
            z[i] = constant[k];
        dense_multiply(&m, 0, n, 0, slope + k * n_columns, z);
        for (i = 0; i < n; i++) {
            logits[i * n_outputs + k] = z[i];
            top[i] = k == 0 || z[i] > top[i] ? z[i] : top[i];
        }
    }
    for (i = 0; i < n; i++)
        wrong[i] = 0.0;
    for (k = 0; k < n_outputs; k++) {
        double *z = e + k * n;
#pragma omp simd
        for (i = 0; i < n; i++)
            z[i] = exp_minus(top[i] - z[i]);
        for (i = 0; i < n; i++)
            wrong[i] += class_of[i] == k ? 0.0 : z[i];
    }
    for (i = 0; i < n; i++) {
        double right = e[class_of[i] * n + i], below = top[i] - logits[i * n_outputs + class_of[i]];
        total[i] = right + wrong[i];
        root[i] = weight[i * weight_stride]
            * (wrong[i] < right ? log_one_plus(wrong[i] / right) : log(total[i]) + below);
    }
    add_all(&value, n, root);
    ends[0] = total_of(&value);
    for (k = 0; k < n_outputs; k++) {
        double *gradient = sums + k * size;
        for (i = 0; i < n; i++)
            root[i] = weight[i * weight_stride] / total[i] * (class_of[i] == k ? -wrong[i] : e[k * n + i]);
        dense_multiply(&m, 0, n, 1, root, gradient);
        gradient[n_columns] = sum_of(n, root);
        standardise(n_columns, center, scale, gradient);
    }
    for (k = 1; k < n_outputs; k++)
        for (l = 0; l < k; l++) {
            for (i = 0; i < n; i++)
                root[i] = sqrt(weight[i * weight_stride] * e[k * n + i] * e[l * n + i]) / total[i];
            memset(gram, 0, sizeof(double) * (size_t)(side * side));
            add_gram(&m, 0, 0, n_columns, root, side, panels, gram);
            add_pair(k, l, size, n_outputs, gram, side, factor);
        }
    add_mean_class(size, n_outputs, factor);
}
