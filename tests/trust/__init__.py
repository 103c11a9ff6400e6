"""All checks of what this project claims about itself, run one after the other."""
