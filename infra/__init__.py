"""How it runs: the embedded stack for one machine, containers, topics, connector, and a shop to run against."""
