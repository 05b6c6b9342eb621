"""The edge: where calls come in. Paths, bodies, headers and errors are spelt here; what happens to a call is not."""
