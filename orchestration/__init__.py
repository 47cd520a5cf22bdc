"""Order and time: the nightly DAG, its policy, and how to run it on one machine. Never imports Spark or Delta."""
