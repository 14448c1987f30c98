"""Nouns that every floor shares. Imports nothing heavy by itself."""
