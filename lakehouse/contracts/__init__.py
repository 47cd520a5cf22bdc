"""What writers and the lakehouse agreed on: the declared fields of each source, and what a change of them does."""
