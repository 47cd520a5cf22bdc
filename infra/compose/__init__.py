"""The stack in containers: the same services, jars and settings as the embedded one, a host name for each."""
