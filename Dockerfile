# Images of the service: `docker build --target api .` without torch, `docker build --target worker .` with torch.
# Another package index: --build-arg PIP_INDEX_URL=…; the CPU build of torch: --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu

FROM python:3.11-slim AS builder
ARG PIP_INDEX_URL
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY constraints.txt ./
RUN pip install --constraint constraints.txt hatchling \
 && python -m venv --without-pip /opt/warmcast

# A wheel without code, to install its dependencies: their layers stay cached while only code changes.
FROM builder AS dependencies
COPY pyproject.toml ./
RUN touch LICENSE README.md \
 && mkdir checkpoints samples \
 && pip wheel --no-build-isolation --no-deps --wheel-dir /wheels .

FROM builder AS code
COPY . .
RUN pip wheel --no-build-isolation --no-deps --wheel-dir /wheels . \
 && pip --python /opt/warmcast/bin/python install --no-deps /wheels/*.whl \
 && mkdir -p /installed/bin \
 && mv /opt/warmcast/bin/warmcast /installed/bin/ \
 && mv /opt/warmcast/lib /opt/warmcast/share /installed/

FROM builder AS api-dependencies
ARG PIP_INDEX_URL
COPY deploy/locks/api.txt ./
RUN pip --python /opt/warmcast/bin/python install --no-deps --require-hashes --requirement api.txt \
 && pip --python /opt/warmcast/bin/python check

FROM python:3.11-slim AS runtime
# matplotlib and others write caches into $HOME, which must be writable while the root file system is read-only
ENV HOME=/tmp PATH=/opt/warmcast/bin:$PATH PYTHONUNBUFFERED=1 WARMCAST_DATA=/data
RUN groupadd --gid 10001 warmcast \
 && useradd --uid 10001 --gid warmcast --no-create-home --home-dir /tmp --shell /usr/sbin/nologin warmcast \
 && install --directory --owner=warmcast --group=warmcast /data
VOLUME /data
WORKDIR /data

FROM runtime AS api
COPY --from=api-dependencies /opt/warmcast /opt/warmcast
COPY --from=code /installed /opt/warmcast
USER 10001:10001
EXPOSE 8000 9100
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["warmcast", "api", "--host", "0.0.0.0", "--port", "8000", "--metrics-port", "9100"]
ARG REVISION
LABEL org.opencontainers.image.title="Warmcast API" \
      org.opencontainers.image.description="Ensemble weather forecasts by warm-start flow matching: the HTTP service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"

FROM builder AS worker-dependencies
ARG PIP_INDEX_URL
ARG TORCH_INDEX_URL
# torch is large, so it has a layer of its own; and no other package can then come from its index.
RUN pip --python /opt/warmcast/bin/python install --constraint constraints.txt --no-deps \
      ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} torch
COPY deploy/locks/worker.txt ./
RUN pip --python /opt/warmcast/bin/python install --no-deps --require-hashes --requirement worker.txt
# what is left are the libraries of NVIDIA, which the build of torch for GPUs pins
COPY --from=dependencies /wheels /wheels
RUN pip --python /opt/warmcast/bin/python install --constraint constraints.txt "warmcast[worker,s3] @ file://$(echo /wheels/*.whl)" \
 && pip --python /opt/warmcast/bin/python check

FROM runtime AS worker
# Compiling the networks needs a C++ compiler and a writable folder from which code can be loaded.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ \
 && rm -rf /var/lib/apt/lists/* \
 && install --directory --owner=warmcast --group=warmcast /cache
ENV TORCHINDUCTOR_CACHE_DIR=/cache/inductor TRITON_CACHE_DIR=/cache/triton WARMCAST_HEARTBEAT_FILE=/tmp/heartbeat
COPY --from=worker-dependencies /opt/warmcast /opt/warmcast
COPY --from=code /installed /opt/warmcast
USER 10001:10001
CMD ["warmcast", "worker"]
ARG REVISION
LABEL org.opencontainers.image.title="Warmcast worker" \
      org.opencontainers.image.description="Ensemble weather forecasts by warm-start flow matching: a worker, one for each device" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$REVISION"
