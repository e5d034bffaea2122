"""The report's page: records -> rows -> a table and plots -> one self-contained file."""
