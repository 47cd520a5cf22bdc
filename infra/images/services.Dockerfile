# Kafka, registry, Kafka Connect with Debezium and the Avro converter, S3-compatible server, Slack stand-in: the same jars
# with the same checksums, started by the same code as in the embedded stack. `lakehouse-spark` is the image of
# spark.Dockerfile, as compose.yaml names it.
FROM lakehouse-spark

USER root
WORKDIR /app
ARG LAKEHOUSE_JAR_REPOSITORY=""
RUN python -m infra.local.jars fetch kafka connect converter registry s3proxy \
    && python -c "from infra.local.jars import unpacked; unpacked('registry')"

USER lakehouse
WORKDIR /var/lib/lakehouse
ENTRYPOINT ["python", "-m", "infra.compose"]
CMD ["--help"]
