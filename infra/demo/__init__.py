"""`make demo`: the whole way once, on real parts, and the counts compared at the end."""
