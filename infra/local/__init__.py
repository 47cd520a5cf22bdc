"""The embedded stack: every service of the lakehouse as a process of this machine, without a container engine."""
