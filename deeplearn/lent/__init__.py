"""Trained runs that another experiment uses: who listens to it, what makes it sound."""
