# Images of rllib_rnd for a cluster, with the versions of constraints.txt.
#
#   docker build --target cpu  -t rllib_rnd:cpu  .
#   docker build --target cuda -t rllib_rnd:cuda .     (the NVIDIA driver is the host's; CUDA comes with torch)
#
# No secret belongs in here: tokens and keys reach a container as environment variables when it runs.
# Never built where it was written: no registry of images is reached there. hadolint has read it, every package is one
# that constraints.txt pins and the tests run with, and check_image.py is run by the tests.

FROM python:3.11-slim-bookworm AS base
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    RAY_USAGE_STATS_ENABLED=0 \
    RAY_AUTH_MODE=token \
    PATH=/opt/venv/bin:$PATH
# gcc: torch.compile. libgl1 and libglib2.0-0: OpenCV. wget: KubeRay asks with it whether a node is well.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libgl1 libglib2.0-0 wget \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 ray \
    && python -m venv /opt/venv
WORKDIR /opt/rllib_rnd
COPY constraints.txt deploy/requirements.txt deploy/check_image.py deploy/train.sh ./

# torch first and alone: nothing resolved later can ask for another build of it.
FROM base AS torch-cpu
RUN pip install -c constraints.txt --index-url https://download.pytorch.org/whl/cpu \
    --no-deps "$(grep '^torch==' constraints.txt)+cpu"

FROM base AS torch-cuda
RUN pip install -c constraints.txt "$(grep '^torch==' constraints.txt)"

FROM torch-cpu AS cpu
COPY setup.py pyproject.toml README.md LICENSE ./
COPY rllib_rnd rllib_rnd
COPY tuned_examples tuned_examples
RUN pip install -c constraints.txt . -r requirements.txt && python check_image.py cpu
USER 1000
WORKDIR /home/ray
CMD ["rllib", "--help"]

FROM torch-cuda AS cuda
COPY setup.py pyproject.toml README.md LICENSE ./
COPY rllib_rnd rllib_rnd
COPY tuned_examples tuned_examples
RUN pip install -c constraints.txt . -r requirements.txt && python check_image.py cuda
USER 1000
WORKDIR /home/ray
CMD ["rllib", "--help"]
