"""The report's page: records and raw samples -> rows -> a table and plots -> one self-contained file."""
