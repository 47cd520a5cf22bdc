"""A seeded shop that trades on the real parts and keeps its own account of what it produced."""
