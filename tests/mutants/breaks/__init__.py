"""One module an area: what is broken, and who must notice."""
