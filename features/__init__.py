"""What the data mean, and how time becomes windows."""
