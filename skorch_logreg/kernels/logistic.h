/* The logistic loss of some rows: exp and log1p as polynomials, which become vector instructions. */
#ifndef SKORCH_LOGREG_LOGISTIC_H
#define SKORCH_LOGREG_LOGISTIC_H

#include "common.h"
#include <math.h>
#include <string.h>

/* 2^n of an integer n from -1022 to 1023. */
INNER double power_of_two(double n)
{
    double t = n + 6755399441055744.0, power; /* 1.5 * 2^52: its last bits are those of n */
    uint64_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 1023) << 52;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* exp(-a) of a >= 0, down to subnormal numbers: -a = n log 2 + r with |r| <= log(2) / 2, and
   exp(r) = 1 + r + r^2 p(r) with the polynomial of degree 9 whose largest error is least, 4e-18. Its
   powers are computed apart, so that few operations wait for others. NaN stays NaN. */
INNER double exp_minus(double a)
{
    const double log_2 = 0x1.62e42fefa3p-1, rest_of_log_2 = 0x1.3de6af278ece6p-42;
    double n, half, r, r2, r4, p, power;
    a = a > 750.0 ? 750.0 : a; /* exp(-746) is zero */
    n = rint(a * -1.4426950408889634);
    r = (-a - n * log_2) - n * rest_of_log_2;
    r2 = r * r, r4 = r2 * r2;
    p = (0x1.6c16c185a5e4ap-10 + 0x1.a01a01bace2e0p-13 * r)
        + (0x1.a0199697886b0p-16 + 0x1.71dddffaf6ec7p-19 * r) * r2
        + (0x1.28b045b23153dp-22 + 0x1.af853a2d8d6cfp-26 * r) * r4;
    p = (0x1.000000000000bp-1 + 0x1.5555555555561p-3 * r)
        + (0x1.5555555550037p-5 + 0x1.111111110d671p-7 * r) * r2 + p * r4;
    p = p * r2 + r;
    half = rint(0.5 * n); /* two factors, because 2^n may be subnormal */
    power = power_of_two(half);
    return (p * power + power) * power_of_two(n - half);
}

/* log(1 + e) of 0 <= e <= 1. With 1 + f equal to 1 + e or half of it and s = f / (2 + f), |s| < 0.172:
   log(1 + f) = 2 atanh(s) = f - (f^2 / 2 - s (f^2 / 2 + 2 s^2 / 3 + 2 s^4 / 5 + ...)), in which the
   largest term is exact. The series is s^2 p(s^2) with the polynomial of degree 6 whose largest error
   is least, 3e-18. NaN stays NaN. */
INNER double log_one_plus(double e)
{
    const double border = 0.41421356237309503; /* sqrt(2) - 1 */
    double f = e > border ? 0.5 * (e - 1.0) : e;
    double log_2 = e > border ? 0x1.62e42fefa3p-1 : 0.0;
    double rest_of_log_2 = e > border ? 0x1.3de6af278ece6p-42 : 0.0;
    double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f, z2 = z * z, p;
    p = (0x1.746644db6e51cp-3 + 0x1.39a11905e1eddp-3 * z) + 0x1.2f0c106c6d878p-3 * z2;
    p = (0x1.5555555555593p-1 + 0x1.999999997fba2p-2 * z)
        + (0x1.2492494210cc2p-2 + 0x1.c71c51edf8ac4p-3 * z) * z2 + p * (z2 * z2);
    return log_2 - ((half - (s * (half + p * z) + rest_of_log_2)) - f);
}

/* The loss log(1 + exp(z)), its derivative sigmoid(z), and its second derivative. */
typedef struct {
    double loss, wrong, curvature;
} terms_t;

/* From a margin z and exp(-|z|). */
INNER terms_t logistic_terms(double margin, double e)
{
    double of_large = 1.0 / (1.0 + e), of_small = e / (1.0 + e);
    terms_t t;
    t.loss = (margin > 0.0 ? margin : 0.0) + log_one_plus(e);
    t.wrong = margin > 0.0 ? of_large : of_small;
    t.curvature = of_small * of_large;
    return t;
}

/* Write exp(-|z|) of some margins. A loop of its own: the operations of one margin wait for each other,
   and the processor begins the next ones while few are open. */
