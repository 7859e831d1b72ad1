"""One kind of data a file, behind one set of knobs: ours, your own files, or a public set."""
