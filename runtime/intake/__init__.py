"""The hospital's images: files to input tensors."""
