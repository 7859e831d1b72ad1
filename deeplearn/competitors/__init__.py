"""The classical methods that experiments are measured beside, on the same split."""
