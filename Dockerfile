# The quick start in a container, on the CPU:
#   docker build -t l2l-omniglot .
#   docker run --rm -it l2l-omniglot          what `make demo` trains and evaluates
#   docker run --rm l2l-omniglot l2l-omniglot evaluate --weights resnet8 --data synthetic --tasks 100
FROM python:3.11-slim AS build
# The compiler, for learn2learn, stays in this stage.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
COPY requirements-torch.txt requirements.txt ./
RUN python -m pip install --extra-index-url https://download.pytorch.org/whl/cpu "torch==2.13.0+cpu" "torchvision==0.28.0+cpu"
RUN python -m pip install --no-deps -r requirements.txt
COPY setup.py setup.cfg pyproject.toml README.md LICENSE ./
COPY l2l_omniglot l2l_omniglot
RUN python -m pip install --no-deps .

FROM python:3.11-slim
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home person
USER person
WORKDIR /home/person
COPY examples examples
CMD ["sh", "-c", "l2l-omniglot train --data synthetic --iterations 1000 --validation-every 250 && l2l-omniglot evaluate --tasks 200"]
