"""The model of Nova: rows, routes and views, without any I/O."""
