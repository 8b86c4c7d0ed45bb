"""Public data sets as samples in the schema of this project, one file or folder a data set."""
