"""Tables, column kinds, model files and model comparison for the command line."""
