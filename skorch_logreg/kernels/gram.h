/* Gram matrices of dense rows with products in NUMBER, which is double or float; included by dense.c
   once for each. */

/* Write `full` columns of a panel, (rows, PANEL), times the roots of the weights; the one after the
   last column is the intercept's. `columns` are those of X that are chosen, all if it is NULL. */
INNER void OF_NUMBER(fill_rows)(const matrix_t *m, int is_float, int64_t step, const int64_t *columns,
    int has_unit, int64_t n_chosen, int64_t start, int64_t rows, int64_t first, int64_t full,
    const double *root, NUMBER *restrict panel)
{
    for (int64_t t = 0; t < rows; t++, panel += PANEL) {
        const void *x = moved(m->entries, (start + t) * m->row_stride, is_float);
        double r = root[start + t];
#pragma omp simd
        for (int64_t j = 0; j < full; j++) {
            int64_t column = columns ? columns[first + j] : first + j;
            double value = entry(x, column * step, is_float);
            if (has_unit)
                value = (value - m->center[column]) * m->unit[column];
            panel[j] = (NUMBER)(r * value);
        }
        for (int64_t j = full; j < PANEL; j++)
            panel[j] = (NUMBER)(first + j == n_chosen ? r : 0.0);
    }
}

/* Write a panel; branches that are the same for all rows are taken once. */
INNER void OF_NUMBER(fill_panel)(const matrix_t *m, int is_float, int by_column,
    const int64_t *columns, int64_t n_chosen, int64_t start, int64_t rows, int64_t first,
    const double *root, NUMBER *restrict panel)
{
    int64_t left = n_chosen - first, full = left < PANEL ? (left > 0 ? left : 0) : PANEL;
    int64_t step = by_column ? m->column_stride : 1;
#define FILL(columns, has_unit, full) \
    OF_NUMBER(fill_rows)(m, is_float, step, columns, has_unit, n_chosen, start, rows, first, full, \
        root, panel)
    if (columns)
        FILL(columns, m->unit != 0, full);
    else if (full < PANEL)
        FILL(0, m->unit != 0, full);
    else if (m->unit)
        FILL(0, 1, PANEL);
    else
        FILL(0, 0, PANEL);
#undef FILL
}

/* Add the lower triangle of a Gram matrix, with sums of GRAM_ROWS rows in NUMBER. */
INNER double OF_NUMBER(gram)(const matrix_t *m, int is_float, int by_column, const int64_t *columns,
    int64_t n_chosen, const double *root, int64_t side, NUMBER *buffer, double *out)
{
    for (int64_t start = 0; start < m->n_rows; start += GRAM_ROWS) {
        int64_t rows = smaller(GRAM_ROWS, m->n_rows - start), i, j;
        for (i = 0; i < side; i += PANEL)
            OF_NUMBER(fill_panel)(m, is_float, by_column, columns, n_chosen, start, rows, i, root,
                buffer + i * GRAM_ROWS);
        for (j = 0; j < side; j += PANEL) /* the right panel stays in the first cache */
            for (i = j; i < side; i += PANEL)
                OF_NUMBER(add_panels)(buffer + i * GRAM_ROWS, i, buffer + j * GRAM_ROWS, j,
                    n_chosen + 1, rows, out, side);
    }
    return 0.0;
}
