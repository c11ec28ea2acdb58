# One image for every command of the pipeline:
#   docker build -t broker-events:0.1.0 . && docker run --rm broker-events:0.1.0 --help
# Nothing is written to its file system but /tmp: run it read-only, with a tmpfs there.
# `run` and `stack` bring a Kafka of their own and need the `stack` extra, which isn't in it.

# The Python that the tests run on.
FROM python:3.11.14-slim-trixie AS build
# For the fast way between JSON and Avro. Pinned by the suite: point releases take older packages away.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cargo gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip /opt/broker-events \
    && pip --python /opt/broker-events/bin/python install --no-cache-dir --require-hashes -r requirements.lock \
    && pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml setup.py README.md ./
COPY broker_events broker_events
COPY native native
COPY schemas schemas
COPY runtime runtime
COPY ingest ingest
COPY processors processors
COPY sinks sinks
COPY audit audit
COPY console console
COPY devstack devstack
COPY cli cli
# The native code is optional for the wheel, not for the image: the import fails where it was left out.
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/broker-events/bin/python install --no-cache-dir --no-deps --no-index dist/*.whl \
    && /opt/broker-events/bin/python -I -c "import broker_events.native._native" \
    && mkdir state

FROM python:3.11.14-slim-trixie
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="broker-events" \
    org.opencontainers.image.description="A brokerage's event push as typed Kafka topics, alerts and compacted state, exactly once" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/broker-events /opt/broker-events
# Empty: a named volume for PIPELINE_STATE_FOLDER takes its owner from here.
COPY --from=build --chown=10001:10001 /build/state /state
ENV PATH=/opt/broker-events/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PIPELINE_HTTP_HOST=0.0.0.0 \
    PIPELINE_HTTP_PORT=9464 \
    PIPELINE_SUPERSEDED_ACTION=wait
USER 10001:10001
EXPOSE 9464
# For workers; a command that ends by itself is gone before it is asked. Kubernetes doesn't use it.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ['PIPELINE_HTTP_PORT']}/live\", timeout=4)"]
ENTRYPOINT ["broker-events"]
CMD ["--help"]
