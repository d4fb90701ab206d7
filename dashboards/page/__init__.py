"""The built-in live page: one HTML file, one script, one library for charts, all in the package, fed from the SQL views."""
