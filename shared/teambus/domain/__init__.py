"""Pure decisions: data in, verdict out. No clock, no chance, no I/O of their own."""
