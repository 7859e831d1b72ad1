"""One data set a file: the only place that knows its name, its address, its licence and its splits."""
