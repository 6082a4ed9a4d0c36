"""Compiled operations on blocks of rows, each with its reference in torch."""
