"""Logistic regression on the features of a neural network."""
