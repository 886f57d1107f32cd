"""Commands, one a file: `python -m launch.fit --help`."""
