"""What `make setup` runs on the machine's own Python, before anything of ours is installed."""
