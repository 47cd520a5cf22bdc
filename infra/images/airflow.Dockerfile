# Airflow with the nightly DAG, on the code and Spark of spark.Dockerfile (`lakehouse-spark`): its tasks run in here.
# One scheduler on SQLite, as `airflow standalone` has it. A larger Airflow is your own: docs/airflow.md.
FROM lakehouse-spark

# What `lakehouse night configure` prints too, here for `docker compose exec airflow airflow ...`; a test compares them.
ENV AIRFLOW_HOME=/var/lib/lakehouse/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/app/orchestration/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False

# The password of its login is made at the first start and written to the log, not into the image.
CMD ["bash", "-c", "set -e; variables=$(lakehouse night configure); eval \"$variables\"; exec airflow standalone"]
