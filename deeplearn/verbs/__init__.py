"""One verb of the command line a file: `main(words)`. Heavy imports stay inside, so that help comes at once."""
