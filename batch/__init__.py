"""Bronze to Silver, Gold, publication and the morning report."""
