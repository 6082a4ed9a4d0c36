/* The logistic loss of some rows in float32, as in logistic.h, where shorter polynomials are enough. */
#ifndef SKORCH_LOGREG_LOGISTIC_SINGLE_H
#define SKORCH_LOGREG_LOGISTIC_SINGLE_H

#include "common.h"
#include <math.h>
#include <string.h>

/* exp(-a) of a >= 0, or 0 below 1e-28: products with subnormal numbers take a hundred times as long.
   -a = n log 2 + r, and exp(r) = 1 + r + r^2 p(r) with the polynomial of degree 4 whose largest error
   is least, 3e-9. NaN stays NaN. */
INNER float exp_minus_single(float a)
{
    const float log_2 = 0x1.62ep-1f, rest_of_log_2 = 0x1.0bfbe8p-15f;
    float n = rintf(a * -1.44269504f), r = (-a - n * log_2) - n * rest_of_log_2, r2 = r * r, p, power;
    float t = n + 12582912.0f; /* 1.5 * 2^23: its last bits are those of n */
    uint32_t bits;
    memcpy(&bits, &t, sizeof bits);
    bits = (bits + 127) << 23;
    memcpy(&power, &bits, sizeof power);
    p = (0x1.fffffcp-2f + 0x1.555492p-3f * r) + (0x1.5558f4p-5f + 0x1.1239dep-7f * r) * r2
        + 0x1.6a22c8p-10f * (r2 * r2);
    p = p * r2 + r;
    return a > 64.0f ? 0.0f : p * power + power;
}

/* log(1 + e) of 0 <= e <= 1, as `log_one_plus` does, with a polynomial of degree 2 and an error of
   8e-10. NaN stays NaN. */
INNER float log_one_plus_single(float e)
{
    const float border = 0.414213562f; /* sqrt(2) - 1 */
    float f = e > border ? 0.5f * (e - 1.0f) : e, log_2 = e > border ? 0x1.62e43p-1f : 0.0f;
    float s = f / (2.0f + f), z = s * s, half = 0.5f * f * f;
    float p = 0x1.55557ap-1f + 0x1.995eaap-2f * z + 0x1.31e4c4p-2f * (z * z);
    return log_2 - ((half - s * (half + p * z)) - f);
}

typedef struct {
    float loss, wrong, curvature;
} terms_single_t;

INNER terms_single_t logistic_terms_single(float margin, float e)
{
    float of_large = 1.0f / (1.0f + e), of_small = e / (1.0f + e);
    terms_single_t t;
    t.loss = (margin > 0.0f ? margin : 0.0f) + log_one_plus_single(e);
    t.wrong = margin > 0.0f ? of_large : of_small;
    t.curvature = of_small * of_large;
    return t;
}

INNER void exp_minus_all_single(int64_t count, const float *margin, float *restrict e)
{
#pragma omp simd
    for (int64_t i = 0; i < count; i++)
        e[i] = exp_minus_single(fabsf(margin[i]));
}

#endif
