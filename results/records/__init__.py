"""The files of a study directory, read into typed records."""
