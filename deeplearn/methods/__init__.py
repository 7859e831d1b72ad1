"""Algorithms by their names, with their papers: arrays in, arrays out; no config, no files."""
