"""The shared vocabulary of the lakehouse: settings, errors, tables, Delta, ledger, quarantine, metrics, logs."""

__version__ = "0.1.0"
