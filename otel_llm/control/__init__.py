"""Assembly of the pipeline, its health, and its checks."""
