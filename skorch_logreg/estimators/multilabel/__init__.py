"""Multi-label classification, one binary model per label."""
