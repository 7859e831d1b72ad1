# docker build --target cpu -t deeplearn .          docker run --rm deeplearn train classification
# docker build --target cuda -t deeplearn:cuda .    docker run --rm --gpus all deeplearn:cuda train classification
# The steps are the README's: an environment from requirements.lock, with hashes, and the package itself without its dependencies.
FROM python:3.13-slim AS base
# hadolint ignore=DL3008
RUN apt-get update && apt-get install --yes --no-install-recommends make git && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 researcher
USER 1000
WORKDIR /home/researcher/deeplearn
COPY --chown=researcher requirements.lock pyproject.toml Makefile README.md LICENSE ./
COPY --chown=researcher deeplearn deeplearn
COPY --chown=researcher experiments experiments
COPY --chown=researcher benchmarks benchmarks
RUN make .venv/ready
ENV PATH=/home/researcher/deeplearn/.venv/bin:$PATH
VOLUME /home/researcher/deeplearn/runs
ENTRYPOINT ["deeplearn"]
CMD ["--help"]

FROM base AS cuda
# CUDA's libraries come as wheels beside jax's; the host brings the driver. The lock says which jax they have to fit.
RUN pip install --quiet --no-cache-dir "jax[cuda13]==$(python -c 'import jax; print(jax.__version__)')"

FROM base AS cpu
