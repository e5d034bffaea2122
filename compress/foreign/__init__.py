"""Networks of others, made fit for this project's runtime and its tools."""