INNER void exp_minus_all(int64_t count, const double *margin, double *restrict e)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        e[i] = exp_minus(fabs(margin[i]));
}

/* A sum of many terms, with what rounding took from it: differences of two objectives are known to
   one or two units in the last place. */
#define LANES 8
typedef struct {
    double sum[LANES], rest[LANES];
} sum_t;

INNER void add_exactly(double *sum, double *rest, double term)
{
    double total = *sum + term, part = total - *sum;
    *rest += (*sum - (total - part)) + (term - part);
    *sum = total;
}

INNER void add_all(sum_t *s, int64_t count, const double *terms)
{
    sum_t own = *s; /* in registers */
    int64_t i = 0;
    int l;
    for (; i + LANES <= count; i += LANES)
#pragma omp simd
        for (l = 0; l < LANES; l++)
            add_exactly(own.sum + l, own.rest + l, terms[i + l]);
    for (l = 0; i < count; i++, l++)
        add_exactly(own.sum + l, own.rest + l, terms[i]);
    *s = own;
}

INNER double total_of(const sum_t *s)
{
    double sum = 0.0, rest = 0.0;
    for (int l = 0; l < LANES; l++) {
        add_exactly(&sum, &rest, s->sum[l]);
        rest += s->rest[l];
    }
    return isfinite(sum) ? sum + rest : sum;
}

/* Add to each of some sums (n_models,) of many terms what rounding took from it, which follows it. */
INNER void add_rest(int64_t n_sums, int64_t n_models, double *sums)
{
    for (int64_t i = 0; i < n_sums * n_models; i++) {
        double *sum = sums + i + i / n_models * n_models;
        if (isfinite(*sum))
            *sum += sum[n_models];
    }
}

/* Rows of a pass: the classes as signs, 1 for the first and -1 for the second, and weights. */
typedef struct {
    const double *sign;
    const double *weight;
    int64_t weight_stride; /* 0 if all rows have the same weight */
    const double *curvature; /* second derivatives of the loss, for Hessian products */
} rows_t;

/* Turn logits (count,) into weighted residuals, and add the weighted losses. Also write weighted
   second derivatives, if `curvature` is not NULL. */
INNER void loss_terms(const rows_t *rows, int64_t start, int64_t count, const double *logits,
    double *restrict residual, double *restrict curvature, sum_t *value)
{
    double weight[MAX_TILE], loss[MAX_TILE], e[MAX_TILE];
    const double *sign = rows->sign + start, *from = rows->weight + start * rows->weight_stride;
    int64_t i;
    for (i = 0; i < count; i++)
        weight[i] = from[i * rows->weight_stride];
    exp_minus_all(count, logits, e);
#pragma omp simd
    for (i = 0; i < count; i++) {
        terms_t t = logistic_terms(logits[i] * sign[i], e[i]);
        loss[i] = weight[i] * t.loss;
        residual[i] = weight[i] * t.wrong * sign[i];
        if (curvature)
            curvature[i] = weight[i] * t.curvature;
    }
    add_all(value, count, loss);
}

/* Turn changes of the logits (count,) into weighted changes of the residuals. */
INNER void curvature_terms(const rows_t *rows, int64_t start, int64_t count, double *change)
{
    const double *curvature = rows->curvature + start, *weight = rows->weight;
    for (int64_t i = 0; i < count; i++)
        change[i] *= curvature[i] * weight[(start + i) * rows->weight_stride];
}

/* Write the slope (p,) over X of parameters (p + 1,) over rows (X - center) / scale, and return the
   constant. Center and scale may be NULL. */
INNER double stored_slope(int64_t p, const double *center, const double *scale, const double *params,
    double *slope)
{
    double constant = params[p];
    for (int64_t j = 0; j < p; j++) {
        slope[j] = scale ? params[j] / scale[j] : params[j];
        constant -= center ? slope[j] * center[j] : 0.0;
    }
    return constant;
}

/* Turn sums (p + 1,) over rows of [X 1] into those over [(X - center) / scale, 1]. */
INNER void standardise(int64_t p, const double *center, const double *scale, double *sums)
{
    for (int64_t j = 0; scale && j < p; j++)
        sums[j] = (sums[j] - center[j] * sums[p]) / scale[j];
}

INNER double sum_of(int64_t count, const double *terms)
{
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < count; i++)
        sum += terms[i];
    return sum;
}

#endif
