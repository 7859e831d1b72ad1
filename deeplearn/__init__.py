"""A functional deep-learning research codebase in JAX: one pure training step, one loop, one file per experiment."""
