"""`lakehouse break`: real damage to the embedded stack, what one then sees, and whether the promises held."""
