"""Conversion and validation of what users hand over: rows, labels, weights, parameters."""
