"""What is checked, with which limits, how it is kept, and how it becomes a score."""
