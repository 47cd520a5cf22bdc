# Our code with Spark: streams, nights, notifier, shop. The other images begin with this one.
# Built by infra/compose/compose.yaml; its context is the project's folder.
FROM python:3.11.14-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends openjdk-17-jre-headless procps \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home lakehouse \
    && install --directory --owner=lakehouse --group=lakehouse /var/lib/lakehouse

ENV LAKEHOUSE_CACHE=/opt/lakehouse-jars \
    LAKEHOUSE_HOME=/var/lib/lakehouse \
    PYTHONUNBUFFERED=1

WORKDIR /app

# Slow layers first: they change only with the lock and the record of the jars.
COPY requirements.lock ./
RUN python -m pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.lock

COPY infra/__init__.py infra/
COPY infra/jars infra/jars
COPY infra/setup infra/setup
COPY infra/local/__init__.py infra/local/errors.py infra/local/jars.py infra/local/
COPY lakehouse/__init__.py lakehouse/errors.py lakehouse/
# A mirror's address, where there is one.
ARG LAKEHOUSE_JAR_REPOSITORY=""
RUN python -m infra.local.jars fetch spark s3

COPY . .
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation --no-index \
        --config-settings editable_mode=compat --editable .

USER lakehouse
WORKDIR /var/lib/lakehouse
CMD ["lakehouse", "--help"]
