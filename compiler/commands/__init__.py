"""The vendor's commands that need the compiler: one file each (see runtime/cli/app.py)."""
