"""The commands that need the shipped model: one file each (see runtime/cli/app.py)."""
