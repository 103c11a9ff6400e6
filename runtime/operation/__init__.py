"""What a server's operator needs: who may ask how much, an audit log, metrics and health."""
