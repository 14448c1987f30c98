"""The command line: thin commands over the library, none of which is imported before it is needed."""
