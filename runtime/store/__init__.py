"""The store of prepared items: what two parties made ahead of an image, used once and no more."""
