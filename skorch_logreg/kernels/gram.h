/* Gram matrices of dense rows with products in NUMBER, which is double or float; included by dense.c
   once for each. */

/* Write the columns of a panel times the roots of the weights: (rows, PANEL). `columns` are those of
   X that are chosen, all if it is NULL. */
INNER void OF_NUMBER(fill_panel)(const matrix_t *m, int is_float, int by_column,
    const int64_t *columns, int64_t n_chosen, int64_t start, int64_t rows, int64_t first,
    const double *root, NUMBER *restrict panel)
{
    int64_t left = n_chosen - first, full = left < PANEL ? (left > 0 ? left : 0) : PANEL;
    int64_t step = by_column ? m->column_stride : 1;
    for (int64_t t = 0; t < rows; t++) {
        double r = root[start + t];
        NUMBER *out = panel + t * PANEL;
        const void *row = moved(m->entries, (start + t) * m->row_stride, is_float);
        if (columns) {
            for (int64_t j = 0; j < full; j++) {
                int64_t column = columns[first + j];
                out[j] = (NUMBER)panel_entry(m, row, column * step, column, is_float, r);
            }
        } else {
            const void *x = moved(row, first * step, is_float);
            if (full == PANEL) {
#pragma omp simd
                for (int j = 0; j < PANEL; j++)
                    out[j] = (NUMBER)panel_entry(m, x, j * step, first + j, is_float, r);
                continue;
            }
            for (int64_t j = 0; j < full; j++)
                out[j] = (NUMBER)panel_entry(m, x, j * step, first + j, is_float, r);
        }
        for (int64_t j = full; j < PANEL; j++)
            out[j] = (NUMBER)(first + j == n_chosen ? r : 0.0);
    }
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
