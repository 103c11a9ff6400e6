"""What widths do to a model on images: a plan after another through the cleartext executor."""
