"""The report's sections, a module each, in their order."""
