"""`make bench`: our streams against plain Spark as most people write it, in one interleaved run."""
