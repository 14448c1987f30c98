"""What ``flowprune analyse`` can look at: one file for each, and a row in the index of ``cli.analyse``."""
