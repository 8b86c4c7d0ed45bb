"""What can be said of data that nobody has described yet: how they are written, and what they hold.

Only `faultwatch init` looks at data in this way. It guesses once, from a sample, and says so; what
reads all the rows afterwards goes by the asset file.
"""
