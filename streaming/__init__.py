"""Every source to Bronze, always on or until caught up; the low-stock query; the notifier."""
