"""From ended spans to bytes at a backend, with every span accounted for."""
