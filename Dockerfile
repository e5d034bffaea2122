# `make export` and `make test` without a network, once this is built:
#   docker build -t er-edge .
#   docker run --rm --network none -v "$PWD/exports:/er-edge/exports" er-edge
#   docker run --rm --network none er-edge make test
FROM python:3.12-slim-bookworm

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home user \
    && install --directory --owner 1000 /er-edge /er-edge/exports
USER 1000
WORKDIR /er-edge

# What is installed depends on these alone: a change elsewhere does not install it again.
COPY --chown=1000 Makefile pyproject.toml constraints.txt README.md LICENSE NOTICE ./
COPY --chown=1000 runtime ./runtime
RUN make install
COPY --chown=1000 . .
CMD ["make", "export"]
