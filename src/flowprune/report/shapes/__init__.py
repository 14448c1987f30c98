"""Rows to records: what each figure draws. Pure, and knows nothing of drawing."""
