# syntax=docker/dockerfile:1
# Built, run and turned into an Apptainer image as docs/containers.md tells.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# Package index of a PyTorch build of the pinned version: for processors alone, which saves several
# GB, or for one version of CUDA. Without it, PyPI's build.
ARG TORCH_INDEX=""
# Version of mriprep, needed only where the build context has no git history.
ARG VERSION=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN apt-get update \
 && apt-get install --yes --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH
COPY docker/requirements.txt /requirements.txt
RUN pip install --no-deps ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} "$(grep ^torch== /requirements.txt)"
RUN pip install --requirement /requirements.txt
# Extractors beside deepbet, such as "hd-bet synthstrip"; "" carries none.
ARG EXTRACTORS=""
COPY docker/requirements-networks.txt /requirements-networks.txt
RUN if [ -n "${EXTRACTORS}" ]; then pip install --requirement /requirements-networks.txt; fi
COPY . /src
RUN if [ -n "${VERSION}" ]; then export SETUPTOOLS_SCM_PRETEND_VERSION="${VERSION}"; fi \
 && pip wheel --no-deps --wheel-dir /wheels /src \
 && pip install --no-deps /wheels/*.whl \
 && pip check

FROM ${BASE}
ARG REVISION=""
ARG VERSION=""
# Templates that the image carries; "" carries none but the embedded one.
ARG SPACES="MNI152NLin2009cAsym:res-1 MNIPediatricAsym:cohort-1:res-1 MNIPediatricAsym:cohort-2:res-1 MNIPediatricAsym:cohort-3:res-1 MNIPediatricAsym:cohort-4:res-1 MNIPediatricAsym:cohort-5:res-1 MNIPediatricAsym:cohort-6:res-1"
# Extractors whose weights the image carries, as for the stage before; their licences are their own.
ARG EXTRACTORS=""
LABEL org.opencontainers.image.title="mriprep" \
      org.opencontainers.image.description="Prepare structural head MRI: from DICOM or BIDS to BIDS derivatives and arrays" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /opt/venv /opt/venv
# USER answers those who ask the name of a user that has a number only. User packages of the
# host's home, which Apptainer mounts, must not mix with those of the image.
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/home/mriprep \
    USER=mriprep \
    LANG=C.UTF-8 \
    PYTHONNOUSERSITE=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TEMPLATEFLOW_HOME=/opt/templateflow \
    TEMPLATEFLOW_AUTOUPDATE=false \
    MRIPREP_WEIGHTS_DIR=/opt/weights \
    MPLBACKEND=Agg \
    NIPYPE_NO_ET=1 \
    NO_ET=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
# Whatever user runs the image may write to its home, /out and /work, and read the rest.
RUN useradd --create-home --home-dir "${HOME}" --uid 1000 mriprep \
 && mkdir -p /data /out /work "${TEMPLATEFLOW_HOME}" "${MRIPREP_WEIGHTS_DIR}" \
 && python3 -c "import templateflow, matplotlib.font_manager" \
 && if [ -n "${SPACES}" ]; then mriprep fetch --spaces ${SPACES}; fi \
 && if [ -n "${EXTRACTORS}" ]; then mriprep fetch ${EXTRACTORS}; fi \
 && mriprep doctor /out /work \
 && chmod -R a+rX "${TEMPLATEFLOW_HOME}" "${MRIPREP_WEIGHTS_DIR}" \
 && chmod -R a+rwX "${HOME}" /out /work
USER mriprep
WORKDIR /work
STOPSIGNAL SIGINT
ENTRYPOINT ["mriprep"]
