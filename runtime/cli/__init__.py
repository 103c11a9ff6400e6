"""The command `moiety`: its commands, what they print, and how they end."""
