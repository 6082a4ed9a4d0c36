"""Grid and random search whose candidates are solved together."""
