"""Cross-validated choice of the penalty, with all folds and values of C solved together."""
