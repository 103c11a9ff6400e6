"""The vendor's server: one Program, one Weights, any number of clients, a process for each."""

from moiety.runtime.party.server.options import ServerOptions, Summary
from moiety.runtime.party.server.parent import Server

__all__ = ["Server", "ServerOptions", "Summary"]
