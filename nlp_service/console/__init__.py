"""The console: pages for people. Rendered here, on top of the same functions that the API calls."""
