# syntax=docker/dockerfile:1
# Second Look as an image. Targets: cpu and cuda, and for nodes that `ray up` starts, cpu-vm and cuda-vm.
#   docker build --target cpu --tag second-look:cpu .
# docs/cluster.md says what each is for.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS runtime
# libGL and GLib: OpenCV. git: DVC's workspaces. wget: the probes that KubeRay puts on Ray's pods.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libgl1 libglib2.0-0 wget \
    && rm -rf /var/lib/apt/lists/*
# 1000 owns what `ray up` mounts from the first user of a virtual machine, the token among it.
RUN groupadd --gid 1000 secondlook \
    && useradd --uid 1000 --gid 1000 --create-home --shell /bin/bash secondlook \
    && install --directory --owner=1000 --group=1000 --mode=0700 /var/lib/secondlook
# HOME: Ray's launcher reads it here, for where it mounts what is below ~.
ENV HOME=/home/secondlook \
    PATH=/opt/secondlook/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    SECONDLOOK_HOME=/var/lib/secondlook
WORKDIR /var/lib/secondlook

FROM ${PYTHON_IMAGE} AS build
# Optional dependencies of pyproject.toml, with a comma between them: gcp.
ARG EXTRAS=""
ENV PATH=/opt/secondlook/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /src
RUN python -m venv /opt/secondlook
COPY pyproject.toml constraints.txt ./
# Without the code, so that a change of it installs nothing anew.
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; more = [name for extra in '${EXTRAS}'.split(',') if extra for name in project['optional-dependencies'][extra]]; print(*project['dependencies'], *more, sep='\n')" > requirements.txt

FROM build AS build-cpu
# PyPI's torch for Linux is the CUDA build, several GB more.
ARG TORCH_CPU_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --constraint constraints.txt --no-deps --index-url "${TORCH_CPU_INDEX}" torch torchvision \
    && pip install --constraint constraints.txt --requirement requirements.txt
COPY . .
RUN pip install --no-deps . && pip uninstall --yes pip

FROM build AS build-cuda
RUN pip install --constraint constraints.txt --requirement requirements.txt
COPY . .
RUN pip install --no-deps . && pip uninstall --yes pip

FROM runtime AS labelled
ARG VERSION=0.1.0
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="Second Look" \
      org.opencontainers.image.description="A human-in-the-loop feedback loop around a YOLO detector, on Ray." \
      org.opencontainers.image.licenses="AGPL-3.0-only" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
USER 1000:1000
EXPOSE 7860 8000
# No ENTRYPOINT: `ray up` and KubeRay start a shell of their own. No HEALTHCHECK: the image runs as the
# app, MLflow, a witness, a Ray node; each says in its manifest how it is asked.
CMD ["secondlook", "up"]

FROM labelled AS cpu
COPY --from=build-cpu /opt/secondlook /opt/secondlook

# The NVIDIA libraries come with torch, the driver from the host.
FROM labelled AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=build-cuda /opt/secondlook /opt/secondlook

# Ray's launcher copies files into the container, and from the head to the workers.
FROM cpu AS cpu-vm
USER 0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client rsync \
    && rm -rf /var/lib/apt/lists/*
USER 1000:1000

FROM cuda AS cuda-vm
USER 0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client rsync \
    && rm -rf /var/lib/apt/lists/*
USER 1000:1000
